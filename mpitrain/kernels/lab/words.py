"""Faults in words: who touches what, in which lines of the file, and how it is mended."""

import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .records import KINDS, WAYS
from .source import Entry, Source
from .symbols import Symbol
from .task import Task

MOST_THREADS = 1 << 22  # of a launch, beyond which the time limit is reached without a loop that does not end


@dataclass(frozen=True)
class Names:
    """Names of arrays, elements, threads and lines in one run."""

    source: Source
    task: Task
    entry: Entry
    shared: Sequence[Symbol]
    run: Mapping[str, Any]
    lines: Mapping[int, int]

    def array(self, number: int) -> str:
        """Return the name of an array in the file."""
        arrays = list(self.task.arrays)
        if number < len(arrays):
            return self.entry.parameters[number][1]
        number -= len(arrays)
        return self.shared[number].name if number < len(self.shared) else self.source.dynamic_name

    def is_shared(self, number: int) -> bool:
        """Return whether an array is shared memory."""
        return number >= len(self.task.arrays)

    def shape(self, number: int) -> tuple[tuple[int, ...], int]:
        """Return the dimensions of an array, and the bytes of an element."""
        arrays = list(self.task.arrays)
        if number < len(arrays):
            return self.task.shape(arrays[number], self.run["sizes"]), 4
        number -= len(arrays)
        if number < len(self.shared):
            symbol = self.shared[number]
            known = self.source.shared.get(symbol.name)
            if known and int(np.prod(known.dims)) * known.element == symbol.bytes:
                return known.dims, known.element
            return (symbol.bytes // 4,), 4
        element = self.source.shared["dynamic"].element if "dynamic" in self.source.shared else 4
        return (self.run["shared_bytes"] // element,), element

    def element(self, number: int, offset: int) -> str:
        """Return an element as the file would write it: tile[3][5], or x[40] (row 1, column 7)."""
        dims, size = self.shape(number)
        index, count = offset // size, int(np.prod(dims))
        name = self.array(number)
        if len(dims) < 2 or not 0 <= index < count:
            return f"{name}[{index}]"
        place = np.unravel_index(index, dims)
        if self.is_shared(number):
            return name + "".join(f"[{i}]" for i in place)
        return f"{name}[{index}] (row {place[0]}, column {place[1]})"

    def distance(self, number: int, offset: int) -> str:
        """Return in words how far beyond an array an element lies."""
        dims, size = self.shape(number)
        index, count = offset // size, int(np.prod(dims))
        if index < 0:
            return f"{plural(-index, 'element')} before the first"
        return f"{self.array(number)} has {plural(count, 'element')}, and this is {index - count + 1:,} past the last"

    def thread(self, access: Mapping[str, Any], with_block: bool = True) -> str:
        """Return a thread by its indices, as many as the launch has dimensions."""
        text = f"thread {place(access['thread'], self.run['block'])}"
        return f"{text} of block {place(access['block'], self.run['grid'])}" if with_block else text

    def at(self, access: Mapping[str, Any]) -> tuple[int, str]:
        """Return the number of an access's line, and the line; 0 for one that is not the student's."""
        number = self.lines.get(access["instruction"], 0)
        number = number if number <= len(self.source.lines) else 0
        return number, self.source.line(number)


def place(index: Sequence[int], size: Sequence[int]) -> str:
    """Return an index without the dimensions that are 1 at the end."""
    used = max([1, *(axis + 1 for axis in range(3) if size[axis] > 1)])
    return str(index[0]) if used == 1 else f"({', '.join(map(str, index[:used]))})"


def plural(count: int, noun: str) -> str:
    """Return "1 element", "2 elements"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def describe(record: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return kind, title, accesses, advice and details of a fault's record."""
    kind = KINDS[record["kind"]]
    first, number, offset = record["first"], record["array"], record["offset"]
    details: dict[str, Any] = {"array": None if number < 0 else names.array(number), "times": record["count"]}
    line = record["line"] or names.at(first)[0]
    element = "" if number < 0 else names.element(number, offset)
    does = f"{names.thread(first)} {WAYS[first['way']]}"
    accesses = [(f"{does} {element or 'it'}", line, names.source.line(line))]
    details |= {"element": element, "block": first["block"], "thread": first["thread"], "line": line}
    if number >= 0:
        dims, size = names.shape(number)
        details |= {"index": offset // size, "count": int(np.prod(dims))}
    if kind == "race":
        return _race(record, names, details)
    if kind == "outside":
        title = f"out of bounds: {element}; {names.distance(number, offset)}"
        advice = "Guard the access: if (index < size). The last block has threads that have nothing to do."
        if offset < 0:
            advice = "Guard the access: if (index >= 0)."
        elif names.is_shared(number):
            advice = "Compare the index with the size of the shared array."
    elif kind == "undefined":
        where = "shared memory" if names.is_shared(number) else "memory from cudaMalloc"
        title = f"{element} is read before anything was written there; {where} begins with any bits"
        advice = "Give every element that is read a value first, at the edges too."
    elif kind == "misaligned":
        size = first["bytes"]
        title = f"a misaligned access: {size} bytes at once need an address that is a multiple of {size}"
        advice = "Load single elements where the index, or the length of a row, is no multiple."
    elif kind == "ended":
        threads = int(np.prod(names.run["block"]))
        title = (
            f"__syncthreads() in line {line} is not reached by {record['number']} of the {threads} threads of block "
            f"{place(first['block'], names.run['grid'])}: they have returned, or the barrier is in a branch"
        )
        advice = "All threads of a block must reach it: let idle threads skip the work, not the barrier."
        accesses = [("the barrier", line, names.source.line(line))]
    else:
        dimension = record["type"].strip("'")
        title = f"index {record['number']} is beyond its array, a {dimension}"
        advice = "An index runs from 0 to the size less 1."
        accesses = [(names.thread(first), line, names.source.line(line))]
    return {"kind": kind, "title": title, "accesses": accesses, "advice": advice, "details": details}


def _race(record: Mapping[str, Any], names: Names, details: dict[str, Any]) -> dict[str, Any]:
    element = names.element(record["array"], record["offset"])
    pair = sorted((record["first"], record["second"]), key=lambda access: names.at(access)[0])
    same_block = pair[0]["block"] == pair[1]["block"]
    accesses = [(f"{names.thread(a, not same_block)} {WAYS[a['way']]} it", *names.at(a)) for a in pair]
    where = f"block {place(pair[0]['block'], names.run['grid'])}" if same_block else "two blocks"
    space = "shared" if names.is_shared(record["array"]) else "global"
    title = f"a race for {element} in {space} memory: two threads of {where} touch it, and nothing orders them"
    if not same_block:
        advice = "No barrier orders blocks: let one thread own each element, or use atomicAdd."
    elif pair[0]["instruction"] == pair[1]["instruction"]:
        advice = "Let one thread own each element, or separate the turns of the loop by __syncthreads()."
    else:
        advice = (
            "Put __syncthreads() between the two accesses, where all threads of the block reach it; in a loop, between "
            "the second and the next turn's first, too."
        )
    details |= {"second_block": record["second"]["block"], "second_thread": record["second"]["thread"]}
    return {"kind": "race", "title": title, "accesses": accesses, "advice": advice, "details": details}


def stop_words(stopped: Mapping[str, Any], names: Names, arrays: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Return the fault of a kernel that was stopped: by the time limit, or by a signal of the machine."""
    line, text = names.at(stopped)
    number, accesses = stopped["stopped"], [(f"{names.thread(stopped)} is", line, text)] if line else []
    if number in (signal.SIGALRM, signal.SIGPROF):
        title, advice = "the kernel does not end: its time is over", "Does the loop there end, for every thread?"
        threads = math.prod(names.run["grid"]) * math.prod(names.run["block"])
        if threads > MOST_THREADS:
            advice = f"The launch has {threads:,} threads, which run one after another here: take a smaller grid."
    elif number == signal.SIGFPE:
        title, advice = "a division by zero ends the kernel", "Look at what the divisor is for these sizes."
    elif number == signal.SIGABRT:
        title, advice = "an assertion ends the kernel", "Its message is above."
    elif stopped["stack_is_full"]:
        title = "the local arrays of a thread are too large: they take more than 128 KiB"
        advice = "Registers of a GPU hold 255 numbers of a thread."
    else:
        title, advice = _far(stopped["address"], arrays), "Print, or think through, the index in that line."
    return {"kind": "stopped", "title": title, "accesses": accesses, "advice": advice, "details": {"line": line}}


def _far(address: int, arrays: Mapping[str, tuple[int, int]]) -> str:
    """Return a sentence on an address that is far from any array."""
    title = "the kernel touches memory that is far outside of its arrays"
    if address < 1 << 16:
        return f"{title}: it follows a null pointer"
    begin, end = min(at for at, _ in arrays.values()), max(at + size for at, size in arrays.values())
    return (
        f"{title}: {begin - address:,} bytes before them"
        if address < begin
        else f"{title}: {address - end:,} bytes past them"
    )
