"""A student's file as a library in which every load and store calls the lab.

g++ -fsanitize=thread puts a call before each access to memory, and -fsanitize=bounds one before each index of an array
whose size it knows. They are linked with the functions of kernels/lab, not with the sanitizers' libraries.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from ...errors import UserError
from ..build import FOLDER_VARIABLE, folder
from ..kernel import SOURCES
from ..on_cpu import FLAGS, WARNINGS, Builder, BuildError
from .source import Entry, Source

LAB = SOURCES / "lab"
CHECKED = (
    "-O1",
    "-fno-tree-sra",
    "-g",
    "-gdwarf-4",  # of DWARF 5, addr2line 2.40 takes the name of the input for that of #line
    "-w",
    "-fno-toplevel-reorder",
    "-fno-delete-null-pointer-checks",
    "-fsanitize=thread,bounds",
)
PLAIN = ("-fmax-errors=3", "-fdiagnostics-color=never", "-fno-diagnostics-show-option")
MISSING = "the lab needs g++, GNU's compiler: sudo apt install g++ (or dnf install gcc-c++)"


def build(source: Source, entry: Entry, into: Path) -> Path:
    """Return the library, in the folder ``into``, of the kernel ``entry`` of a file.

    Raises
    ------
    UserError
        If there is no g++, or it does not compile the file: with the compiler's words.
    """
    if sys.platform != "linux":
        raise UserError("the lab runs on Linux only: it needs GNU's compiler and linker")
    compiler = shutil.which("g++")
    if compiler is None:
        raise UserError(MISSING)
    lab, shim = _runtime()
    shown = str(source.path).replace("\\", "\\\\").replace('"', '\\"')
    last = ["LAB_GUARD(lab_guard_after);", f"EXPORT_KERNEL({entry.name}, 1)", ""]
    unit = "\n".join([f'#line 1 "{shown}"', source.text_for_gxx, *last])
    include = [f"-I{path}" for path in (source.path.resolve().parent, SOURCES, LAB / "include")]
    made, library = into / "student.o", into / "student-kernel.so"
    compile_it = [compiler, *FLAGS, *CHECKED, *PLAIN, *include, "-include", str(LAB / "lab.h")]
    done = _run([*compile_it, "-c", "-x", "c++", "-", "-o", str(made)], unit)
    if done.returncode:
        raise UserError(f"{source.path} does not compile:\n{_readable(done.stderr)}")
    done = _run([compiler, "-shared", str(made), str(lab), str(shim), "-o", str(library)])
    if done.returncode:
        missing = ", ".join(dict.fromkeys(re.findall(r"undefined reference to `([^']+)'", done.stderr)))
        raise UserError(f"{source.path} needs what the lab lacks: {missing or done.stderr}")
    return library


def _runtime() -> tuple[Path, Path]:
    """Return the libraries of the lab and of the shim, which are built once."""
    builder, sources = Builder(folder() / "lab"), sorted(LAB.glob("*.cpp"))
    options = ["-O2", *WARNINGS, "-shared", *map(str, sources)]
    try:
        shim = builder.shim
        return builder.compiled("lab.so", [*options, str(shim), "-ldl"], reads=[*LAB.glob("*.h"), *sources]), shim
    except BuildError as error:
        raise UserError(f"g++ does not compile the lab itself: {error}") from None
    except OSError as error:
        raise UserError(f"the lab cannot be kept in {folder()}: {error.strerror}; set {FOLDER_VARIABLE}") from None


def _run(command: list[str], unit: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=unit, capture_output=True, text=True, check=False)


def _readable(log: str) -> str:
    """Return what g++ says of the file itself, without the path through headers."""
    lines = [
        line for line in log.splitlines() if not re.match(r"In file included|\s+from |compilation terminated", line)
    ]
    return "\n".join(lines)
