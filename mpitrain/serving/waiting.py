"""Requests that wait for a result, and the pieces of them that are computed together."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .jobs import Continuation


class Full(Exception):
    """Raised for a request that finds too many waiting."""


class Failed(Exception):
    """Raised for a request that could not be computed, with a sentence and the status of HTTP."""

    def __init__(self, text: str, status: int = 500):
        super().__init__(text)
        self.status = status


@dataclass(eq=False)
class Waiting:
    """A request that waits for its result.

    Attributes
    ----------
    future : Future
        Gets the result, or Failed.
    say : callable(str), optional
        Takes the pieces of a text as they come.
    """

    future: "asyncio.Future[Any]"
    say: Callable[[str], None] | None = None
    results: dict[int, Any] = field(default_factory=dict)
    num_pieces: int = 1
    running: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Piece:
    """Samples of one request that are computed together, or its text."""

    owner: Waiting
    number: int
    samples: int
    came: float
    x: np.ndarray | None = None
    request: Continuation | None = None
    tries: int = 0
