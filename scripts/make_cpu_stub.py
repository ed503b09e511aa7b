"""Write mpitrain/_cpu_kernels.pyi, the types of the kernels in C, from their table in kernels/cpu/kernels.h.

python scripts/make_cpu_stub.py
"""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE, STUB = ROOT / "kernels/cpu/kernels.h", ROOT / "mpitrain/_cpu_kernels.pyi"
KINDS = {**dict.fromkeys("fdlbs", "Array"), **dict.fromkeys("opm", "Array | None"), "i": "int", "x": "float"}
HEAD = """\
# Written by scripts/make_cpu_stub.py from the table in kernels/cpu/kernels.h: change that and run it again.
# A kernel takes positional arguments; it returns True, or False where it does not cover them.
from numpy import ndarray as Array

BUILD: int

def use_level(name: str, /) -> bool: ...
def level() -> str: ...
def levels() -> list[str]: ...
def use_threads(count: int, /) -> None: ...
def threads() -> int: ...
"""


def stub() -> str:
    """Return the text of the stub."""
    rows = re.findall(r'\bK\((\w+),\s*"(\w+)",\s*(?:\\\s*)?"([^"]+)"\)', TABLE.read_text())
    return HEAD + "".join(function(name, kinds, arguments.split(", ")) for name, kinds, arguments in rows)


def function(name: str, kinds: str, arguments: list[str]) -> str:
    """Return the signature of a kernel, as ruff formats it."""
    pairs = zip(arguments, kinds, strict=True)
    parameters = [*(f"{argument}: {KINDS[kind.lower()]}" for argument, kind in pairs), "/"]
    line = f"def {name}({', '.join(parameters)}) -> bool: ...\n"
    if len(line) <= 121:
        return line
    inner = f"    {', '.join(parameters)}\n"
    if len(inner) > 121:
        inner = "".join(f"    {parameter},\n" for parameter in parameters)
    return f"def {name}(\n{inner}) -> bool: ...\n"


if __name__ == "__main__":
    STUB.write_text(stub())
