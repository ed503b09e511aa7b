"""Optional parsing of blocks by pyarrow in parallel, with the results of the csv module or none.

A block with anything out of the ordinary (ragged rows, blank lines, text among numbers) is declined as a whole. The
csv module then reads it, and finds the words for what is wrong.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from typing import Any

import numpy as np

from .blocks import Block
from .columns import merge_stripped

Coded = tuple[list[str], np.ndarray]
Parsed = dict[int, np.ndarray | Coded]
"""By position in the row: numbers, or distinct stripped cells and codes."""


class Reading(Enum):
    """The expected contents of a column."""

    TEXT = 0
    NUMBERS = 1
    """Plain, finite numbers only."""
    GAPS = 2
    """These, and missing ones."""


Plan = dict[int, Reading]
"""The columns to read."""


class ArrowParser:
    """A parser of blocks.

    Parameters
    ----------
    num_columns : int
    separator, decimal : str
    gaps : iterable of str
        Cells that are missing numbers.
    """

    def __init__(self, num_columns: int, separator: str, decimal: str, gaps: Iterable[str]):
        import pyarrow
        from pyarrow import csv

        self._pyarrow: Any = pyarrow
        self._csv: Any = csv
        self._names = [str(k) for k in range(num_columns)]
        self._separator, self._decimal, self._gaps = separator, decimal, sorted(gaps)

    def parse(self, block: Block, plan: Plan) -> Parsed | None:
        """Return the columns of ``plan``, None if the csv module must read the block."""
        if block.parsed is not None or not plan:
            return None
        try:
            table = self._read(block, plan)
        except (self._pyarrow.ArrowInvalid, self._pyarrow.ArrowKeyError):
            return None
        if table.num_rows != block.num_lines:
            return None
        parsed: Parsed = {}
        for k, kind in plan.items():
            array = table.column(str(k)).combine_chunks()
            if kind != Reading.TEXT:
                values = self._numbers(array, gaps=kind == Reading.GAPS)
                if values is None:
                    return None
                parsed[k] = values
            else:
                parsed[k] = merge_stripped(array.dictionary.to_pylist(), _view(array.indices, np.int32))
        return None if _may_hold_blank_rows(parsed) else parsed

    def _numbers(self, array: Any, *, gaps: bool) -> np.ndarray | None:
        """Return (n,) float64, NaN for missing ones; None where they are not expected, or one is not finite."""
        if not array.null_count:
            values = _view(array, np.float64)
            return values if np.isfinite(values).all() else None
        if not gaps or not np.isfinite(_view(array.fill_null(0.0), np.float64)).all():
            return None
        return _view(array.fill_null(np.nan), np.float64)

    def _read(self, block: Block, plan: Plan) -> Any:
        arrow, csv = self._pyarrow, self._csv
        texts = arrow.dictionary(arrow.int32(), arrow.string())
        return csv.read_csv(
            arrow.py_buffer(block.buffer).slice(0, block.size),
            csv.ReadOptions(use_threads=False, block_size=block.size + 1, column_names=self._names),
            csv.ParseOptions(delimiter=self._separator, newlines_in_values=block.quoted),
            csv.ConvertOptions(
                check_utf8=False,  # done
                column_types={str(k): texts if kind == Reading.TEXT else arrow.float64() for k, kind in plan.items()},
                include_columns=[str(k) for k in plan],
                null_values=self._gaps,
                decimal_point=self._decimal,
            ),
        )


def _view(array: Any, dtype: type) -> np.ndarray:
    """Return a NumPy view of a pyarrow array without nulls (its own ``to_numpy`` imports pandas)."""
    return np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]


def _may_hold_blank_rows(parsed: Parsed) -> bool:
    """Return whether all columns that were read are empty in a row, as in blank rows of separators."""
    empty: np.ndarray | None = None
    for column in parsed.values():
        here = np.isnan(column) if isinstance(column, np.ndarray) else _empty(*column)
        empty = here if empty is None else empty & here
        if not empty.any():
            return False
    return True


def _empty(cells: list[str], codes: np.ndarray) -> np.ndarray:
    found: np.ndarray = codes == (cells.index("") if "" in cells else -1)
    return found


def parse_ahead(
    blocks: Iterator[Block], parser: ArrowParser | None, plan: Callable[[], Plan], threads: int
) -> Iterator[tuple[Block, Parsed | None]]:
    """Yield the blocks in order, each with the result of the parser.

    Parameters
    ----------
    plan : callable
        Called before a block is passed to the parser.
    threads : int
        Blocks parsed at a time.
    """
    if parser is None or threads < 2:
        for block in blocks:
            yield block, None if parser is None else parser.parse(block, plan())
        return
    with ThreadPoolExecutor(threads, "mpitrain-table") as pool:
        ahead: deque[tuple[Block, Future[Parsed | None]]] = deque()
        problem: BaseException | None = None
        while True:
            try:
                while len(ahead) <= threads and problem is None:
                    block = next(blocks)
                    ahead.append((block, pool.submit(parser.parse, block, plan())))
            except BaseException as error:  # after the blocks before it: they may hold an earlier mistake
                problem = error
            if not ahead:
                break
            block, future = ahead.popleft()
            yield block, future.result()
    if problem is not None and not isinstance(problem, StopIteration):
        raise problem
