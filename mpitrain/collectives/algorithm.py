"""Algorithms: schedules with the cut of the buffer and the promised costs.

An algorithm is a generator function ``f(rank, size, **options)``, decorated with its promises:

    @algorithm(
        num_chunks=lambda size, segments: size * segments,
        rounds=lambda size, segments: 2 * (size - 1) * segments,
        bytes=lambda size: 2 * (size - 1) / size,
    )
    def pipelined_ring(rank: int, size: int, segments: int = 4) -> Iterator[Step]: ...

The promises take the number of ranks and the options that they name; ``check`` verifies them.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import UserError
from ..user_generator import UserPromise, is_user_function
from .combinators import rerooted
from .goal import GOALS, Goal
from .step import Schedule, Step
from .user_schedule import SECONDS, UserSchedule

F = TypeVar("F", bound=Callable[..., Iterator[Step]])


@dataclass(frozen=True)
class Algorithm:
    """A schedule of one collective, with all options chosen.

    Call it like its schedule: ``algorithm(rank, size)`` yields the steps of one rank.

    Attributes
    ----------
    name : str
        The text for ``find``, options included.
    collective : str
        all_reduce, reduce_scatter, all_gather, broadcast, ... (see goal.py).
    schedule : callable(rank, size)
    num_chunks : callable(size)
        Number of chunks of all buffers together.
    rounds : callable(size) or None
        Messages on the longest path; None without a promise.
    bytes, reductions : callable(size) or None
        Bytes that the busiest rank sends and adds, as multiples of n, the bytes of one buffer.
    buffers : int
        Number of buffers of n bytes: 1, but 2 or 3 for all_to_all (in, out, work).
    options : dict
    source, summary : str
        Paper and year; one line.
    root : int
        Root of a broadcast, reduce, scatter or gather.
    function : callable
        The generator function, without chosen options.
    """

    name: str
    collective: str
    schedule: Schedule
    num_chunks: Callable[[int], int]
    rounds: Callable[[int], float] | None = None
    bytes: Callable[[int], float] | None = None
    reductions: Callable[[int], float] | None = None
    buffers: int = 1
    options: tuple[tuple[str, Any], ...] = ()
    source: str = ""
    summary: str = ""
    root: int = 0
    function: Callable[..., Iterator[Step]] | None = None

    def __call__(self, rank: int, size: int) -> Iterator[Step]:
        """Yield the steps of ``rank``.

        Raises
        ------
        UserError
            If the root is not less than ``size``.
        """
        if self.root >= size:
            raise UserError(f"{self.name} has rank {self.root} as its root, but ranks go from 0 to {size - 1}")
        return self.schedule(rank, size)

    @property
    def goal(self) -> Goal:
        """Start and end of the collective, by contributions."""
        return GOALS[self.collective].at(self.root)

    def chunk_share(self, size: int) -> float:
        """Return the part of n that one chunk holds (chunks differ by at most one element)."""
        return self.buffers / self.num_chunks(size)


@dataclass(frozen=True)
class _Promise:
    collective: str
    num_chunks: Callable[..., int]
    rounds: Callable[..., float] | None
    bytes: Callable[..., float] | None
    reductions: Callable[..., float] | None
    buffers: int


def _one_each(size: int) -> int:
    return size


_NOTHING = _Promise("all_reduce", _one_each, None, None, None, 1)


def algorithm(
    collective: str = "all_reduce",
    *,
    num_chunks: Callable[..., int] = _one_each,
    rounds: Callable[..., float] | None = None,
    bytes: Callable[..., float] | None = None,
    reductions: Callable[..., float] | None = None,
    buffers: int = 1,
) -> Callable[[F], F]:
    """Decorate a generator function with its promises; the function itself is returned."""
    if not isinstance(collective, str):
        raise TypeError("write @algorithm(), with parentheses")
    promises = {"num_chunks": num_chunks, "rounds": rounds, "bytes": bytes, "reductions": reductions}
    for name, value in promises.items():
        if value is not None and not callable(value):
            raise TypeError(f"{name} is a function of the number of ranks: {name}=lambda size: {value!r}")
    promise = _Promise(collective, num_chunks, rounds, bytes, reductions, buffers)

    def decorate(function: F) -> F:
        function.promise = promise  # type: ignore[attr-defined]
        return function

    return decorate


def make_algorithm(function: Callable[..., Iterator[Step]], name: str = "", **options: Any) -> Algorithm:
    """Return ``function`` with ``options`` as an Algorithm; undecorated, it is an all-reduce without promises."""
    if isinstance(function, Algorithm):
        return function
    promise: _Promise = getattr(function, "promise", _NOTHING)
    chosen = options_of(function) | options
    text = inspect.getdoc(inspect.getmodule(function)) or "" if promise is not _NOTHING else ""
    summary = text.split("\n")[0] or (inspect.getdoc(function) or "").split("\n")[0]
    source = re.search(r"^Source: (.*?)(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE)

    def bind(name: str) -> Any:
        f = getattr(promise, name)
        if f is None:
            return None
        wanted = {k: v for k, v in chosen.items() if k in inspect.signature(f).parameters}
        bound = functools.partial(f, **wanted) if wanted else f
        if not is_user_function(f):
            return bound
        return UserPromise(bound, name, seconds=SECONDS, whole=name == "num_chunks")

    num_chunks, goal = bind("num_chunks"), GOALS.get(promise.collective)
    root = int(chosen["root"]) if goal is not None and goal.rooted else 0
    takes_root = "root" in _own_options(function)
    own = {key: value for key, value in options.items() if key != "root" or takes_root}
    schedule: Schedule = functools.partial(function, **own) if own else function
    if is_user_function(function):
        schedule = UserSchedule(function, own)
    if root and goal is not None and not takes_root:
        schedule = rerooted(schedule, root, num_chunks, goal.owners)
    return Algorithm(
        name=name or getattr(function, "__name__", "schedule"),
        collective=promise.collective,
        schedule=schedule,
        num_chunks=num_chunks,
        rounds=bind("rounds"),
        bytes=bind("bytes"),
        reductions=bind("reductions"),
        buffers=promise.buffers,
        options=tuple(chosen.items()),
        source=" ".join(source[1].split()) if source else "",
        summary=summary,
        root=root,
        function=function,
    )


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a schedule with their defaults: its parameters after rank and size, and the root.

    A schedule for root 0 works for any root: see ``rerooted``.
    """
    goal = GOALS.get(getattr(function, "promise", _NOTHING).collective)
    return _own_options(function) | ({"root": 0} if goal is not None and goal.rooted else {})


def _own_options(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = list(inspect.signature(function).parameters.values())[2:]
    return {p.name: p.default for p in parameters if p.default is not p.empty}
