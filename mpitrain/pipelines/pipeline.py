"""Pipelines: schedules with chosen options and the promised bubble and memory.

A schedule is a generator function ``f(rank, size, num_microbatches, **options)``, decorated with its promises:

    @pipeline(
        bubble=lambda size, num_microbatches: (size - 1) / (num_microbatches + size - 1),
        live=lambda rank, size, num_microbatches: min(num_microbatches, size - rank),
    )
    def one_f_one_b(rank: int, size: int, num_microbatches: int) -> Iterator[Task]: ...

A promise takes those of rank, size, num_microbatches and the options that it names; ``check`` verifies it.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from ..user_generator import UserPromise, is_user_function
from .task import Schedule, Task
from .user_schedule import SECONDS, UserSchedule

F = TypeVar("F", bound=Callable[..., Iterator[Task]])
Promise = Callable[..., float]


@dataclass(frozen=True)
class Pipeline:
    """A pipeline schedule with all options chosen.

    Call it like its schedule: ``pipeline(rank, size, num_microbatches)`` yields the tasks of one rank.

    Attributes
    ----------
    name : str
        The text for ``find``, options included.
    schedule : callable(rank, size, num_microbatches)
    bubble : callable(size, num_microbatches) or None
        Part of the time in which ranks are idle, where all stages take equally long, forward takes as long as dx and
        as dw, and messages take no time; None without a promise.
    live : callable(rank, size, num_microbatches) or None
        Microbatches whose activations the rank holds at most (all its stages of one microbatch count as one).
    options : tuple of (name, value)
    summary, formulas, source : str
        From the docstring of the function: its first line, and its lines "Bubble: ...", "Live: ..." and "Source: ...".
    function : callable or None
        The generator function, without chosen options.
    """

    name: str
    schedule: Schedule
    bubble: Callable[[int, int], float] | None = None
    live: Callable[[int, int, int], float] | None = None
    options: tuple[tuple[str, Any], ...] = ()
    summary: str = ""
    formulas: tuple[str, ...] = ()
    source: str = ""
    function: Callable[..., Iterator[Task]] | None = None

    def __call__(self, rank: int, size: int, num_microbatches: int) -> Iterator[Task]:
        """Yield the tasks of ``rank``."""
        return self.schedule(rank, size, num_microbatches)


def pipeline(*, bubble: Promise | None = None, live: Promise | None = None) -> Callable[[F], F]:
    """Decorate a generator function with its promises; the function itself is returned."""
    for name, value in {"bubble": bubble, "live": live}.items():
        if value is not None and not callable(value):
            raise TypeError(f"{name} is a function: {name}=lambda size, num_microbatches: {value!r}")

    def decorate(function: F) -> F:
        function.promises = {"bubble": bubble, "live": live}  # type: ignore[attr-defined]
        return function

    return decorate


def make_pipeline(function: "Callable[..., Iterator[Task]] | Pipeline", name: str = "", **options: Any) -> Pipeline:
    """Return ``function`` with ``options`` as a Pipeline; undecorated, it has no promises."""
    if isinstance(function, Pipeline):
        return function
    parameters = list(inspect.signature(function).parameters.values())[3:]
    chosen = {p.name: p.default for p in parameters if p.default is not p.empty} | options
    promises: dict[str, Promise | None] = getattr(function, "promises", {})
    schedule: Schedule = functools.partial(function, **options) if options else function
    if is_user_function(function):
        schedule = UserSchedule(function, options)
    text = inspect.getdoc(function) or ""
    found = {key: _field(text, key) for key in ("Bubble", "Live", "Source")}
    return Pipeline(
        name=name or getattr(function, "__name__", "schedule"),
        schedule=schedule,
        bubble=_bind(promises.get("bubble"), "bubble", ("size", "num_microbatches"), chosen),
        live=_bind(promises.get("live"), "live", ("rank", "size", "num_microbatches"), chosen),
        options=tuple(chosen.items()),
        summary=text.partition("\n")[0],
        formulas=tuple(f"{key}: {found[key]}" for key in ("Bubble", "Live") if found[key]),
        source=found["Source"],
        function=function,
    )


def _bind(promise: Promise | None, name: str, arguments: tuple[str, ...], options: dict[str, Any]) -> Promise | None:
    """Return ``promise`` as a function of all ``arguments``, of which it gets those that it names."""
    if promise is None:
        return None
    wanted = inspect.signature(promise).parameters
    call = UserPromise(promise, name, seconds=SECONDS, whole=False) if is_user_function(promise) else promise
    fixed = {key: value for key, value in options.items() if key in wanted}

    def bound(*values: int) -> float:
        given = dict(zip(arguments, values, strict=True))
        return call(**{key: value for key, value in given.items() if key in wanted}, **fixed)

    bound.line = getattr(call, "line", None)  # type: ignore[attr-defined]
    return bound


def _field(text: str, key: str) -> str:
    """Return the paragraph of a docstring that begins with ``key``, as one line."""
    found = re.search(rf"^{key}: (.*?)(?=\n[A-Z]\w+: |\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()) if found else ""
