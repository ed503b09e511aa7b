"""The tasks of the lab: for each, the parameters of its kernel, sizes to try, and the result in float64.

A task is known by a word in the kernel's name, so that a file needs nothing that nvcc would not read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import UserError
from .source import Entry, Source

Shape = tuple[str, ...]


@dataclass(frozen=True)
class Goal:
    """A bound on a count, for an exercise.

    Attributes
    ----------
    count : str
        A count of ``Counts.rates``.
    most : float
    words : str
        The goal as a sentence.
    unit : str
        What the count and ``most`` are numbers of.
    """

    count: str
    most: float
    words: str
    unit: str


@dataclass(frozen=True)
class Task:
    """A task for a kernel.

    Attributes
    ----------
    name : str
    words : tuple of str
        A kernel whose name has one of these words is for this task.
    formula : str
    inputs, outputs : dict of str to tuple of str
        Shapes of the arrays, fp32, row-major; the kernel's pointers in this order.
    sizes : tuple of str
        The kernel's other parameters, after the pointers.
    reference : callable
        The results in float64, of the inputs in float64.
    cases : tuple of tuple of int
        Sizes to try, ragged ones too.
    counted : tuple of int
        Sizes for which memory accesses are counted: multiples of 32.
    work : callable
        Multiply-adds (or additions) of the sizes; None for a task that only copies.
    unit : str
        The word for a unit of work.
    grid, block : str
        The launch where the file gives none.
    """

    name: str
    words: tuple[str, ...]
    formula: str
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    sizes: tuple[str, ...]
    reference: Callable[..., Any]
    cases: tuple[tuple[int, ...], ...]
    counted: tuple[int, ...]
    grid: str
    block: str
    work: Callable[..., int] | None = None
    unit: str = "element"
    goals: Mapping[str, tuple[Goal, ...]] = field(default_factory=dict)

    @property
    def arrays(self) -> dict[str, Shape]:
        """Shapes of all arrays, by name."""
        return {**self.inputs, **self.outputs}

    def shape(self, array: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape of an array in numbers."""
        return tuple(sizes[name] for name in self.arrays[array])

    def least_bytes(self, sizes: Mapping[str, int]) -> int:
        """Return the bytes of global memory when each array is read or written once."""
        return sum(4 * int(np.prod(self.shape(array, sizes))) for array in self.arrays)


LOADS, TURNS, SECTORS = (
    "loads for each multiply-add",
    "times the turns that are needed",
    "times the sectors that are needed",
)
COALESCED = Goal("global sectors", 1.0, "no uncoalesced access to global memory", SECTORS)
NO_CONFLICTS = Goal("shared transactions", 1.0, "no bank conflicts", TURNS)
PRODUCT = Task(
    name="product",
    words=("product", "gemm", "matmul"),
    formula="out = a b; a (m, k), b (k, n), out (m, n)",
    inputs={"a": ("m", "k"), "b": ("k", "n")},
    outputs={"out": ("m", "n")},
    sizes=("m", "n", "k"),
    reference=lambda a, b: a @ b,
    cases=((1, 1, 1), (32, 32, 32), (33, 17, 5), (3, 50, 1), (65, 31, 70), (128, 36, 8)),
    counted=(128, 128, 64),
    grid="(ceil(n / 16), ceil(m / 16))",
    block="(16, 16)",
    work=lambda m, n, k: m * n * k,
    unit="multiply-add",
    goals={
        "tiled": (
            Goal("global loads", 1 / 8, "one load from global memory serves at least 8 multiply-adds", LOADS),
            COALESCED,
            NO_CONFLICTS,
        ),
        "register": (
            Goal("global loads", 1 / 16, "one load from global memory serves at least 16 multiply-adds", LOADS),
            Goal("shared loads", 1 / 2, "one load from shared memory serves at least 2 multiply-adds", LOADS),
            Goal("shared transactions", 2.0, "no access to shared memory takes more than twice its turns", TURNS),
        ),
    },
)
TASKS = {
    task.name: task
    for task in (
        Task(
            name="add",
            words=("add",),
            formula="out[i] = a[i] + b[i]; a, b, out (n,)",
            inputs={"a": ("n",), "b": ("n",)},
            outputs={"out": ("n",)},
            sizes=("n",),
            reference=lambda a, b: a + b,
            cases=((1,), (32,), (256,), (1000,), (1025,)),
            counted=(4096,),
            grid="ceil(n / 256)",
            block="256",
            work=lambda n: n,
            unit="addition",
            goals={"add": (COALESCED,)},
        ),
        Task(
            name="row_sum",
            words=("sum",),
            formula="out[r] = sum of x[r]; x (rows, cols), out (rows,)",
            inputs={"x": ("rows", "cols")},
            outputs={"out": ("rows",)},
            sizes=("rows", "cols"),
            reference=lambda x: x.sum(axis=1),
            cases=((1, 1), (3, 7), (2, 256), (5, 1000), (4, 257)),
            counted=(64, 1024),
            grid="rows",
            block="256",
            work=lambda rows, cols: rows * cols,
            unit="addition",
            goals={"sum": (COALESCED, NO_CONFLICTS)},
        ),
        Task(
            name="transpose",
            words=("transpose",),
            formula="out[c][r] = x[r][c]; x (rows, cols), out (cols, rows)",
            inputs={"x": ("rows", "cols")},
            outputs={"out": ("cols", "rows")},
            sizes=("rows", "cols"),
            reference=lambda x: x.T,
            cases=((1, 1), (32, 32), (33, 17), (5, 100), (64, 64), (70, 129)),
            counted=(128, 128),
            grid="(ceil(cols / 32), ceil(rows / 32))",
            block="(32, 32)",
            goals={"transpose": (COALESCED, NO_CONFLICTS)},
        ),
        PRODUCT,
    )
}


def find_task(source: Source, kernel: str = "") -> tuple[Task, Entry]:
    """Return the task of a file, and the kernel (called ``kernel``, if that is not empty) that does it.

    Raises
    ------
    UserError
        If no kernel, or more than one, has a name of a task, or its parameters are others.
    """
    entries = [entry for entry in source.entries if entry.name == kernel or not kernel]
    if not entries:
        there = ", ".join(entry.name for entry in source.entries)
        raise UserError(f"{source.path} has no kernel {kernel}; it has {there}")
    found = [(task, e) for e in entries for task in TASKS.values() if any(word in e.name for word in task.words)]
    if not found:
        words = ", ".join(f"{task.words[0]!r} ({task.formula})" for task in TASKS.values())
        raise UserError(
            f"{source.path}: the lab knows a kernel's task by its name, and {entries[0].name} (line {entries[0].line}) "
            f"tells none; a name has one of these words: {words}"
        )
    if len(found) > 1:
        names = ", ".join(entry.name for _, entry in found)
        raise UserError(f"{source.path} has more than one kernel for the lab: {names}; say --kernel NAME")
    task, entry = found[0]
    kinds = {**dict.fromkeys(task.inputs, "const float*"), **dict.fromkeys(task.outputs, "float*")}
    kinds |= dict.fromkeys(task.sizes, "int")
    if [_plain(kind) for kind, _ in entry.parameters] != [_plain(kind) for kind in kinds.values()]:
        signature = ", ".join(f"{kind} {name}" for name, kind in kinds.items())
        raise UserError(f"{source.path}, line {entry.line}: {entry} must be {entry.name}({signature})")
    return task, entry


def goals_of(task: Task, entry: Entry) -> tuple[Goal, ...]:
    """Return the goals of the exercise whose kernel has this name; none for another kernel."""
    return next((goals for word, goals in task.goals.items() if word in entry.name), ())


def _plain(kind: str) -> str:
    """Return a type without what makes no difference for a launch."""
    return " ".join(kind.replace("const", "").split())
