"""Text of tokens that come one by one."""

from collections.abc import Sequence

from ..tokenizer import Tokenizer

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
LONGEST, KEPT = 64, 16  # tokens that are decoded each time, and those of them that remain when they are too many


class TextStream:
    """The text of tokens that come one by one: what is written out is never a part of a character.

    A token may hold some bytes of a character only. Its text ends with U+FFFD then, and is held back until the bytes
    that follow complete it, or show that it is none.

    Parameters
    ----------
    tokenizer : Tokenizer
    before : sequence of int
        Tokens before those to come: some tokenizers write a space before a word that is not the first.

    Examples
    --------
    >>> from mpitrain.data.text import ByteTokenizer
    >>> stream = TextStream(ByteTokenizer())
    >>> [stream.add(token) for token in (97, 0xC3, 0xA9, 0xC3)], stream.end()
    (['a', '', 'é', ''], '\N{REPLACEMENT CHARACTER}')
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int] = ()):
        self._tokenizer = tokenizer
        self._tokens = [int(token) for token in before[-KEPT:]]
        self._written = len(tokenizer.decode(self._tokens))

    def add(self, token: int) -> str:
        """Return the text that is certain with ``token``; "" where it is none yet."""
        self._tokens.append(int(token))
        text = self._tokenizer.decode(self._tokens)
        certain = len(text) - text.endswith(UNKNOWN)
        piece = text[self._written : certain]
        self._written = max(self._written, certain)
        if certain == len(text) and len(self._tokens) > LONGEST:
            self._tokens = self._tokens[-KEPT:]
            self._written = len(self._tokenizer.decode(self._tokens))
        return piece

    def end(self) -> str:
        """Return what was held back."""
        piece = self._tokenizer.decode(self._tokens)[self._written :]
        self._written += len(piece)
        return piece
