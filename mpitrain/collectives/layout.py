"""Places of the chunks in the buffers of a collective: nearly equal ones, or of given lengths."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from .algorithm import Algorithm
from .step import Chunks, chunk_bounds, chunk_runs

Counts = Sequence[Sequence[int]]
"""Elements of each chunk of one rank, one sequence for each buffer."""


class Layout:
    """The chunks of one rank, as parts of its buffers.

    Parameters
    ----------
    algorithm : Algorithm
    size : int
        P.
    num_elements : int
        Elements n of the first buffer.
    counts : Counts, optional
        By default the chunks of a buffer differ by at most one element. With counts, both ends of a message must give
        the same lengths to its chunks; an all-to-all must be one that sends every chunk straight to its place.

    Attributes
    ----------
    sizes : list of int
        Elements of each buffer.

    Raises
    ------
    ValueError
        If the counts do not fit, or if there are none and the two ends of a message would cut it differently.

    Examples
    --------
    >>> from mpitrain.collectives import find
    >>> list(Layout(find("all_gather/ring"), 3, 7, [[4, 0, 3]]).spans(range(1, 3)))
    [(0, slice(4, 7, None))]
    """

    def __init__(self, algorithm: Algorithm, size: int, num_elements: int, counts: Counts | None = None):
        self._each = algorithm.num_chunks(size) // algorithm.buffers
        self._ends: list[list[int]] | None = None
        if counts is None:
            if algorithm.buffers > 1 and num_elements % self._each:
                raise ValueError(
                    f"{algorithm.collective} of {num_elements} elements over {size} ranks: must be a multiple of "
                    f"{self._each}"
                )
            self.sizes = [num_elements] * algorithm.buffers
            return
        wrong = [len(c) for c in counts if len(c) != self._each]
        if wrong or len(counts) != algorithm.buffers or sum(counts[0]) != num_elements:
            raise ValueError(
                f"{algorithm.name} over {size} ranks has {algorithm.buffers} x {self._each} chunks, the first of them "
                f"with {num_elements} elements together, but the counts are {counts}"
            )
        self._ends = [list(accumulate(c, initial=0)) for c in counts]
        self.sizes = [ends[-1] for ends in self._ends]

    def spans(self, chunks: Chunks) -> Iterator[tuple[int, slice]]:
        """Yield (buffer, its elements) of each contiguous part of ``chunks`` that is not empty, in order."""
        for run in chunk_runs(chunks):
            while run:
                number, first = divmod(run.start, self._each)
                stop = min(run.stop, (number + 1) * self._each)
                bounds = self._bounds(number, range(first, stop - number * self._each))
                if bounds.start < bounds.stop:
                    yield number, bounds
                run = range(stop, run.stop)

    def own(self, rank: int) -> tuple[slice, slice]:
        """Return where a rank's chunk for itself lies in the first buffer, and where it belongs in the second."""
        chunk = range(rank, rank + 1)
        return self._bounds(0, chunk), self._bounds(1, chunk)

    def _bounds(self, number: int, chunks: range) -> slice:
        if self._ends is None:
            return chunk_bounds(self.sizes[number], self._each, chunks)
        return slice(self._ends[number][chunks.start], self._ends[number][chunks.stop])
