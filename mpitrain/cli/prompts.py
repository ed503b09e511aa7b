"""Prompts of ``mpitrain generate``: texts from the command line, a file or the standard input, and their tokens."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from ..data.tokenizer import Tokenizer
    from ..generation.writer import Prompt


def read_prompts(texts: tuple[str, ...], file: Path | None, tokenizer: "Tokenizer") -> "list[Prompt]":
    """Return the prompts ``texts``, or those in the lines of ``file``, or else of the standard input.

    Raises
    ------
    UserError
        If there are none, or one is empty, is not UTF-8, or has text that the tokenizer does not know.
    """
    from ..generation.writer import make_prompt

    if texts:
        return [make_prompt(text, tokenizer) for text in texts]
    content, name = _read(file), "the standard input" if file is None else str(file)
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name} is not UTF-8 in line {line}") from None
    lines = [line.removesuffix("\r") for line in lines]
    if lines and not lines[-1]:  # after the last line
        lines.pop()
    if not lines:
        raise UserError(f"there is no prompt in {name}, expected one a line (or name it: --prompt TEXT)")
    return [make_prompt(line, tokenizer, f" in line {number} of {name}") for number, line in enumerate(lines, 1)]


def _read(file: Path | None) -> bytes:
    from ..data.files import reading

    if file is None:
        return sys.stdin.buffer.read() if sys.stdin is not None else b""
    with reading(file.expanduser(), "prompts, one a line"):
        return file.expanduser().read_bytes()
