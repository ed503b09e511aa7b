"""Reports on a kernel: faults, wrong results, counts, and goals of the exercise that are missed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .counts import Counts, count
from .run import Found
from .source import Entry, Source
from .task import Goal, Task
from .tasks import goals_of
from .words import Names, describe, stop_words

MERGED = ("outside", "undefined")  # those of all arrays of a line are one fault
ORDER = ("stopped", "outside", "dimension", "misaligned", "barrier", "ended", "race", "undefined", "changed")


@dataclass
class Fault:
    """A fault in words.

    Attributes
    ----------
    kind : str
        One of ``ORDER``.
    title : str
        A sentence.
    accesses : list of (str, int, str)
        What each thread does: the words, the number of the line, and the line.
    advice : str
    run : dict
        The run in which it was found first.
    details : dict
        For programs: array, element, block, thread and so on.
    runs : list of int
        The numbers of the runs in which it was found.
    """

    kind: str
    title: str
    accesses: list[tuple[str, int, str]]
    advice: str
    run: Mapping[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    runs: list[int] = field(default_factory=list)

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for the same fault in another run."""
        array = None if self.kind in MERGED else self.details.get("array")
        return self.kind, array, tuple(sorted(line for _, line, _ in self.accesses))

    def merge(self, other: "Fault") -> None:
        """Add what another run has found, or this run of another array."""
        self.runs += other.runs
        arrays = self.details.setdefault("arrays", [self.details.get("array")])
        if other.run is self.run and other.details.get("array") not in arrays:
            arrays.append(other.details["array"])
            self.accesses += other.accesses

    @property
    def num_runs(self) -> int:
        """The number of runs in which it was found."""
        return len(set(self.runs))


@dataclass
class Report:
    """All that was found of one file."""

    source: Source
    task: Task
    entry: Entry
    runs: list[dict[str, Any]]
    faults: list[Fault]
    wrong: dict[str, Any] | None
    wrong_run: dict[str, Any] | None
    num_wrong: int
    counts: Counts | None
    goals: tuple[Goal, ...]
    missed: list[tuple[Goal, float]]

    @property
    def right(self) -> bool:
        """True if all results are right, without a fault."""
        return not self.faults and self.wrong is None

    @property
    def passed(self) -> bool:
        """True if it is right, and reaches the goals of its exercise."""
        return self.right and not self.missed


def report_of(source: Source, task: Task, entry: Entry, found: Found) -> Report:
    """Return the report of what the runs have found."""
    faults: dict[tuple[Any, ...], Fault] = {}
    names = [Names(source, task, entry, found.shared, run, found.lines) for run in found.runs]
    for number, fault in _faults(names, found):
        fault.runs.append(number)
        if fault.key in faults:
            faults[fault.key].merge(fault)
        else:
            faults[fault.key] = fault
    shown = sorted(_without_consequences(list(faults.values())), key=lambda fault: ORDER.index(fault.kind))
    wrong = [result for result in found.results if result["wrong"]]
    for result in wrong:
        result["wrong"]["array"] = entry.parameters[len(task.inputs)][1]
    last = found.results[-1] if found.results else {}
    counts = None
    if "lines" in last and not last["error"]:
        counts = count(task, last, names[last["run"]])
    goals = goals_of(task, entry) if counts else ()
    rates = counts.rates if counts else {}
    return Report(
        source,
        task,
        entry,
        found.runs,
        shown,
        wrong[0]["wrong"] if wrong else None,
        found.runs[wrong[0]["run"]] if wrong else None,
        len(wrong),
        counts,
        goals,
        [(goal, rates[goal.count]) for goal in goals if rates[goal.count] > goal.most * (1 + 1e-9)],
    )


def _faults(names: Sequence[Names], found: Found) -> Iterator[tuple[int, Fault]]:
    """Yield each fault with the number of its run."""
    for result in found.results:
        run = found.runs[result["run"]]
        for record in result["faults"]:
            yield result["run"], Fault(run=run, **describe(record, names[result["run"]]))
        for name in result["changed"]:
            yield result["run"], Fault("changed", f"the kernel changes its input {name}", [], "An input is const.", run)
        ends_itself = any(record["kind"] in (3, 5) for record in result["faults"])  # misaligned, dimension
        if result["error"] and not ends_itself:
            yield result["run"], Fault("barrier", result["error"], [], BARRIER, run)
    if found.stopped:
        run = found.runs[len(found.results)]
        words = stop_words(found.stopped, names[len(found.results)], found.arrays)
        yield len(found.results), Fault(run=run, **words)


BARRIER = (
    "Every thread of a block must come to the same __syncthreads(), every lane of a mask to the same warp operation: "
    "put them outside of branches, and of loops whose turns differ."
)


def _without_consequences(faults: list[Fault]) -> list[Fault]:
    """Leave out reads of undefined memory in a line that races for the same array: the same barrier is missing."""
    races = {(f.details["array"], line) for f in faults if f.kind == "race" for _, line, _ in f.accesses}
    beyond = {line for f in faults if f.kind == "dimension" for _, line, _ in f.accesses}

    def follows(fault: Fault) -> bool:
        lines = [line for _, line, _ in fault.accesses]
        if fault.kind == "undefined":
            return any((fault.details["array"], line) in races for line in lines)
        return fault.kind in ("outside", "race") and any(line in beyond for line in lines)

    return [fault for fault in faults if not follows(fault)]
