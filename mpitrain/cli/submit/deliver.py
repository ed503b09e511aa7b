"""Delivery of a job script: write it to a file, and submit it."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from ...errors import UserError
from ...plain_text import count
from .options import JobOptions

STANDARD_OUTPUT = "-"
PATIENCE = 120.0  # seconds that a queue may take to accept a job


class Delivery(NamedTuple):
    """A job script, and the command that submits it.

    Attributes
    ----------
    queue : str
        Name of the batch system, for messages.
    ending : str
        End of the name of the file.
    text : str
    submit : tuple of str
        The command; {file} stands for the file.
    reads_input : bool
        True if the command reads the script as its standard input.
    """

    queue: str
    ending: str
    text: str
    submit: tuple[str, ...]
    reads_input: bool = False


def deliver(options: JobOptions, made: Delivery) -> int:
    """Write the script, and submit it or print the command for that; return the exit code.

    Raises
    ------
    UserError
        If the file cannot be written, or the queue refuses the job (in its own words).
    """
    if options.script == STANDARD_OUTPUT:
        if options.now:
            raise UserError("--script - prints the script, and --now submits a file: leave one of them out")
        print(made.text, end="")
        return 0
    file = file_of(options, made.ending)
    _write(file, made.text, force=options.force)
    words = [word.replace("{file}", str(file)) for word in made.submit]
    line = f"{' '.join(words)}{f' < {file}' if made.reads_input else ''}"
    if options.now:
        print(_submit(words, file, made))
    else:
        print(f"{file}: {count(options.ranks, 'rank')} on {count(options.nodes, 'node')}; submit it by {line}")
    return 0


def file_of(options: JobOptions, ending: str) -> Path:
    """Return the file to write."""
    return Path(options.script or f"{options.name}.{ending}")


def _write(file: Path, text: str, *, force: bool) -> None:
    try:
        if not force and file.exists() and file.read_text(errors="replace") != text:
            raise UserError(f"{file} exists already: write over it with --force, or choose another --script")
        file.write_text(text)
        file.chmod(0o755)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}") from None


def _submit(words: list[str], file: Path, made: Delivery) -> str:
    """Return the answer of the queue."""
    program = words[0]
    try:
        with file.open() as script:
            done = subprocess.run(
                words,
                stdin=script if made.reads_input else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PATIENCE,
                check=False,
            )
    except FileNotFoundError:
        raise UserError(
            f"there is no {program} on the PATH: {file} was written, but can be submitted only where {made.queue} is"
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{program} has not answered for {PATIENCE:.0f} s: {file} may be submitted or not") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise UserError(f"{made.queue} refused {file}: {said}")
    sys.stderr.write(done.stderr)
    return done.stdout.strip()
