"""Values in shards: each rank keeps a part of every piece, and pieces are whole while their unit computes.

    read of a parameter of unit 3 | release unit 2 | wait for unit 3 | begin to gather unit 4 | compute

A layer reads ``Parameter.data`` and knows nothing of this. The read of a parameter whose unit is not there yet is where
units change, at the same places of forward and backward on all ranks. The unit that comes next is the one that came
next the last time, after the same two units. A piece of which a layer holds a view keeps its memory, so that the
view is right until the weights change.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..arena import Arena, Parameter
from ..comm.group import Group
from ..comm.schedule.plan import Request
from ..device.reserved import ReservedMemory
from .pieces import Piece

START = -1  # the unit before the first


class GatheredValues:
    """The values of an arena, of which this rank keeps a part; all ranks read the same parameters in the same order.

    Parameters
    ----------
    arena : Arena
        Its values are those of ``memory``.
    group : Group
    memory : ReservedMemory
    pieces : sequence of Piece
    gather : str
        Algorithm, all_gather/NAME.
    keep : bool
        Keep what was gathered in a step until ``end_step``, instead of one unit and the next.

    Attributes
    ----------
    num_gathers : int
        Pieces gathered so far.
    seconds : float
        Time spent on waiting for them, since the last time that it was set to 0.
    """

    def __init__(
        self, arena: Arena, group: Group, memory: ReservedMemory, pieces: Sequence[Piece], gather: str, keep: bool
    ):
        self._arena, self._memory, self._pieces, self._keep = arena, memory, pieces, keep
        self.own = tuple(piece.share(group.size, group.rank) for piece in pieces)
        names = [" to ".join(dict.fromkeys((p.parameters[0].name, p.parameters[-1].name))) for p in pieces]
        self.plans: list[Request] = [
            group.plan_watched(gather, arena.values[piece.start : piece.stop], f"weights {name}")
            for piece, name in zip(pieces, names, strict=True)
        ]
        self._piece_of = {p: number for number, piece in enumerate(pieces) for p in piece.parameters}
        num_units = 1 + max((unit for piece in pieces for unit in piece.units), default=0)
        self._of_unit = [[k for k, piece in enumerate(pieces) if unit in piece.units] for unit in range(num_units)]
        self._whole: set[int] = set()  # pieces that are gathered
        self._flying: dict[int, None] = {}  # pieces that are being gathered, in their order
        self._here: set[int] = set()  # pieces of the unit that computes
        self._unit = self._before = START
        self._next: dict[tuple[bool, int, int], int] = {}
        self._training = False
        self.num_gathers, self.seconds = 0, 0.0
        self._bases = [memory.part(slice(piece.start, piece.stop)) for piece in pieces]
        self._bind()
        self._views = [sys.getrefcount(self._bases[number]) for number in range(len(pieces))]
        self._hook(True)
        self.release()

    @property
    def largest_two(self) -> int:
        """Elements of the two largest units."""
        sizes = [sum(self._pieces[k].stop - self._pieces[k].start for k in numbers) for numbers in self._of_unit]
        return sum(sorted(sizes)[-2:])

    def begin_step(self) -> None:
        """Begin the forward and backward passes of a step."""
        self._training, self._unit, self._before = True, START, START
        self.seconds = 0.0  # not those of an evaluation
        self._here = set()

    def end_step(self) -> None:
        """Have only this rank's part from here on: the values are about to change.

        Where a whole step's pieces have room, their memory is kept, too: the next step writes over it.
        """
        self._training = False
        self._forget()
        if not self._keep:
            self._give_back_all()

    def release(self) -> None:
        """Give back all but this rank's part."""
        self._forget()
        self._give_back_all()

    def _forget(self) -> None:
        """Have only this rank's part from here on."""
        for piece in list(self._flying):
            self._land(piece)
        self._whole.clear()
        self._here, self._unit, self._before = set(), START, START

    def _give_back_all(self) -> None:
        for number in range(len(self._pieces)):
            self._give_back(number)

    @contextmanager
    def whole(self, *, here: bool = True) -> Iterator[None]:
        """Have all values inside a ``with`` block, on ranks with ``here``; all ranks enter it together."""
        self.release()
        self._hook(False)
        try:
            for number in range(len(self._pieces)):
                self._start(number)
                self._land(number)
                if not here:
                    self._whole.discard(number)
                    self._give_back(number)
            yield
        finally:
            self._hook(True)
            self.release()

    def free(self) -> None:
        """Make all values whole, for good."""
        self.release()
        self._hook(False)
        for number in range(len(self._pieces)):
            self._start(number)
            self._land(number)

    def _bind(self) -> None:
        """Make the values of each parameter a view of its piece, so that views of a piece can be counted."""
        for base, piece in zip(self._bases, self._pieces, strict=True):
            for p in piece.parameters:
                p.data = base[p.start - piece.start : p.stop - piece.start].reshape(p.shape)

    def _hook(self, wanted: bool) -> None:
        for p in self._piece_of:
            p.watch("data", self._read if wanted else None)

    def _read(self, p: Parameter) -> None:
        """Have the values of ``p``, with those of its unit."""
        number = self._piece_of[p]
        if number not in self._here:
            self._change(number)
        elif self._flying:
            self._progress()

    def _change(self, piece: int) -> None:
        """Begin with the unit of ``piece``: the one before has computed."""
        unit = self._choose(self._pieces[piece].units)
        training, before = self._training, self._unit
        self._next[training, self._before, before] = unit
        self._before, self._unit = before, unit
        wanted = self._of_unit[unit]
        self._here = set(wanted)
        if not (training and self._keep):
            for number in self._whole - self._here:
                self._whole.discard(number)
                self._give_back(number)
        for number in wanted:
            self._start(number)
        for number in wanted:
            self._land(number)
        for number in self._of_unit[self._expected] if self._expected != START else ():
            self._start(number)

    @property
    def _expected(self) -> int:
        """The unit after the one that computes, if it was seen before."""
        return self._next.get((self._training, self._before, self._unit), START)

    def _choose(self, units: Sequence[int]) -> int:
        """Return which of the units that share a piece comes now."""
        expected = self._expected
        return expected if expected in units else min(units, key=lambda unit: abs(unit - self._unit))

    def _start(self, number: int) -> None:
        if number not in self._whole and number not in self._flying:
            self.plans[number].start()
            self._flying[number] = None
            self.num_gathers += 1

    def _land(self, number: int) -> None:
        if number in self._flying:
            begin = time.perf_counter()
            self.plans[number].wait()
            self.seconds += time.perf_counter() - begin
            del self._flying[number]
            self._whole.add(number)

    def _progress(self) -> None:
        number = next(iter(self._flying))
        if self.plans[number].poll():
            self._land(number)

    def _is_gone(self, number: int) -> bool:
        """Return whether there is a piece of that number whose memory is not needed."""
        there = 0 <= number < len(self._pieces)
        return there and not (number in self._whole or number in self._flying or self._is_held(number))

    def _is_held(self, number: int) -> bool:
        """Return whether there are more views of a piece than those of the parameters."""
        return sys.getrefcount(self._bases[number]) > self._views[number]

    def _give_back(self, number: int) -> None:
        """Give back the other ranks' parts of a piece, with those of its neighbors beside them that are gone, too.

        Not while there is a view of the piece, as in a layer that will use it in backward: it would read zeros.
        """
        if self._is_held(number):
            return
        piece, own = self._pieces[number], self.own[number]
        start = self.own[number - 1].stop if self._is_gone(number - 1) else piece.start
        stop = self.own[number + 1].start if self._is_gone(number + 1) else piece.stop
        self._memory.give_back(slice(start, own.start))
        self._memory.give_back(slice(own.stop, stop))
