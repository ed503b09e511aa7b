"""A run as its directory shows it, while it trains or later."""

import json
import math
import time
import tomllib
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from ..plain_text import visible
from ..training.directory.run_directory import CHECKPOINTS, CONFIG, EVENTS, EXAMPLES, METRICS, REPORT
from .facts import number, scores, whole
from .growing_lines import GrowingLines
from .state import State, find_state

SPLITS = ("train", "validation", "test")
SPEED_SECONDS = 60.0  # over which the present speed is measured


@dataclass
class Steps:
    """Figures of each step, in arrays that grow."""

    steps: "array[int]" = field(default_factory=lambda: array("q"))
    losses: "array[float]" = field(default_factory=lambda: array("d"))
    rates: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def last(self) -> int:
        """The last step; 0 before the first."""
        return self.steps[-1] if self.steps else 0


class Evaluated(NamedTuple):
    """The figures of an evaluation; ``scores`` has those of train, test and, where there is one, validation."""

    epoch: int
    step: int
    scores: dict[str, dict[str, float]]
    samples_per_second: float
    time_share: dict[str, float]


class Checkpoint(NamedTuple):
    """The file of a checkpoint."""

    name: str
    num_bytes: int
    written: float


class Run:
    """The files of a run directory; ``update`` reads what is new in them.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    name : str
        The name of the directory, printable.
    config : dict
        Settings by table and key, as in config.toml.
    steps : Steps
    evaluations : list of Evaluated
    skipped, balance, events : list of dict
        Lines of metrics.jsonl about skipped steps and changed shares, and the lines of events.jsonl.
    report, examples : dict
        The files of these names; empty where there are none.
    checkpoints : list of Checkpoint
        The newest first.
    state : State
    problems : list of str
        Sentences about what is missing or damaged.
    """

    def __init__(self, path: Path):
        self.path, self.name = path, visible(path.name or str(path.absolute()))
        self._metrics, self._events = GrowingLines(path / METRICS), GrowingLines(path / EVENTS)
        self._stamps: dict[str, tuple[int, int]] = {}
        self._said: dict[str, str] = {}
        self.config: dict[str, dict[str, Any]] = {}
        self.report: dict[str, Any] = {}
        self.examples: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.checkpoints: list[Checkpoint] = []
        self.state, self.problems = State("waiting", ""), list[str]()
        self._progress: list[tuple[float, int]] = []
        self._forget_metrics()

    @property
    def final(self) -> dict[str, Any]:
        """The report of a run that is over; empty while it trains, with an older report from before a resume or not."""
        return {} if self.state.kind == "running" else self.report

    @property
    def start(self) -> dict[str, Any]:
        """The last start of the run: its command and environment; empty for runs that have not recorded it."""
        return next((event for event in reversed(self.events) if event.get("kind") == "start"), {})

    @property
    def steps_per_second(self) -> float:
        """The present speed, measured between updates; NaN where nothing has been seen to move."""
        now = time.monotonic()
        recent = [(at, step) for at, step in self._progress if now - at <= SPEED_SECONDS]
        if len(recent) < 2:
            return math.nan
        (begin, first), (end, last) = recent[0], recent[-1]
        return (last - first) / (end - begin)

    def update(self) -> bool:
        """Read what is new; return whether anything is."""
        before = self._fingerprint()
        self._read_metrics()
        lines, anew = self._events.read()
        self.events = lines if anew else self.events + lines
        for name, take in ((CONFIG, self._take_config), (REPORT, self._take_report), (EXAMPLES, self._take_examples)):
            self._read(name, take)
        self.checkpoints = _checkpoints(self.path / CHECKPOINTS)
        self.state = find_state(
            self.path, self.events, begun=bool(self.steps.steps or self.evaluations), report=bool(self.report)
        )
        self.problems = list(self._find_problems())
        return self._fingerprint() != before

    def _fingerprint(self) -> tuple[object, ...]:
        counts = len(self.steps.steps), len(self.evaluations), len(self.skipped), len(self.balance), len(self.events)
        return *counts, self.steps.last, *self._stamps.items(), *self.checkpoints, self.state, *self.problems

    def _forget_metrics(self) -> None:
        self.steps, self.evaluations = Steps(), list[Evaluated]()
        self.skipped, self.balance = list[dict[str, Any]](), list[dict[str, Any]]()
        self._num_odd = 0

    def _read_metrics(self) -> None:
        lines, anew = self._metrics.read()
        if anew:
            self._forget_metrics()
            self._progress = []
        for line in lines:
            self._take(line)
        if lines and (not self._progress or self._progress[-1][1] != self.steps.last):
            self._progress = [*self._progress[-200:], (time.monotonic(), self.steps.last)]

    def _take(self, line: dict[str, Any]) -> None:
        kind, step = line.get("kind"), whole(line, "step")
        if not step or not isinstance(kind, str):
            self._num_odd += 1
        elif kind == "step":
            self.steps.steps.append(step)
            self.steps.losses.append(number(line, "loss"))
            self.steps.rates.append(number(line, "lr"))
        elif kind == "epoch":
            found = {split: figures for split in SPLITS if (figures := scores(line, split))}
            speed = number(line, "samples_per_second")
            self.evaluations.append(Evaluated(whole(line, "epoch"), step, found, speed, scores(line, "time_share")))
        elif kind == "skipped":
            self.skipped.append(line)
        elif kind == "balance":
            self.balance.append(line)

    def _read(self, name: str, take: Any) -> None:
        """Read a whole file if it has changed; a file that cannot be read is one with no content and a problem."""
        path = self.path / name
        try:
            facts = path.stat()
            stamp = facts.st_mtime_ns, facts.st_size
            if self._stamps.get(name) == stamp:
                return
            self._stamps[name] = stamp
            take(path.read_text("utf-8"))
            self._said.pop(name, None)
        except FileNotFoundError:
            self._stamps.pop(name, None)
            self._said.pop(name, None)
            take("")
        except (OSError, ValueError, RecursionError) as error:
            take("")
            why = error.strerror if isinstance(error, OSError) else "it is damaged"
            self._said[name] = f"{name} cannot be read: {why}."

    def _take_config(self, content: str) -> None:
        self.config = {}
        self.config = {name: found for name, found in tomllib.loads(content).items() if isinstance(found, dict)}

    def _take_report(self, content: str) -> None:
        self.report = {}
        self.report = _object(content)

    def _take_examples(self, content: str) -> None:
        self.examples = {}
        self.examples = _object(content)

    def _find_problems(self) -> "list[str]":
        found = list(self._said.values())
        if not self.path.is_dir():
            return found
        found += [f"There is no {CONFIG}."] if CONFIG not in self._stamps else []
        over = self.state.is_over and REPORT not in self._stamps
        found += [f"There is no {REPORT}: it is written at the end of a run."] if over else []
        for name, lines, odd in ((METRICS, self._metrics, self._num_odd), (EVENTS, self._events, 0)):
            if bad := lines.num_bad + odd:
                found.append(f"{bad:,} line{'s are' if bad > 1 else ' is'} left out of {name}: no whole record.")
            if lines.is_cut and self.state.kind != "running":
                found.append(f"The last line of {name} is cut off.")
        if not self.steps.steps and not self.evaluations:
            found.append(f"{METRICS} has no steps yet.")
        return found


def open_runs(paths: Iterable[Path]) -> list[Run]:
    """Return the runs in ``paths``, each once; those of one name are named by their paths.

    Raises
    ------
    UserError
        If a path has none.
    """
    runs = [open_run(path) for path in dict.fromkeys(paths)]
    times = Counter(run.name for run in runs)
    for run in runs:
        if times[run.name] > 1:
            run.name = visible(str(run.path))
    return runs


def open_run(path: Path) -> Run:
    """Return the run in ``path``, read.

    Raises
    ------
    UserError
        If there is none.
    """
    if not path.exists():
        raise UserError(f"there is no run {path}")
    if not path.is_dir():
        raise UserError(f"{path} is no run directory: it is a file")
    if not any((path / name).is_file() for name in (CONFIG, METRICS)):
        raise UserError(f"{path} is no run directory: it has neither {CONFIG} nor {METRICS}")
    run = Run(path)
    run.update()
    return run


def _object(content: str) -> dict[str, Any]:
    found = json.loads(content) if content else {}
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints, the newest first; empty without the folder."""
    found = []
    try:
        for path in folder.glob("step-*.safetensors"):
            facts = path.stat()
            found.append(Checkpoint(path.name, facts.st_size, facts.st_mtime))
    except OSError:  # one that is removed meanwhile
        pass
    return sorted(found, reverse=True)
