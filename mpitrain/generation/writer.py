"""Prompts, and the texts that continue them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..data.text import TextStream
from ..data.tokenizer import Tokenizer
from ..errors import UserError
from ..plain_text import visible
from .next_token import NextToken, continue_text
from .sampling import Sampling

SHOWN = 40  # characters of a prompt in a message


class Prompt(NamedTuple):
    """A text to continue."""

    text: str
    tokens: list[int]


def make_prompt(text: str, tokenizer: Tokenizer, where: str = "") -> Prompt:
    """Return the prompt of ``text``; raise a UserError that says ``where`` it is, if there is nothing to continue."""
    shown = visible(text if len(text) <= SHOWN else text[:SHOWN] + "...")
    try:
        (tokens,) = tokenizer.encode([text.encode()])
    except UnicodeEncodeError:
        raise UserError(f"the prompt '{shown}'{where} is not UTF-8") from None
    if not len(tokens):
        raise UserError(f"the prompt{where} is empty: the model continues text of at least one token")
    if tokenizer.unknown is not None and tokenizer.unknown in tokens:
        raise UserError(f"the prompt '{shown}'{where} has text that the tokenizer of the run does not know")
    return Prompt(text, [int(token) for token in tokens])


class TextWriter:
    """Continues prompts.

    Parameters
    ----------
    predict : NextToken
    tokenizer : Tokenizer
        That of the model.
    """

    def __init__(self, predict: NextToken, tokenizer: Tokenizer):
        self._predict, self.tokenizer = predict, tokenizer

    def write(
        self, prompt: Prompt, num_tokens: int, sampling: Sampling, number: int, say: Callable[[str], Any]
    ) -> dict[str, Any]:
        """Continue a prompt, and pass each piece of its text to ``say``; return the facts about it.

        Parameters
        ----------
        num_tokens : int
            The most tokens to add.
        number : int
            The number of the prompt, which gives each its own random numbers.
        """
        count, pieces = 0, list[str]()
        for piece, is_token in self._pieces(prompt, num_tokens, sampling, number):
            count += is_token
            if piece:
                pieces.append(piece)
                say(piece)
        return {"prompt": prompt.text, "text": "".join(pieces), "tokens": count, "ended": count < num_tokens}

    def _pieces(self, prompt: Prompt, most: int, sampling: Sampling, number: int) -> Iterator[tuple[str, bool]]:
        stream, end = TextStream(self.tokenizer, prompt.tokens), self.tokenizer.end_of_text
        for token in continue_text(self._predict, prompt.tokens, most, sampling, number, end):
            yield stream.add(token), True
        yield stream.end(), False
