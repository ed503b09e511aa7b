"""Names in a student's library: the line of each instruction, and the shared arrays."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

GUARDS = ("lab_guard_before", "lab_guard_after")


@dataclass(frozen=True)
class Symbol:
    """A shared array: its name in the file, and its address in the library."""

    name: str
    address: int
    bytes: int


def lines_of(library: Path, instructions: Iterable[int], file: Path) -> dict[int, int]:
    """Return the line of ``file`` of each instruction; of a function that was inlined, the line of its call in it.

    An instruction of which nothing is known has line 0.
    """
    wanted = sorted(set(instructions))
    if not wanted or not shutil.which("addr2line"):
        return dict.fromkeys(wanted, 0)
    command = ["addr2line", "-a", "-i", "-e", str(library)]
    done = subprocess.run(command, input="\n".join(map(hex, wanted)), capture_output=True, text=True, check=False)
    found: dict[int, int] = {}
    at = 0
    for line in done.stdout.splitlines():
        if re.fullmatch(r"0x[0-9a-f]+", line):
            at = int(line, 16)
            found[at] = 0
            continue
        match = re.match(r"(.*):(\d+)", line)
        if match and not found[at] and Path(match[1]).name == file.name:
            found[at] = int(match[2])
    return {instruction: found.get(instruction, 0) for instruction in wanted}


def shared_arrays(library: Path) -> tuple[list[Symbol], tuple[int, int]]:
    """Return the static shared arrays, and the addresses between which they lie, with the guards around them."""
    done = subprocess.run(["nm", "-S", "-C", str(library)], capture_output=True, text=True, check=True)
    symbols, bounds = [], {}
    for line in done.stdout.splitlines():
        match = re.match(r"([0-9a-f]+) ([0-9a-f]+ )?(\w) (.*)", line)
        if match is None:
            continue
        address, size, name = int(match[1], 16), int(match[2] or "0", 16), match[4].rpartition("::")[2]
        if name in ("__start_shared_memory", "__stop_shared_memory"):
            bounds[name] = address
        elif size:
            symbols.append(Symbol(name, address, size))
    begin, end = bounds["__start_shared_memory"], bounds["__stop_shared_memory"]
    inside = [s for s in symbols if begin <= s.address < end and s.name not in GUARDS]
    return sorted(inside, key=lambda s: s.address), (begin, end)
