"""Line numbers of a file at which the rows of a table end."""

import bisect
from collections.abc import Sequence
from typing import overload


class Lines(Sequence[int]):
    """Line numbers by row, stored as runs: a billion rows without blank lines are one run.

    Examples
    --------
    >>> lines = Lines()
    >>> lines.extend(range(2, 5))
    >>> lines.extend([6, 9])
    >>> list(lines)
    [2, 3, 4, 6, 9]
    """

    def __init__(self) -> None:
        self._rows: list[int] = []  # first row of each run
        self._offsets: list[int] = []  # line minus row in it
        self._count = 0

    def extend(self, lines: Sequence[int]) -> None:
        """Append the lines of more rows."""
        if isinstance(lines, range):
            if lines:
                self._start(lines[0])
                self._count += len(lines)
            return
        for line in lines:
            self._start(line)
            self._count += 1

    def _start(self, line: int) -> None:
        if not self._offsets or self._offsets[-1] != line - self._count:
            self._rows.append(self._count)
            self._offsets.append(line - self._count)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> int: ...
    @overload
    def __getitem__(self, row: slice) -> list[int]: ...
    def __getitem__(self, row: int | slice) -> int | list[int]:
        if isinstance(row, slice):
            return [self[k] for k in range(*row.indices(self._count))]
        row = int(row)
        if not -self._count <= row < self._count:
            raise IndexError(row)
        row %= self._count
        return row + self._offsets[bisect.bisect_right(self._rows, row) - 1]
