"""What the readers know of an algorithm: its schedule, how the buffer is cut, and what it says it costs.

An algorithm is a generator function ``f(rank, size, **options)``, decorated with what it promises:

    @algorithm(
        num_chunks=lambda size, segments: size * segments,
        rounds=lambda size, segments: 2 * (size - 1) * segments,
        bytes=lambda size: 2 * (size - 1) / size,
    )
    def pipelined_ring(rank: int, size: int, segments: int = 4) -> Iterator[Step]: ...

The promises take the number of ranks and those of the options that they name; ``check`` measures them.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import UserError
from .combinators import rerooted
from .goal import GOALS, Goal
from .step import Schedule, Step
from .user_schedule import UserPromise, UserSchedule, is_user_function

F = TypeVar("F", bound=Callable[..., Iterator[Step]])


@dataclass(frozen=True)
class Algorithm:
    """A schedule of one collective, with all options chosen.

    Call it like its schedule: ``algorithm(rank, size)`` yields the steps of one rank.

    Attributes
    ----------
    name : str
        The text that ``find`` finds it by, options included.
    collective : str
        all_reduce, reduce_scatter, all_gather, broadcast, ...: what it has to achieve (see goal.py).
    schedule : callable(rank, size)
    num_chunks : callable(size)
        How many chunks the buffer (the buffers) is cut into.
    rounds : callable(size) or None
        Messages one after the other on the longest path; None where nothing is promised (a student's file).
    bytes, reductions : callable(size) or None
        What the busiest rank sends, and adds up, as a multiple of n, the bytes of one buffer.
    buffers : int
        How many buffers of n bytes the chunks belong to: 1, but 2 or 3 for all_to_all (in, out, work).
    options : dict
    source, summary : str
        Paper and year; one line.
    root : int
        The rank that a broadcast, reduce, scatter or gather starts from or ends at.
    function : callable
        What the schedule was made from, with no options chosen.
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
            If the root is not among so many ranks.
        """
        if self.root >= size:
            raise UserError(f"{self.name} has rank {self.root} as its root, but ranks go from 0 to {size - 1}")
        return self.schedule(rank, size)

    @property
    def goal(self) -> Goal:
        """What it has to achieve."""
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
    """Decorate a generator with what it promises; it stays the function that it is."""
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
    """Return ``function`` with ``options`` as an Algorithm; undecorated, it is an all-reduce that promises nothing."""
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
        return UserPromise(bound, name) if is_user_function(f) else bound

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
    """Return the options of a schedule with their defaults: what it takes beside rank and size, and the root.

    A schedule that is written for rank 0 as its root works for any: see ``rerooted``.
    """
    goal = GOALS.get(getattr(function, "promise", _NOTHING).collective)
    return _own_options(function) | ({"root": 0} if goal is not None and goal.rooted else {})


def _own_options(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = list(inspect.signature(function).parameters.values())[2:]
    return {p.name: p.default for p in parameters if p.default is not p.empty}
