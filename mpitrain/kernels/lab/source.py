"""A student's CUDA file: its kernels, its constants, its shared arrays and the launch that a comment of it gives."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...errors import UserError
from ..kernel import ENTRY
from ..plan import Launch, Three
from .arithmetic import Sizes

COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.S)
HIDDEN = re.compile(r"^[ \t]*#[ \t]*ifndef[ \t]+CUDA_ON_CPU\b.*?(?=^[ \t]*#[ \t]*(?:else|endif))", re.S | re.M)
CONSTANTS = (
    re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(\S[^\n]*?)[ \t]*$", re.M),
    re.compile(r"\bconst(?:expr)?\s+(?:static\s+)?(?:int|unsigned|size_t|long)\s+(\w+)\s*=\s*([^;,]+);"),
)
LAUNCH = re.compile(r"^\s*(?://|\*)?\s*launch:\s*grid\b(.*?)\bblock\b(.*?)(?:\bshared\b(.*?)(?:bytes)?)?$", re.I | re.M)
SHARED = re.compile(r"(?<!extern )__shared__\s+(?:__align__\s*\(\d+\)\s*)?((?:unsigned\s+)?\w+)\s+([^;]+);")
DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\s*\(\d+\)\s*)?((?:unsigned\s+)?\w+)\s+(\w+)\s*\[\s*\]\s*;")
ELEMENT_BYTES = {"float": 4, "int": 4, "unsigned": 4, "unsigned int": 4, "double": 8, "char": 1, "unsigned char": 1}
ELEMENT_BYTES |= {"float2": 8, "float4": 16, "int2": 8, "int4": 16, "bool": 1, "short": 2, "uint": 4}
MOST_THREADS = 1024


@dataclass(frozen=True)
class Entry:
    """A kernel of the file: its name, and the types and names of its parameters."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    line: int

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{kind} {name}' for kind, name in self.parameters)})"


@dataclass(frozen=True)
class SharedArray:
    """The dimensions of a shared array, and the bytes of an element."""

    dims: tuple[int, ...]
    element: int


class Source:
    """A file of a student.

    Raises
    ------
    UserError
        If it cannot be read, has no kernel, or launches its kernels itself.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text in UTF-8"
            raise UserError(f"{path} cannot be read: {why}") from None
        self.lines = self.text.splitlines()
        self._code = HIDDEN.sub(_blank, COMMENT.sub(_blank, self.text))
        if "<<<" in self._code:
            line = self._line_at(self._code.index("<<<"))
            raise UserError(
                f"{path}, line {line} launches a kernel (<<<...>>>), which the lab does itself: leave main out, or put "
                "it between #ifndef CUDA_ON_CPU and #endif"
            )
        self.entries = [self._entry(match) for match in ENTRY.finditer(self._code)]
        if not self.entries:
            raise UserError(f"{path} has no kernel: a function __global__ void name(...) {{ ... }}")

    def line(self, number: int) -> str:
        """Return a line of the file without the blanks around it."""
        return self.lines[number - 1].strip() if 0 < number <= len(self.lines) else ""

    @cached_property
    def constants(self) -> dict[str, int]:
        """The constants that are whole numbers."""
        found: dict[str, int] = {}
        texts = sorted((m.start(), m[1], m[2]) for pattern in CONSTANTS for m in pattern.finditer(self._code))
        for _, name, text in texts:
            try:
                (found[name],) = Sizes(text, found, whole=True).all()
            except (UserError, ValueError):
                continue  # no number, or none that the lab needs
        return found

    @cached_property
    def shared(self) -> dict[str, SharedArray]:
        """The shared arrays whose dimensions are known."""
        found = {}
        for match in SHARED.finditer(self._code):
            for name, dims in re.findall(r"(\w+)((?:\s*\[[^\]]*\])+)", match[2]):
                try:
                    sizes = [
                        Sizes(dim, self.constants, whole=True).all()[0] for dim in re.findall(r"\[([^\]]*)\]", dims)
                    ]
                except UserError:
                    continue
                found[name] = SharedArray(tuple(sizes), ELEMENT_BYTES.get(match[1], 4))
        for match in DYNAMIC.finditer(self._code):
            found["dynamic"] = SharedArray((), ELEMENT_BYTES.get(match[1], 4))
        return found

    @property
    def dynamic_name(self) -> str:
        """The name of the dynamic shared array."""
        match = DYNAMIC.search(self._code)
        return match[2] if match else "dynamic shared memory"

    @property
    def text_for_gxx(self) -> str:
        """The text with dynamic shared arrays as pointers to it; the lines keep their numbers."""
        pointer = r"\1* \2 = reinterpret_cast<\1*>(on_cpu::block.cta().dynamic_shared);"
        return DYNAMIC.sub(pointer, self.text)

    @property
    def launch_text(self) -> str:
        """The launch as the file gives it; empty if it gives none."""
        match = LAUNCH.search(self.text)
        return " ".join(match[0].strip(" /*").split()) if match else ""

    def plan(self, sizes: Mapping[str, int], default: tuple[str, str], entry: Entry) -> Launch:
        """Return the launch for ``sizes``: that of the file's line "// Launch: grid ..., block ...", or the default.

        The line may name the sizes as the task or as the kernel does.

        Raises
        ------
        UserError
            If the line cannot be read, or a block is empty or has more than 1024 threads.
        """
        match = LAUNCH.search(self.text)
        grid, block, shared = (match[1], match[2], match[3] or "0") if match else (*default, "0")
        parameters = [name for _, name in entry.parameters[-len(sizes) :]]
        values = {**self.constants, **dict(zip(parameters, sizes.values(), strict=True)), **sizes}
        grids, blocks = self._three(grid, values), self._three(block, values)
        where = f"{self.path}: {self.launch_text or 'the launch'}"
        count = blocks[0] * blocks[1] * blocks[2]
        if min(blocks) < 1 or count > MOST_THREADS:
            raise UserError(f"{where}: a block has 1 to {MOST_THREADS} threads, not {count}")
        if min(grids) < 1:
            raise UserError(f"{where} is empty for {', '.join(f'{k} = {v}' for k, v in sizes.items())}")
        try:
            return Launch(grids, blocks, self._sizes(shared, values)[0])
        except ValueError as error:
            raise UserError(f"{where}, with {', '.join(f'{k} = {v}' for k, v in sizes.items())}: {error}") from None

    def _three(self, text: str, values: Mapping[str, int]) -> Three:
        found = [*self._sizes(text, values), 1, 1]
        return found[0], found[1], found[2]

    def _sizes(self, text: str, values: Mapping[str, int]) -> list[int]:
        text = text.strip(" ,")
        if text.startswith("(") and text.endswith(")"):
            text = text[1:-1]
        try:
            return Sizes(text, values).all()
        except UserError as error:
            raise UserError(f"{self.path}: {error}; a launch is written // Launch: grid (X, Y), block (X, Y)") from None

    def _entry(self, match: re.Match[str]) -> Entry:
        parameters = []
        for part in match["parameters"].split(","):
            text = " ".join(re.sub(r"\b__restrict(__)?\b", " ", part).replace("*", " * ").split())
            kind, _, name = text.rpartition(" ")
            parameters.append((kind.replace(" *", "*"), name))
        line = self._line_at(match.start("name"))
        if match["template"]:
            raise UserError(
                f"{self.path}, line {line}: {match['name']} is a template; the lab runs kernels that are none"
            )
        return Entry(match["name"], tuple(parameters), line)

    def _line_at(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1


def _blank(match: re.Match[str]) -> str:
    """Return as many lines, empty."""
    return re.sub(r"[^\n]", " ", match[0])
