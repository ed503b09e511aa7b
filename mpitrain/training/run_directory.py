"""The directory of a run: its name, its files, and who writes them (rank 0)."""

import json
import re
from pathlib import Path
from typing import Any

from ..config import Config
from ..config_file import write_config
from ..errors import UserError
from .weights import write_atomically

CONFIG, METRICS, REPORT, CURVES = "config.toml", "metrics.jsonl", "report.json", "curves.png"
LAST, BEST = "model.safetensors", "best.safetensors"


def choose_directory(config: Config) -> Path:
    """Return the directory for a new run: --out, or the first free runs/DATA-MODEL-N."""
    if config.run.out:
        return Path(config.run.out)
    source = re.split(r"[:,]", config.data.source)[0]
    stem = f"{source}-{config.model.name}"
    numbers = [
        int(p.name.rpartition("-")[2]) for p in Path("runs").glob(f"{stem}-*") if p.name[len(stem) + 1 :].isdigit()
    ]
    return Path("runs") / f"{stem}-{max(numbers, default=0) + 1}"


class RunDirectory:
    """Files of one run, open for writing on rank 0.

    Raises
    ------
    UserError
        If the directory cannot be made or holds an earlier run.
    """

    def __init__(self, path: Path, config: Config):
        self.path = path
        if (path / METRICS).exists():
            raise UserError(f"{path} holds an earlier run: choose another --out or remove it")
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._metrics = open(path / METRICS, "w", encoding="utf-8")  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise UserError(f"cannot write into the run directory {path}: {error.strerror}") from None
        write_atomically(path / CONFIG, write_config(config))

    def log(self, kind: str, **values: Any) -> None:
        """Append a line to metrics.jsonl; a line of kind epoch is on the disk when this returns."""
        try:
            self._metrics.write(json.dumps({"kind": kind, **values}) + "\n")
            if kind == "epoch":
                self._metrics.flush()
        except OSError as error:
            raise UserError(f"cannot write {self.path / METRICS}: {error.strerror}") from error

    def write_report(self, report: dict[str, Any]) -> None:
        """Write report.json."""
        write_atomically(self.path / REPORT, json.dumps(report, indent=2) + "\n")

    def close(self) -> None:
        """Close metrics.jsonl."""
        self._metrics.close()
