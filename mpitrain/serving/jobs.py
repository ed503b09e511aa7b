"""Jobs that rank 0 hands out, and the replies of the ranks."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

END = "end"
"""The message that ends a rank's loop."""


class Job(NamedTuple):
    """Work for a replica.

    Attributes
    ----------
    number : int
        Each job has another one.
    x : (n, ...) array, optional
        Samples to predict.
    request : Continuation, optional
        A text to continue, in place of samples.
    """

    number: int
    x: np.ndarray | None = None
    request: "Continuation | None" = None


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """A text to continue, and how; as the options of ``mpitrain generate``."""

    prompt: str
    tokens: int = 200
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stream: bool = False


@dataclass(frozen=True)
class Cancel:
    """Request to drop the job ``number``, if it is still computed."""

    number: int


class Lost(NamedTuple):
    """News that ranks are lost."""

    ranks: frozenset[int]


class Reply(NamedTuple):
    """Result of a job, or a part of it.

    Attributes
    ----------
    number : int
        That of the job.
    result : Any
        What the job asked for: arrays, or facts about a text.
    piece : str
        The next piece of a text; the job goes on.
    error : str
        Why there is no result, as a sentence.
    status : int
        Of HTTP, where there is an error.
    seconds : float
        For which the rank has computed.
    """

    number: int
    result: Any = None
    piece: str = ""
    error: str = ""
    status: int = 500
    seconds: float = 0.0
