"""Provenance: the sets of contributions in every chunk of every rank, message by message."""

from collections.abc import Sequence

from ..errors import ScheduleError
from .algorithm import Algorithm
from .lockstep import Measured, Program, run_lockstep
from .step import as_chunks


class Provenance:
    """The state of all ranks while a schedule runs in lockstep, kept as sets of contributions (see goal.py).

    Attributes
    ----------
    held : list of lists of int
        held[rank][chunk] is the set of contributions, bit by bit.
    """

    def __init__(self, algorithm: Algorithm, size: int) -> None:
        self.algorithm, self.size = algorithm, size
        self.goal = algorithm.goal
        self.num_chunks = algorithm.num_chunks(size)
        if self.num_chunks < 1 or (self.goal.owners and self.num_chunks % size):
            wanted = f"a multiple of {size}" if self.goal.owners else "at least 1"
            line = getattr(algorithm.num_chunks, "line", None)
            where = f" (line {line})" if line else ""
            raise ScheduleError(f"the number of chunks is {self.num_chunks}{where}, but must be {wanted}")
        self.held = [self.goal.start(rank, size, self.num_chunks) for rank in range(size)]
        self._last: dict[tuple[int, int], str] = {}
        self._lost: dict[tuple[int, int], str] = {}  # (contribution, chunk): place where it was overwritten

    def run(self) -> Measured:
        """Run the schedule and compare its end with the goal."""
        measured = run_lockstep(self.algorithm, self.size, self.read, self.write, self.goal.same_chunks)
        self.check_end()
        return measured

    def read(self, rank: int, chunks: Sequence[int]) -> list[int]:
        """Return the sets that ``rank`` sends."""
        held = self.held[rank]
        payload = [held[c] for c in chunks]
        if not all(payload):
            raise ScheduleError(f"rank {rank} sends chunk {chunks[payload.index(0)]} before anything is in it")
        return payload

    def write(self, receiver: Program, sender: Program, payload: list[int]) -> None:
        """Store a received message."""
        step = receiver.step
        assert step is not None
        held, chunks = self.held[receiver.rank], as_chunks(step.recv)
        if step.reduce:
            payload = [self._united(receiver, c, held[c], arrived) for c, arrived in zip(chunks, payload, strict=True)]
        elif self.goal.same_chunks:
            for chunk, arrived in zip(chunks, payload, strict=True):
                if held[chunk] & ~arrived:
                    self._note_lost(receiver, sender, chunk, held[chunk] & ~arrived)
        where = f"last received from rank {sender.rank} in its {receiver.where}"
        for chunk, contributions in zip(chunks, payload, strict=True):
            held[chunk] = contributions
            self._last[receiver.rank, chunk] = where

    def _united(self, receiver: Program, chunk: int, there: int, arrived: int) -> int:
        assert receiver.step is not None
        what, where = f"rank {receiver.rank} adds", f"in its {receiver.where}"
        if not there:
            raise ScheduleError(f"{what} to chunk {chunk} {where}, but nothing is in it yet; copy instead of reduce")
        if there & arrived and self.goal.once:
            name = self.goal.name(_lowest_bit(there & arrived), self.size)
            complete = arrived == (1 << self.size) - 1 and self.goal.collective == "all_reduce"
            hint = "; it is the whole sum that arrives: copy it, reduce=False" if complete else ""
            source = f"(received from rank {receiver.step.recv_from})"
            raise ScheduleError(f"{what} {name} to chunk {chunk} a second time {where} {source}{hint}")
        return there | arrived

    def _note_lost(self, receiver: Program, sender: Program, chunk: int, lost: int) -> None:
        where = f"rank {receiver.rank} overwrote it with what rank {sender.rank} sent, in its {receiver.where}"
        while lost:
            bit = _lowest_bit(lost)
            self._lost.setdefault((bit, chunk), where)
            lost &= lost - 1

    def check_end(self) -> None:
        """Raise ScheduleError for the first chunk that does not end as it should."""
        for rank in range(self.size):
            for chunk, wanted in enumerate(self.goal.finish(rank, self.size, self.num_chunks)):
                there = self.held[rank][chunk]
                if wanted is None or there == wanted:
                    continue
                last = self._last.get((rank, chunk), "never received")
                if wanted & ~there:
                    missing = _lowest_bit(wanted & ~there)
                    name, lost = self.goal.name(missing, self.size), self._lost.get((missing, chunk))
                    why = f"; {lost}: reduce=True adds instead" if lost else ""
                    raise ScheduleError(f"rank {rank} ends without {name} in chunk {chunk} ({last}){why}")
                name = self.goal.name(_lowest_bit(there & ~wanted), self.size)
                raise ScheduleError(f"rank {rank} ends with {name} in chunk {chunk}, where it must not be ({last})")


def _lowest_bit(contributions: int) -> int:
    return (contributions & -contributions).bit_length() - 1
