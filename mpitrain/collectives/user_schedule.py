"""Schedules of collectives from a user's file.

The steps of a generator are normalized (any integer type becomes an int), and invalid ones are refused: objects other
than Step, peers that are not ranks, invalid chunks. ``user_generator`` has the rest.
"""

import operator
from collections.abc import Callable
from typing import Any

from ..user_generator import UserGenerator, given, why_no_int
from .step import Chunks, Step

SECONDS, SECONDS_A_RANK = 5.0, 1e-4  # time limit of one step
STEPS, STEPS_A_RANK = 100_000, 1_000  # limit for one rank


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
        seconds, most = SECONDS + SECONDS_A_RANK * size, STEPS + STEPS_A_RANK * size
        return UserSteps(self._function, (rank, size), self._options, seconds=seconds, most=most)


class UserSteps(UserGenerator[Step]):
    """Iterator over the steps of one rank of a user's function."""

    item, place = Step, "round"

    def fit(self, item: Step) -> Step:
        """Return the step with plain ints; raise ScheduleError if it is not valid."""
        send_to, send, recv_from, recv, reduce = item
        if type(send) in _PLAIN and type(recv) in _PLAIN and type(send_to) in _PEER and type(recv_from) in _PEER:
            fit = item
        else:
            to, source = self._peer("send_to", send_to), self._peer("recv_from", recv_from)
            fit = Step(to, self._chunks("send", send), source, self._chunks("recv", recv), bool(reduce))
        why = why_no_step(fit, self.rank, self.size)
        if why:
            self.refuse(why)
        return fit

    def _peer(self, name: str, peer: Any) -> int | None:
        try:
            return None if peer is None else operator.index(peer)
        except TypeError:
            self.refuse(f"{name} is {given(peer)}, but must be the number of a rank{why_no_int(peer)}")

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
            self.refuse(f"{name} is {given(chunks)}, but {what}{why_no_int(odd)}")


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
