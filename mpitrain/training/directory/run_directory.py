"""Directory of a run: its name, and its files, written by rank 0."""

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from ...config import Config
from ...config_file import write_config
from ...data.files import write_atomically
from ...errors import UserError
from ...json_text import to_json
from .ownership import Ownership

CONFIG, METRICS, REPORT, CURVES, CHECKPOINTS = (
    "config.toml",
    "metrics.jsonl",
    "report.json",
    "curves.svg",
    "checkpoints",
)
EVENTS = "events.jsonl"
EXAMPLES = "examples.json"
TRACE = "trace.json"
TASKS = "pipeline.jsonl"
TOKENIZER = "tokenizer.json"
BUFFER, DELAY = 65536, 5.0  # bytes and seconds for which lines of metrics.jsonl may wait
AUTO = "auto"  # in place of a run to resume: the newest checkpoint, or a new run where there is none
LAST, BEST = "model.safetensors", "best.safetensors"


def new_directory(config: Config) -> Path:
    """Return the directory for a new run: --out, or the first free runs/DATA-MODEL-N, which is made.

    Raises
    ------
    UserError
        If it cannot be made.
    """
    if config.run.out:
        return Path(config.run.out)
    while True:
        stem, number = _last(config)
        path = Path("runs") / f"{stem}-{number + 1}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # another run has chosen it at the same moment
            continue
        except OSError as error:
            raise UserError(f"cannot make the run directory {path}: {error.strerror}") from None
        return path


def last_directory(config: Config) -> Path | None:
    """Return the last existing runs/DATA-MODEL-N."""
    stem, number = _last(config)
    return Path("runs") / f"{stem}-{number}" if number else None


def _last(config: Config) -> tuple[str, int]:
    source = re.split(r"[:,]", config.data.source)[0]
    stem = f"{source}-{config.model.name}"
    numbers = [
        int(p.name.rpartition("-")[2]) for p in Path("runs").glob(f"{stem}-*") if p.name[len(stem) + 1 :].isdigit()
    ]
    return stem, max(numbers, default=0)


class RunDirectory:
    """Files of one run, open for writing on rank 0.

    Parameters
    ----------
    path : Path
    config : Config
    resumed : (int, int), optional
        Where the run in ``path`` continues: after this step, with the evaluations up to that one. What it had logged
        later is dropped, since it comes again.
    owner : Ownership, optional
        Ownership of the directory; nothing is written once another run has taken it over.

    Raises
    ------
    UserError
        If the directory cannot be made, or holds an earlier run that is not to be resumed.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        resumed: tuple[int, int] | None = None,
        owner: Ownership | None = None,
    ):
        self.path, self._owner = path, owner
        if resumed is None and (path / METRICS).exists():
            raise UserError(
                f"{path} holds an earlier run: resume it with --resume {path}, choose another --out or remove it"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path)
            if resumed is not None and (path / METRICS).exists():
                write_atomically(path / METRICS, _lines_up_to(path / METRICS, *resumed))
            self._metrics = os.open(path / METRICS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"cannot write into the run directory {path}: {error.strerror}") from None
        self._unwritten, self._flushed = bytearray(), time.monotonic()
        write_atomically(path / CONFIG, write_config(config))

    def log(self, kind: str, **values: Any) -> None:
        """Append a line to metrics.jsonl; one of kind epoch is written, with all before it, when this returns.

        Others are written together with those that follow within some seconds.

        Raises
        ------
        UserError
            If it cannot be written. It is kept, and written with the next.
        """
        self._unwritten += (to_json({"kind": kind, **values}) + "\n").encode()
        due = time.monotonic() - self._flushed > DELAY  # an epoch of a language model may take hours
        if kind == "epoch" or due or len(self._unwritten) > BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write the pending lines of metrics.jsonl; raise UserError on failure."""
        self._flushed = time.monotonic()
        self._check_owner()
        try:
            while self._unwritten:
                del self._unwritten[: os.write(self._metrics, self._unwritten)]
        except OSError as error:
            raise UserError(f"cannot write {self.path / METRICS}: {error.strerror}") from error

    def record(self, kind: str, **values: Any) -> None:
        """Append a line with the present time to events.jsonl: a start, a note or an end. Nothing depends on it.

        Lines of earlier parts of the run stay, also of steps that are done again.
        """
        line = to_json({"kind": kind, "time": round(time.time(), 3), **values}) + "\n"
        with contextlib.suppress(OSError, UserError):
            self._check_owner()
            with open(self.path / EVENTS, "ab", buffering=0) as file:
                file.write(line.encode("utf-8", "surrogatepass"))

    def write_report(self, report: dict[str, Any]) -> None:
        """Write report.json."""
        self._check_owner()
        write_atomically(self.path / REPORT, to_json(report, indent=2) + "\n")

    def write_examples(self, examples: dict[str, Any]) -> None:
        """Write examples.json."""
        self._check_owner()
        write_atomically(self.path / EXAMPLES, to_json(examples) + "\n")

    def _check_owner(self) -> None:
        if self._owner is not None:
            self._owner.check()

    def close(self) -> None:
        """Close metrics.jsonl, complete or not."""
        with contextlib.suppress(UserError):
            self.flush()
        if self._metrics >= 0:  # once: its number may be that of another file by now
            os.close(self._metrics)
            self._metrics = -1


def _remove_leftovers(path: Path) -> None:
    """Remove partial files of a killed run."""
    for name in (CONFIG, METRICS, REPORT, EXAMPLES, CURVES, LAST, BEST):
        for leftover in path.glob(f".{name}.*"):
            if leftover.suffix[1:].isdecimal():
                leftover.unlink(missing_ok=True)


def _lines_up_to(path: Path, step: int, evaluated: int) -> str:
    """Return the whole lines of metrics.jsonl of the steps, and of the evaluations after a step, up to these."""
    kept = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            entry = json.loads(line)
            if entry.get("step") <= (evaluated if entry.get("kind") == "epoch" else step):
                kept.append(line + "\n")
    return "".join(kept)
