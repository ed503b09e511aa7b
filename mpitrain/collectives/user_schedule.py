"""Schedules from a user's file: every fault is reported with its line.

The steps of a generator are normalized (any integer type becomes an int), and invalid ones are refused: objects other
than Step, peers that are not ranks, invalid chunks. A generator that raises, does not return or yields endlessly ends
with a ScheduleError.
"""

import operator
from collections.abc import Callable, Iterator
from types import CodeType, GeneratorType
from typing import Any, NoReturn

from ..errors import UserError
from ..user_code import TooLongError, UserCode, code_of, describe, line_in
from .step import Chunks, EndlessError, ScheduleError, Step

SECONDS, SECONDS_A_RANK = 5.0, 1e-4  # time limit of one step
STEPS, STEPS_A_RANK = 100_000, 1_000  # limit for one rank
OURS = __name__.partition(".")[0]


def is_user_function(function: Callable[..., Any]) -> bool:
    """Return whether ``function`` is not part of mpitrain."""
    return (getattr(function, "__module__", None) or "").partition(".")[0] != OURS


class UserSchedule:
    """A user's function as a schedule.

    Parameters
    ----------
    function : callable(rank, size, **options)
    options : dict
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]):
        self._function, self._options = function, options

    def __call__(self, rank: int, size: int) -> "UserSteps":
        """Return the steps of ``rank``; the function is called for the first one."""
        return UserSteps(self._function, self._options, rank, size)


class UserSteps(Iterator[Step]):
    """Iterator over the steps of one rank of a user's function."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any], rank: int, size: int):
        self._make: Callable[[], Any] = lambda: function(rank, size, **options)
        self._rank, self._size = rank, size
        self._code = code_of(function)
        self._file = self._code.co_filename if self._code else ""
        self._limit = UserCode(self._file, SECONDS + SECONDS_A_RANK * size)
        self._most = STEPS + STEPS_A_RANK * size
        self._steps: Iterator[Any] | None = None
        self._round = -1

    @property
    def line(self) -> int | None:
        """Line of the current yield in the user's file, None if it is not known."""
        found, steps = None, self._steps
        while isinstance(steps, GeneratorType) and steps.gi_frame is not None:
            if steps.gi_frame.f_code.co_filename == self._file:
                found = steps.gi_frame.f_lineno
            steps = steps.gi_yieldfrom
        return found

    def __next__(self) -> Step:
        try:
            with self._limit:
                if self._steps is None:
                    self._steps = _as_iterator(self._make(), self._code)
                step = next(self._steps)
        except (StopIteration, KeyboardInterrupt):
            raise
        except TooLongError as error:
            who = f"rank {self._rank} of {self._size}"
            raise EndlessError(
                f"{who}: it has computed for {self._limit.seconds:.0f} s without a yield{_at(error.line)}; does the "
                "loop there end, and does it yield?"
            ) from None
        except UserError as error:
            raise type(error)(f"{error}{line_in(self._file, error.__traceback__)}") from error
        except (Exception, SystemExit) as error:
            after = f", after round {self._round}" if self._round >= 0 else ""
            what = f"the schedule fails with {describe(error)}{line_in(self._file, error.__traceback__)}"
            raise ScheduleError(f"rank {self._rank} of {self._size}{after}: {what}") from error
        self._round += 1
        if self._round == self._most:
            why = f"is still yielding after {self._most} steps{_at(self.line)}; does the loop there end?"
            raise EndlessError(f"rank {self._rank} of {self._size} {why}")
        return self._fit(step)

    def _fit(self, step: Any) -> Step:
        """Return ``step`` with plain ints; raise ScheduleError if it is not a valid step."""
        if not isinstance(step, Step):
            hint = ""
            if step is None or isinstance(step, int | range):
                hint = " (write yield Step(...), not yield from Step(...))"
            self._refuse(f"a schedule yields Step objects, not {type(step).__name__}{hint}")
        send_to, send, recv_from, recv, reduce = step
        if type(send) in _PLAIN and type(recv) in _PLAIN and type(send_to) in _PEER and type(recv_from) in _PEER:
            fit = step
        else:
            to, source = self._peer("send_to", send_to), self._peer("recv_from", recv_from)
            fit = Step(to, self._chunks("send", send), source, self._chunks("recv", recv), bool(reduce))
        why = why_no_step(fit, self._rank, self._size)
        if why:
            self._refuse(why)
        return fit

    def _peer(self, name: str, peer: Any) -> int | None:
        try:
            return None if peer is None else operator.index(peer)
        except TypeError:
            self._refuse(f"{name} is {given(peer)}, but must be the number of a rank{_why_no_int(peer)}")

    def _chunks(self, name: str, chunks: Any) -> Chunks:
        if chunks is None or isinstance(chunks, range):
            return chunks
        try:
            if isinstance(chunks, tuple):
                return tuple(part if isinstance(part, range) else operator.index(part) for part in chunks)
            return operator.index(chunks)
        except TypeError:
            odd = next((c for c in chunks if type(c) is float), chunks) if isinstance(chunks, tuple) else chunks
            what = "must be a chunk, a range of chunks or a tuple of them"
            self._refuse(f"{name} is {given(chunks)}, but {what}{_why_no_int(odd)}")

    def _refuse(self, why: str) -> NoReturn:
        where = f", line {self.line}" if self.line else ""
        raise ScheduleError(f"rank {self._rank} of {self._size}, round {self._round}{where}: {why}")


_PEER = (int, type(None))
_PLAIN = (int, range, type(None))


def why_no_step(step: Step, rank: int, size: int) -> str:
    """Return the error in the peers of ``step`` for ``rank``, \"\" if there is none."""
    for name, peer, chunks_name, chunks in (
        ("send_to", step.send_to, "send", step.send),
        ("recv_from", step.recv_from, "recv", step.recv),
    ):
        if (peer is None) != (chunks is None):
            return f"{name} and {chunks_name} must both be given or both be None"
        if peer == rank:
            alone = "; with one rank there is nothing to send" if size == 1 else ""
            return f"{name} is the rank itself; a rank cannot message itself{alone}"
        if peer is not None and not 0 <= peer < size:
            return f"{name} is {peer}, but {f'ranks go from 0 to {size - 1}' if size > 1 else 'there is no rank but 0'}"
    return "reduce without anything to receive" if step.reduce and step.recv_from is None else ""


class UserPromise:
    """A user's promise of rounds, bytes, reductions or num_chunks, as a function of P.

    Parameters
    ----------
    function : callable(size)
    name : str

    Attributes
    ----------
    line : int or None
        Line of the function.
    """

    def __init__(self, function: Callable[..., Any], name: str):
        code = code_of(function)
        self.line = code.co_firstlineno if code else None
        self._function, self._name, self._file = function, name, code.co_filename if code else ""
        self._limit = UserCode(self._file, SECONDS)

    def __call__(self, size: int) -> Any:
        """Return the number for ``size`` ranks.

        Raises
        ------
        ScheduleError
            If the function fails or does not return.
        """
        try:
            with self._limit:
                value = self._function(size)
        except (KeyboardInterrupt, UserError):
            raise
        except TooLongError as error:
            line = error.line or self.line
            raise EndlessError(f"its {self._name} does not come back{_at(line)}") from None
        except (Exception, SystemExit) as error:
            where = line_in(self._file, error.__traceback__) or _at(self.line)
            raise ScheduleError(f"its {self._name} fails with {describe(error)}{where}") from error
        whole = self._name == "num_chunks"
        try:
            return operator.index(value) if whole else float(value)
        except (TypeError, ValueError):
            wanted = f"a whole number{_why_no_int(value)}" if whole else "a number"
            raise ScheduleError(f"its {self._name}{_at(self.line)} is {given(value)}, but must be {wanted}") from None


def _at(line: int | None) -> str:
    return f" (line {line})" if line else ""


def given(value: object) -> str:
    """Return a short description of a value with its type."""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _why_no_int(value: object) -> str:
    return "; / gives a float, // an int" if isinstance(value, float) else ""


def why_no_steps(result: object, name: str, code: CodeType | None) -> str:
    """Return why the ``result`` of a call of a schedule has no steps, \"\" if it has."""
    if isinstance(result, Iterator):
        return ""
    line = _at(code.co_firstlineno if code else None)
    if isinstance(result, Step):
        return f"{name}{line} returns a Step; it must yield it: yield Step(...)"
    if isinstance(result, list | tuple) and all(isinstance(step, Step) for step in result):
        what = f"a {type(result).__name__} of {len(result)} Steps"
        return f"{name}{line} returns {what}; it must yield them, one by one: yield Step(...)"
    what = "and returns nothing" if result is None else f"but returns {given(result)}"
    return f"{name}{line} never yields, {what}; a Step counts only if it is yielded: yield Step(...)"


def _as_iterator(result: Any, code: CodeType | None) -> Iterator[Any]:
    why = why_no_steps(result, code.co_name if code else "the schedule", code)
    if why:
        raise ScheduleError(why)
    steps: Iterator[Any] = result
    return steps
