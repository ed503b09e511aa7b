"""Generators from a user's file, step by step: every fault is reported in one sentence with its line.

A generator that raises, does not return or yields endlessly ends with a ScheduleError, which names the rank. Items of
the wrong type are refused by ``fit``.
"""

import operator
from abc import abstractmethod
from collections.abc import Callable, Iterator
from types import CodeType, GeneratorType
from typing import Any, Generic, NoReturn, TypeVar

from .errors import EndlessError, ScheduleError, UserError
from .user_code import TooLongError, UserCode, code_of, describe, line_in

T = TypeVar("T")
OURS = __name__.partition(".")[0]


def is_user_function(function: Callable[..., Any]) -> bool:
    """Return whether ``function`` is not part of mpitrain."""
    return (getattr(function, "__module__", None) or "").partition(".")[0] != OURS


class UserGenerator(Iterator[T], Generic[T]):
    """Iterator over the items that one rank of a user's function yields.

    A subclass defines the kind of the items, and ``fit``.

    Parameters
    ----------
    function : callable(rank, size, ...)
        Called for the first item.
    arguments : tuple
        Its positional arguments; the first two are rank and size.
    options : dict
    seconds : float
        Time limit of one item.
    most : int
        Number of items at which the generator counts as endless.
    """

    item: type
    """Type of the items."""
    place: str
    """Word for the number of an item, as in "round 3"."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[int, ...],
        options: dict[str, Any],
        *,
        seconds: float,
        most: int,
    ):
        self._make: Callable[[], Any] = lambda: function(*arguments, **options)
        self.rank, self.size = arguments[:2]
        self._code = code_of(function)
        self._file = self._code.co_filename if self._code else ""
        self._limit = UserCode(self._file, seconds)
        self._most = most
        self._items: Iterator[Any] | None = None
        self._number = -1

    @property
    def line(self) -> int | None:
        """Line of the current yield in the user's file, None if it is not known."""
        found, items = None, self._items
        while isinstance(items, GeneratorType) and items.gi_frame is not None:
            if items.gi_frame.f_code.co_filename == self._file:
                found = items.gi_frame.f_lineno
            items = items.gi_yieldfrom
        return found

    def __next__(self) -> T:
        try:
            with self._limit:
                if self._items is None:
                    self._items = self._as_iterator(self._make())
                item = next(self._items)
        except (StopIteration, KeyboardInterrupt):
            raise
        except TooLongError as error:
            who = f"rank {self.rank} of {self.size}"
            raise EndlessError(
                f"{who}: it has computed for {self._limit.seconds:.0f} s without a yield{at(error.line)}; does the "
                "loop there end, and does it yield?"
            ) from None
        except UserError as error:
            raise type(error)(f"{error}{line_in(self._file, error.__traceback__)}") from error
        except (Exception, SystemExit) as error:
            after = f", after {self.place} {self._number}" if self._number >= 0 else ""
            what = f"the schedule fails with {describe(error)}{line_in(self._file, error.__traceback__)}"
            raise ScheduleError(f"rank {self.rank} of {self.size}{after}: {what}") from error
        self._number += 1
        if self._number == self._most:
            why = f"is still yielding after {self._most} {self.item.__name__.lower()}s{at(self.line)}"
            raise EndlessError(f"rank {self.rank} of {self.size} {why}; does the loop there end?")
        if not isinstance(item, self.item):
            name, hint = self.item.__name__, ""
            if item is None or isinstance(item, int | range | str):
                hint = f" (write yield {name}(...), not yield from {name}(...))"
            self.refuse(f"a schedule yields {name} objects, not {type(item).__name__}{hint}")
        return self.fit(item)

    @abstractmethod
    def fit(self, item: Any) -> T:
        """Return ``item`` with plain ints; call ``refuse`` if it is not valid."""

    def refuse(self, why: str) -> NoReturn:
        """Raise a ScheduleError about the current item."""
        where = f", line {self.line}" if self.line else ""
        raise ScheduleError(f"rank {self.rank} of {self.size}, {self.place} {self._number}{where}: {why}")

    def _as_iterator(self, result: Any) -> Iterator[Any]:
        why = why_no_items(result, self.item, self._code.co_name if self._code else "the schedule", self._code)
        if why:
            raise ScheduleError(why)
        items: Iterator[Any] = result
        return items


class UserPromise:
    """A user's promise, a function of the number of ranks and the like.

    Parameters
    ----------
    function : callable
    name : str
        The promise, for messages.
    seconds : float
        Time limit of a call.
    whole : bool
        True if the result must be a whole number.

    Attributes
    ----------
    line : int or None
        Line of the function.
    """

    def __init__(self, function: Callable[..., Any], name: str, *, seconds: float, whole: bool):
        code = code_of(function)
        self.line = code.co_firstlineno if code else None
        self._function, self._name, self._file = function, name, code.co_filename if code else ""
        self._limit, self._whole = UserCode(self._file, seconds), whole

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Return the number for these arguments.

        Raises
        ------
        ScheduleError
            If the function fails or does not return.
        """
        try:
            with self._limit:
                value = self._function(*arguments, **named)
        except (KeyboardInterrupt, UserError):
            raise
        except TooLongError as error:
            line = error.line or self.line
            raise EndlessError(f"its {self._name} does not come back{at(line)}") from None
        except (Exception, SystemExit) as error:
            where = line_in(self._file, error.__traceback__) or at(self.line)
            raise ScheduleError(f"its {self._name} fails with {describe(error)}{where}") from error
        try:
            return operator.index(value) if self._whole else float(value)
        except (TypeError, ValueError):
            wanted = f"a whole number{why_no_int(value)}" if self._whole else "a number"
            raise ScheduleError(f"its {self._name}{at(self.line)} is {given(value)}, but must be {wanted}") from None


def at(line: int | None) -> str:
    """Return " (line 7)" for a line that is known."""
    return f" (line {line})" if line else ""


def given(value: object) -> str:
    """Return a short description of a value with its type."""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def why_no_int(value: object) -> str:
    """Return a hint for a float in the place of an int, \"\" for anything else."""
    return "; / gives a float, // an int" if isinstance(value, float) else ""


def why_no_items(result: object, item: type, name: str, code: CodeType | None) -> str:
    """Return why the ``result`` of a call of a schedule has no items, \"\" if it has."""
    if isinstance(result, Iterator):
        return ""
    line, kind = at(code.co_firstlineno if code else None), item.__name__
    if isinstance(result, item):
        return f"{name}{line} returns a {kind}; it must yield it: yield {kind}(...)"
    if isinstance(result, list | tuple) and all(isinstance(one, item) for one in result):
        what = f"a {type(result).__name__} of {len(result)} {kind}s"
        return f"{name}{line} returns {what}; it must yield them, one by one: yield {kind}(...)"
    what = "and returns nothing" if result is None else f"but returns {given(result)}"
    return f"{name}{line} never yields, {what}; a {kind} counts only if it is yielded: yield {kind}(...)"
