"""All runs of a student's kernel, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...json_text import to_json
from .build import build
from .source import Entry, Source
from .symbols import Symbol, lines_of, shared_arrays
from .task import Task

GRACE = 20  # seconds for the process to start, and to end after its time
MOST_STATIC_BYTES = 48 * 1024
ROOT = Path(__file__).parents[3]


@dataclass
class Found:
    """Results of all runs.

    Attributes
    ----------
    runs : list of dict
        The launches: sizes, seed, grid, block, shared_bytes.
    results : list of dict
        Their results, as ``child.run_once`` returns them; fewer, where one has stopped the process.
    stopped : dict or None
        The place where the process was stopped: by a crash, or since its time was over.
    arrays : dict of str to tuple of int
        Addresses and bytes of the global arrays of the last run.
    shared : list of Symbol
        The static shared arrays.
    lines : dict of int to int
        The line of the file of each instruction.
    """

    runs: list[dict[str, Any]]
    shared: list[Symbol]
    results: list[dict[str, Any]] = field(default_factory=list)
    stopped: dict[str, Any] | None = None
    arrays: dict[str, tuple[int, int]] = field(default_factory=dict)
    lines: dict[int, int] = field(default_factory=dict)


def runs_of(source: Source, task: Task, entry: Entry, seeds: int) -> list[dict[str, Any]]:
    """Return the launches: each case with each seed, then the one that is counted."""
    wanted = [(case, seed, False) for case in task.cases for seed in range(seeds)] + [(task.counted, 0, True)]
    runs = []
    for case, seed, counting in wanted:
        sizes = dict(zip(task.sizes, case, strict=True))
        plan = source.plan(sizes, (task.grid, task.block), entry)
        launch = {"grid": plan.grid, "block": plan.block, "shared_bytes": plan.shared_bytes}
        runs.append({"sizes": sizes, "seed": seed, "counting": counting, **launch})
    return runs


def run_all(source: Source, task: Task, entry: Entry, *, seeds: int, seconds: int) -> Found:
    """Build the file, run its kernel, and return what was found.

    Raises
    ------
    UserError
        If the file does not compile, or its launch cannot be read.
    """
    runs = runs_of(source, task, entry, seeds)
    with tempfile.TemporaryDirectory(prefix="mpitrain-lab-") as folder:
        library = build(source, entry, Path(folder))
        shared, bounds = shared_arrays(library)
        total = sum(array.bytes for array in shared)
        if total > MOST_STATIC_BYTES:
            names = ", ".join(array.name for array in shared)
            raise UserError(
                f"{source.path}: its shared arrays ({names}) have {total:,} bytes; a block has {MOST_STATIC_BYTES:,} "
                "for arrays whose size is in the file"
            )
        job = {
            "library": str(library),
            "kernel": entry.name,
            "task": task.file or task.name,
            "runs": runs,
            "seconds": seconds,
        }
        job |= {"shared": [(s.address, s.bytes) for s in shared], "shared_bounds": bounds}
        found = Found(runs, shared)
        for line in _lines_of_child(job, seconds):
            _take(found, json.loads(line))
        found.lines = lines_of(library, _instructions(found), source.path)
    return found


def _take(found: Found, line: Mapping[str, Any]) -> None:
    if "arrays" in line:
        found.arrays = line["arrays"]
    elif "run" in line:
        found.results.append(dict(line))
    elif "refused" in line:
        raise UserError(line["refused"])
    elif "stopped" in line:
        found.stopped = dict(line)


def _lines_of_child(job: Mapping[str, Any], seconds: int) -> Iterator[str]:
    """Yield the lines that the child writes."""
    ours, theirs = os.pipe()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "mpitrain.kernels.lab.child", str(theirs)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=2, pass_fds=[theirs], text=True, env=os.environ | {"PYTHONPATH": path}
    )
    os.close(theirs)
    lines = []
    try:
        assert child.stdin is not None
        with os.fdopen(ours) as results:
            child.stdin.write(to_json(job) + "\n")
            child.stdin.close()
            lines = results.readlines()
        code = child.wait(seconds + GRACE)
    finally:
        child.kill()
        child.wait()
    yield from lines
    if not any(f'"{word}"' in line for word in ("end", "stopped", "refused") for line in lines[-1:]):
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise UserError(f"the process that ran the kernel ended with {name}")


def _instructions(found: Found) -> Iterator[int]:
    for result in found.results:
        for fault in result["faults"]:
            yield from (fault["first"]["instruction"], fault["second"]["instruction"])
        yield from (line["instruction"] for line in result.get("lines", ()))
    if found.stopped:
        yield found.stopped["instruction"]
