"""The process in which a student's kernel runs: ``python -m mpitrain.kernels.lab.child FD`` reads a job and reports.

The job is a line of JSON on standard input (``run.py`` writes it), and each result is one on the file FD. A kernel that
crashes or does not end takes this process with it, and nothing else.
"""

import ctypes
import json
import mmap
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UserError
from ...json_text import to_json
from ...user_code import describe
from ..on_cpu import LaunchError, Library
from .records import Runtime
from .task import Task
from .tasks import named_task

GUARD = 16 << 20  # bytes around each array that nobody may touch, and which take no memory until somebody does
ALIGNMENT = 256  # bytes, as of cudaMalloc
NOTHING = 0x7FC0DEAD  # a NaN that stands where nobody has written; that of shared memory has other bits
TOLERANCE = 1e-5  # relative to the sum of absolute values
MOST_ROWS, MOST_COLUMNS = 32, 64  # of a picture of wrong elements


class Arena:
    """Global memory for some arrays, with guards around them."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]):
        counts = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        spans = {name: -(-4 * count // ALIGNMENT) * ALIGNMENT for name, count in counts.items()}
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        self._memory = mmap.mmap(-1, GUARD + sum(span + GUARD for span in spans.values()), flags=flags)
        whole = np.frombuffer(self._memory, np.uint8)
        self.begin, self.end = whole.ctypes.data, whole.ctypes.data + whole.size
        self.arrays, at = {}, GUARD
        for name, shape in shapes.items():
            array = whole[at : at + 4 * counts[name]].view(np.float32).reshape(shape)
            array.view(np.uint32)[...] = NOTHING
            self.arrays[name] = array
            at += spans[name] + GUARD


def main() -> None:
    """Run the job and report each run."""
    results = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    job = json.loads(sys.stdin.readline())
    library = ctypes.CDLL(job["library"])
    runtime = Runtime(library, job["kernel"])
    runtime.watch(results.fileno(), job["seconds"])
    try:
        task = named_task(job["task"])
        for number, run in enumerate(job["runs"]):
            arena = Arena({name: task.shape(name, run["sizes"]) for name in task.arrays})
            where = {name: (array.ctypes.data, array.nbytes) for name, array in arena.arrays.items()}
            print(to_json({"begin": number, "arrays": where}), file=results)
            found = run_once(job, task, run, runtime, arena)
            print(to_json({"run": number} | found, words=True), file=results)
    except UserError as error:
        print(to_json({"refused": str(error)}), file=results)
    else:
        print(to_json({"end": True}), file=results)


def run_once(
    job: Mapping[str, Any], task: Task, run: Mapping[str, Any], runtime: Runtime, arena: Arena
) -> dict[str, Any]:
    """Launch the kernel once, and return what was found."""
    rng = np.random.default_rng(run["seed"])
    for name in task.inputs:
        arena.arrays[name][...] = rng.standard_normal(arena.arrays[name].shape)
    before = {name: arena.arrays[name].copy() for name in task.inputs}
    base = runtime.begin(run["counting"])
    runtime.add_region(arena.begin, arena.end)
    for name, array in arena.arrays.items():
        runtime.add_array(array.ctypes.data, array.nbytes, shared=False, undefined=name in task.outputs)
    runtime.add_region(base + job["shared_bounds"][0], base + job["shared_bounds"][1])
    for address, num_bytes in job["shared"]:
        runtime.add_array(base + address, num_bytes, shared=True, undefined=True)
    runtime.start()
    sizes = [np.array(run["sizes"][name], np.int32) for name in task.sizes]
    plan = {name: run[name] for name in ("grid", "block", "shared_bytes", "seed")}
    error = ""
    try:
        Library(job["library"]).launch(job["kernel"], arguments=[*arena.arrays.values(), *sizes], **plan)
    except LaunchError as found:
        error = str(found)
    runtime.end()
    changed = [name for name in task.inputs if not np.array_equal(before[name], arena.arrays[name])]
    result: dict[str, Any] = {"error": error, "faults": runtime.faults(), "changed": changed, "wrong": None}
    if not error:
        result["wrong"] = compare(task, before, arena.arrays)
    if run["counting"]:
        result |= {"lines": runtime.lines(), "barriers": runtime.barriers()}
    return result


def compare(task: Task, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """Return what is wrong with the results; None if nothing is.

    Raises
    ------
    UserError
        If the task's reference fails, or returns another shape: it may be a teacher's own.
    """
    (name,) = task.outputs
    out, exact = outputs[name], [np.float64(value) for value in inputs.values()]
    try:
        wanted, scale = (np.asarray(task.reference(*values)) for values in (exact, [np.abs(value) for value in exact]))
    except Exception as error:
        raise UserError(f"the reference of task {task.name} fails: {describe(error)}") from error
    if wanted.shape != out.shape:
        raise UserError(f"the reference of task {task.name} returns {wanted.shape}, but {name} is {out.shape}")
    with np.errstate(invalid="ignore"):
        right = np.abs(out - wanted) <= TOLERANCE * scale
    if right.all():
        return None
    unwritten = out.view(np.uint32) == NOTHING
    first = tuple(int(i) for i in np.argwhere(~right)[0])
    return {
        "array": name,
        "first": first,
        "found": repr(float(out[first])),
        "wanted": float(wanted[first]),
        "count": int((~right).sum()),
        "of": int(right.size),
        "unwritten": int(unwritten.sum()),
        "picture": picture(right, unwritten),
    }


def picture(right: np.ndarray, unwritten: np.ndarray) -> list[str]:
    """Return rows of characters: "." where all elements are right, "x" where one is wrong, "o" where one is unwritten.

    A large array is shown by parts, a character for each.
    """
    shown = right if right.ndim == 2 else right[None]
    empty = unwritten.reshape(shown.shape)
    down, across = (-(-n // most) for n, most in zip(shown.shape, (MOST_ROWS, MOST_COLUMNS), strict=True))
    rows = []
    for r in range(0, shown.shape[0], down):
        parts = [(slice(r, r + down), slice(c, c + across)) for c in range(0, shown.shape[1], across)]
        rows.append("".join("o" if empty[p].any() else "." if shown[p].all() else "x" for p in parts))
    return rows


if __name__ == "__main__":
    main()
