"""Tasks: the arrays and sizes of a kernel, sizes to try, the result in float64, and goals of exercises."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    words : tuple of str
        A kernel whose name has one of these words is for this task.
    goals : dict of str to tuple of Goal
        Goals of kernels whose names have the key in them.
    file : str
        FILE.py:NAME for a task that is not the lab's own.
    """

    name: str
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
    words: tuple[str, ...] = ()
    goals: Mapping[str, tuple[Goal, ...]] = field(default_factory=dict)
    file: str = ""

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
