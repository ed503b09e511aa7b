"""Texts with which a language model in training continues the beginnings of test texts."""

from collections.abc import Iterator
from typing import NamedTuple

from ..data.dataset import LANGUAGE_MODELING
from ..errors import UserError
from ..generation import Sampling, generate
from ..training.run import TrainingRun

PROMPT, CONTINUATION = 16, 48  # tokens


class TextSample(NamedTuple):
    """The beginning of a test text, and how the model continues it."""

    prompt: str
    continuation: str


def can_write_texts(run: TrainingRun) -> bool:
    """Return whether rank 0 can continue texts: it has the whole of a model that predicts the next token of texts."""
    data = run.setup.dataset
    return data.task == LANGUAGE_MODELING and not data.masked and data.tokenizer is not None and run.pipe is None


def write_texts(run: TrainingRun, number: int) -> Iterator[TextSample]:
    """Yield so many samples, from the first test texts; the same seed draws the same words in each evaluation."""
    data, device = run.setup.dataset, run.setup.arena.device
    tokenizer = data.tokenizer
    assert tokenizer is not None
    for row in range(min(number, len(data.test))):
        tokens = data.test.x[row : row + 1][0]
        prompt = [int(token) for token in tokens[tokens >= 0][:PROMPT]]
        sampling = Sampling(temperature=0.8, seed=run.config.run.seed)
        words = generate(
            run.setup.model, prompt, CONTINUATION, sampling, number=row, end_of_text=data.end_of_text, device=device
        )
        try:
            more = list(words)
        except UserError:  # it sees later tokens, or its outputs are NaN
            return
        yield TextSample(tokenizer.decode(prompt), tokenizer.decode(more))
