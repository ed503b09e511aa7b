"""Kernels compiled for a GPU by nvcc or NVRTC, and what their machine code (SASS) does.

Built files are kept in build/kernels of the checkout, named by a hash of everything that they were made from.
"""

import fcntl
import functools
import hashlib
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mpitrain.errors import UserError
from mpitrain.kernels import nvrtc
from mpitrain.kernels.build import options
from mpitrain.kernels.kernel import kernel, path_of, text_with_headers
from tests.kernels import cpu, tools


class MachineCode:
    """The instructions of a cubin, as nvdisasm prints them: without addresses, and labels apart."""

    def __init__(self, text: str):
        self.instructions: list[str] = []
        labels = {}
        for line in text.splitlines():
            if label := re.match(r"(\.L\S*):$", line):
                labels[label[1]] = len(self.instructions)
            elif found := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(\S.*?)\s*;", line):
                self.instructions.append(found[1])
        self.opcodes = [re.sub(r"^@!?U?P\w+\s+", "", each).split()[0] for each in self.instructions]
        self.counts = Counter(self.opcodes)
        targets = [re.search(r"`\((\.L\S*)\)", each) for each in self.instructions]
        self._jumps = {i: labels[t[1]] for i, t in enumerate(targets) if t and t[1] in labels}

    def count(self, *prefixes: str) -> int:
        """Return the number of instructions of these kinds."""
        return sum(count for opcode, count in self.counts.items() if opcode.startswith(prefixes))

    def turn(self, core: str, wanted: str | tuple[str, ...], without: str = "none", around: int = 0) -> Counter:
        """Return what a thread executes in one turn of the smallest loop around ``core`` (a loop within it: once).

        Loops with instructions ``without`` are not meant. ``around`` 1: of the smallest loop around that loop.

        Of the ways through it, this is the shortest of those that meet ``wanted`` most often.
        """
        is_core = [opcode.startswith(core) for opcode in self.opcodes]
        is_other = [opcode.startswith(without) for opcode in self.opcodes]
        loops = [(first, last) for first, last in self._loops() if any(is_core[first:last])]
        loops = [(first, last) for first, last in loops if not any(is_other[first:last])]
        first, last = min(loops, key=lambda loop: loop[1] - loop[0])
        for _ in range(around):
            wider = [loop for loop in loops if loop[0] < first and loop[1] >= last]
            first, last = min(wider, key=lambda loop: loop[1] - loop[0])
        return self._way(first, last, wanted)

    def turns(self, **wanted: int | None) -> list[Counter]:
        """Return a turn of each loop that has so many instructions of these kinds: LDG=4, LDG_E_128=4; any of None.

        They are loops without loops in them, in the order of the code.
        """
        kinds = {name.replace("_", "."): count for name, count in wanted.items()}
        loops = self._loops()
        inner = [a for a in loops if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
        ways = [self._way(first, last, tuple(kinds)) for first, last in sorted(inner)]
        return [
            way for way in ways if way and all(count in (None, count_of(way, kind)) for kind, count in kinds.items())
        ]

    def turn_of_all(self, core: str, wanted: str | tuple[str, ...]) -> Counter:
        """Return the same of the smallest loop that has all instructions ``core``."""
        places = [i for i, opcode in enumerate(self.opcodes) if opcode.startswith(core)]
        loops = [loop for loop in self._loops() if loop[0] <= places[0] and places[-1] < loop[1]]
        return self._way(*min(loops, key=lambda loop: loop[1] - loop[0]), wanted)

    def _loops(self) -> list[tuple[int, int]]:
        return [(target, i) for i, target in self._jumps.items() if target < i]

    def _way(self, first: int, last: int, wanted: str | tuple[str, ...]) -> Counter:
        best: dict[int, tuple[int, int]] = {last: (0, 0)}
        ahead: dict[int, int] = {}
        for i in range(last - 1, first - 1, -1):
            reached = [j for j in self.successors(i) if i < j and j in best]
            if reached:
                ahead[i] = max(reached, key=best.__getitem__)
                most, length = best[ahead[i]]
                best[i] = most + self.opcodes[i].startswith(wanted), length - 1
        if first not in best:  # it never comes back
            return Counter()
        way = [first]
        while way[-1] != last:
            way.append(ahead[way[-1]])
        return Counter(self.opcodes[i] for i in way)

    def through(self, wanted: str | tuple[str, ...]) -> Counter:
        """Return what a thread executes from the beginning to the end, of the ways as in ``turn``; a loop: once."""
        ends = [i for i, opcode in enumerate(self.opcodes) if opcode == "EXIT"]
        return max((self._way(0, end, wanted) for end in ends), key=lambda way: (count_of(way, wanted), -way.total()))

    def successors(self, i: int) -> list[int]:
        """Return the instructions that may follow instruction i."""
        if self.opcodes[i].startswith("BRA.DIV"):  # taken where the threads of a warp are apart
            return [i + 1]
        jump = [self._jumps[i]] if i in self._jumps else []
        ends = self.opcodes[i].startswith(("BRA", "EXIT", "RET"))
        conditional = self.instructions[i].startswith("@") or re.match(r"BRA\S* !?U?P", self.instructions[i])
        return jump if ends and not conditional else [*jump, i + 1]


def check_registers_are_shared_out(code: MachineCode, left: int, most: int, consumers: int = 2) -> None:
    """See that consumers take no more registers than the producer gives away, and that it needs none of those."""
    kinds = ("USETMAXREG.DEALLOC", "USETMAXREG.TRY_ALLOC")
    given, taken = (next(i for i, opcode in enumerate(code.opcodes) if opcode.startswith(kind)) for kind in kinds)
    assert [int(re.search(r"(0x[0-9a-f]+)$", code.instructions[i])[1], 16) for i in (given, taken)] == [left, most]
    assert left + consumers * most <= 512, "64 K registers, in groups of 128 threads"
    assert max(_registers(code, given)) < left
    assert max(_registers(code, taken)) < most


def _registers(code: MachineCode, first: int) -> set[int]:
    """Return the numbers of the registers of all that can be reached from instruction ``first``."""
    reached, open_ends = set(), [first]
    while open_ends:
        i = open_ends.pop()
        if i not in reached and i < len(code.instructions):
            reached.add(i)
            open_ends += [] if code.instructions[i] == "EXIT" else code.successors(i)
    return {int(r) for i in reached for r in re.findall(r"\bR(\d+)\b", code.instructions[i])}


def count_of(way: Counter, kind: str | tuple[str, ...]) -> int:
    """Return how many instructions of a way are of this kind."""
    return sum(count for opcode, count in way.items() if opcode.startswith(kind))


def _write(path: Path, text: str) -> None:
    """Write a file that appears whole, since other processes test too."""
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(text)
    os.replace(fresh, path)


class Built:
    """A cubin, and what the compiler said of it: also the resources of each kernel (ptxas -v)."""

    def __init__(self, cubin: Path, said: str):
        self.cubin, self.said = cubin, said

    @functools.cached_property
    def _text(self) -> str:
        printed = self.cubin.with_suffix(".sass")
        if not printed.exists():
            if tools.NVDISASM is None:  # it comes with the test extra, on Linux
                pytest.skip("there is no nvdisasm here")
            done = subprocess.run([tools.NVDISASM, "-c", self.cubin], capture_output=True, text=True, check=True)
            _write(printed, done.stdout)
        return printed.read_text()

    @functools.cached_property
    def code(self) -> MachineCode:
        """All instructions."""
        return MachineCode(self._text)

    @functools.cached_property
    def kernels(self) -> dict[str, MachineCode]:
        """The instructions of each kernel, with the subroutines behind it."""
        parts = re.split(r"^\.text\.(\w+):$", self._text, flags=re.M)
        return {name: MachineCode(text) for name, text in zip(parts[1::2], parts[2::2], strict=True)}

    @property
    def registers(self) -> int:
        """Registers of a thread."""
        return max(map(int, re.findall(r"Used (\d+) registers", self.said)))


@functools.cache
def _version(compiler: str) -> str:
    if compiler == "nvcc":
        return subprocess.run([tools.NVCC, "--version"], capture_output=True, text=True, check=True).stdout
    try:
        return nvrtc.version()
    except UserError as error:  # it comes with the test extra, on some systems
        pytest.skip(str(error))


def build(
    file: str, arch: str, macros: Mapping[str, int], compiler: str = "nvcc", edit: Callable[[str], str] | None = None
) -> Built:
    """Compile kernels/file for ``arch`` (90a), changed by ``edit`` with its headers; skipped without that compiler."""
    path, texts = str(path_of(file)), text_with_headers(file)
    if edit is not None:
        whole = cpu.with_headers(texts[path])
        texts = {path: edit(whole)}
        assert texts[path] != whole, "the edit of the kernel changed nothing"
    return _build(path, arch, tuple(sorted(macros.items())), compiler, _version(compiler), tuple(texts.items()))


@functools.cache
def _build(
    file: str, arch: str, macros: tuple[tuple[str, int], ...], compiler: str, version: str, texts: tuple
) -> Built:
    digest = hashlib.sha256(repr((arch, macros, compiler, version, texts)).encode()).hexdigest()[:16]
    stem = cpu.BUILT / f"{Path(file).stem}-{arch}-{digest}"
    cubin, said = stem.with_suffix(".cubin"), stem.with_suffix(".txt")
    cpu.BUILT.mkdir(parents=True, exist_ok=True)
    with open(stem.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes that test in parallel share what they build
        if not cubin.exists():
            fresh = stem.with_suffix(f".{os.getpid()}")
            compile_text = _by_nvcc if compiler == "nvcc" else _by_nvrtc
            said.write_text(compile_text(file, dict(texts)[file], arch, dict(macros), fresh))
            os.replace(fresh, cubin)
    return Built(cubin, said.read_text())


def _by_nvcc(file: str, text: str, arch: str, macros: Mapping[str, int], cubin: Path) -> str:
    command = [tools.NVCC, "-std=c++17", f"-gencode=arch=compute_{arch},code=sm_{arch}", "-cubin", "-Xptxas", "-v"]
    command += [f"-I{cpu.KERNELS}", *(f"-D{name}={value}" for name, value in macros.items())]
    done = subprocess.run([*command, "-x", "cu", "-", "-o", cubin], input=text, capture_output=True, text=True)
    assert done.returncode == 0, f"{file}:\n{done.stderr}"
    return done.stderr


def _by_nvrtc(file: str, text: str, arch: str, macros: Mapping[str, int], cubin: Path) -> str:
    chosen = [*options(kernel(file, macros), f"sm_{arch}"), "--ptxas-options=-v"]
    built, log = nvrtc.compile_text(text, f"kernels/{file}", chosen)
    cubin.write_bytes(built)
    return log
