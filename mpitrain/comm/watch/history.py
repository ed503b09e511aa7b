"""Histories: the collectives that all ranks of a group must call in the same order, compared while they are called.

Each has numbers of its own, and the rolling hash of everything up to a number: ranks whose hashes differ have not
called the same collectives in the same order. A rank's slot has room for some histories (``slot.py``). The first is
that of the whole job; others are found in the slots of other ranks by a code, a hash of the axis and its ranks.
"""

from collections.abc import Sequence

from .slot import ENTRIES, ERA, HISTORIES, HISTORIES_AT, HISTORY_WIDTH, Record

PRIME = 16777619
MODULUS = 1 << 32


class MismatchError(Exception):
    """Raised when this rank begins another collective than another rank of its node."""


class History:
    """One history of this rank.

    Parameters
    ----------
    mine : Record
    place : int
        Place in the slot of this rank; 0 for the whole job.
    others : sequence of Record
        The other ranks of the group on this node.
    code : int
        The same on all ranks of the group; 0 for the whole job.
    era : int
        Number of times that ranks were lost.

    Attributes
    ----------
    number : int
        Number of the last call.
    hash : int
        Rolling 32-bit hash of the calls so far, the same on all ranks of a correct program.
    era : int
    """

    def __init__(self, mine: Record, place: int, others: Sequence[Record], code: int = 0, era: int = 0) -> None:
        self.place, self._code, self._doubles = place, code, mine.doubles
        self._at = HISTORIES_AT + place * HISTORY_WIDTH
        self.begin(others, era)

    def begin(self, others: Sequence[Record], era: int) -> None:
        """Begin with numbers of an era that no rank has used, among ``others``."""
        self.era, self.hash, self.number = era, 0, era * ERA
        self._to_find = [record.doubles for record in others]
        self._found: list[tuple[memoryview[float], int]] = []
        self._doubles[self._at + 1] = self.number
        self._doubles[self._at] = self._code

    def next(self, code: int) -> tuple[int, int]:
        """Count a call with that code; return its number and the hash up to it."""
        self.number += 1
        self.hash = (self.hash * PRIME + code) % MODULUS
        return self.number, self.hash

    def compare(self) -> None:
        """Publish the hash of the last call and compare it with those of the other ranks that still have this number.

        Raises
        ------
        MismatchError
            If another rank of this node has called something else.
        """
        number, own, at = self.number, self.hash, 2 + self.number % ENTRIES
        self._doubles[self._at + at] = own
        self._doubles[self._at + 1] = number
        if self._to_find:
            self._find()
        for doubles, first in self._found:
            last = doubles[first + 1]
            if last >= number and doubles[first + at] != own and last < number + ENTRIES - 1:
                raise MismatchError(f"another rank's collective number {number % ERA} is not this one's")

    def _find(self) -> None:
        """Look for this history in the slots of the ranks that had none yet."""
        missing = []
        for doubles in self._to_find:
            places = [0] if not self.place else range(1, HISTORIES)
            at = next((at for place in places if doubles[at := HISTORIES_AT + place * HISTORY_WIDTH] == self._code), -1)
            self._found.append((doubles, at)) if at >= 0 else missing.append(doubles)
        self._to_find = missing
