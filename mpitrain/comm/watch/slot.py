"""Slots of the ledger as other ranks read them, and the first difference between the histories of ranks."""

import enum
import os
from collections.abc import Sequence
from dataclasses import dataclass

FACTS = 16  # numbers
ENTRIES = 64
WIDTH = 8  # numbers of an entry: a cache line
HISTORIES = 16  # groups of ranks whose collectives are compared: the whole job, and axes
HISTORY_WIDTH = 2 + ENTRIES  # numbers: code, last number; then the rolling hashes of the last entries
HISTORIES_AT = FACTS + ENTRIES * WIDTH
NUMBERS = HISTORIES_AT + HISTORIES * HISTORY_WIDTH
LABELS = 128
LABEL_BYTES = 192
ENTRY_TEXTS = LABELS  # numbers of the texts that belong to a place in the ring of entries
GROUP_TEXTS = ENTRY_TEXTS + ENTRIES  # and of those that name the group of a history
LABEL_RANGE = 1 << 16  # an entry's label is the number of its text, plus LABEL_RANGE times the place of its history
STAGES_TEXT = GROUP_TEXTS + HISTORIES  # and of the one that names the stages of the rank in a pipeline
SLOT_BYTES = 8 * NUMBERS + (STAGES_TEXT + 1) * LABEL_BYTES
ERA = 1 << 32  # entries are numbered from the next multiple of it after ranks were lost
INPUT = "its input"  # text of the only wait that is not for other ranks
TASKS = {
    "": "",
    "F": "forward of microbatch",
    "B": "backward of microbatch",
    "W": "dw of microbatch",
    "E": "forward of batch",
}
UNKNOWN = "something (there were too many kinds of calls to keep their names)"


class Fact(enum.IntEnum):
    """Offsets of the facts at the start of a slot."""

    RANK = 0
    PID = 1
    START = 2
    SPACE = 3
    MAIN_THREAD = 4
    HEARTBEAT = 5
    PRESENT = 6
    STEP = 7
    FAILED = 8
    TASK = 9  # place in TASKS of the task of a pipeline that is being computed
    TASK_STAGE = 10
    MICROBATCH = 11


@dataclass(frozen=True)
class Entry:
    """One call, or a wait for a message; a time of 0 is not reached yet.

    Attributes
    ----------
    number, hash : int
        Number among the compared calls of its history, and their rolling hash; 0 if it is not compared.
    code : int
        Code of what is compared.
    history : int
        Code of the history: the same on all ranks of a group; 0 for the whole job.
    group : str
        " on axis NAME (RANKS)"; empty for the whole job.
    peer : int
        The rank at the other end of a message; -1 for calls.
    """

    seq: int
    text: str
    number: int
    hash: int
    began: float
    waits: float
    ended: float
    code: int
    history: int = 0
    group: str = ""
    peer: int = -1

    @property
    def ordinal(self) -> int:
        """The number counted from 1 since the job began or ranks were last lost."""
        return self.number % ERA


class Record:
    """The slot of one rank.

    Parameters
    ----------
    slot : (SLOT_BYTES,) memoryview
    """

    def __init__(self, slot: memoryview):
        self.doubles = slot[: 8 * NUMBERS].cast("d")
        self.texts = slot[8 * NUMBERS :]

    def fact(self, fact: Fact) -> float:
        """Return one of the facts."""
        return self.doubles[fact]

    @property
    def rank(self) -> int:
        """The rank in the whole job."""
        return int(self.doubles[Fact.RANK])

    @property
    def stages(self) -> str:
        """The stages of the rank in a pipeline: "stage 1", "stages 1 and 4"; empty without one."""
        return self._text(STAGES_TEXT)

    @property
    def task(self) -> str:
        """The task of a pipeline that the rank computes: "the forward of microbatch 3"; empty without one."""
        kind, stage, microbatch = map(int, self.doubles[Fact.TASK : Fact.MICROBATCH + 1])
        if not kind:
            return ""
        where = f" on stage {stage}" if self.stages.startswith("stages") else ""
        return f"the {list(TASKS.values())[kind]} {microbatch}{where}"

    @property
    def present(self) -> bool:
        """True from the start to the regular end of the rank's work."""
        return bool(self.doubles[Fact.PRESENT])

    def entries(self) -> list[Entry]:
        """Return the last entries, oldest first."""
        found = [self.entry(at) for at in range(FACTS, FACTS + ENTRIES * WIDTH, WIDTH)]
        return sorted((entry for entry in found if entry.seq and entry.ended >= 0), key=lambda entry: entry.seq)

    def entry(self, at: int) -> Entry:
        """Return the entry at an offset in the ring; its ``ended`` is negative while it is being written."""
        seq, label, number, rolling, began, waits, ended, code = self.doubles[at : at + WIDTH].tolist()
        place, label = divmod(int(label), LABEL_RANGE)
        facts = (int(seq), self._text(label), int(number), int(rolling), began, waits, ended, int(code))
        if not number:
            return Entry(*facts, peer=int(rolling) - 1)
        history = int(self.doubles[HISTORIES_AT + place * HISTORY_WIDTH])
        return Entry(*facts, history=history, group=self._text(GROUP_TEXTS + place))

    def wait(self) -> Entry | None:
        """Return the longest wait of the rank, None if it does not wait."""
        waiting = [entry for entry in self.entries() if entry.waits and not entry.ended]
        return min(waiting, key=lambda entry: entry.waits, default=None)

    def wait_for_others(self) -> Entry | None:
        """Return the call in which the rank waits for other ranks, None if it does not."""
        wait = self.wait()
        return wait if wait is not None and wait.text != INPUT else None

    def last(self) -> Entry | None:
        """Return the last compared call, None if there is none."""
        compared = [entry for entry in self.entries() if entry.number]
        return compared[-1] if compared else None

    def process_lives(self) -> bool:
        """Return False if the rank's process has ended; True if it lives or is not visible to this process."""
        if self.doubles[Fact.SPACE] != process_space():
            return True
        pid = int(self.doubles[Fact.PID])
        return process_state(pid) not in ("", "Z", "X") and process_start(pid) == self.doubles[Fact.START]

    def reachable(self) -> bool:
        """Return True if its process id is valid in this process, so that signals can be sent to it."""
        pid = int(self.doubles[Fact.PID])
        return self.doubles[Fact.SPACE] == process_space() and self.doubles[Fact.START] == process_start(pid) > 0

    def _text(self, label: int) -> str:
        if label == LABELS - 1:
            return UNKNOWN
        raw = bytes(self.texts[label * LABEL_BYTES : (label + 1) * LABEL_BYTES])
        return raw.rstrip(b"\0").decode(errors="replace")


def name_rank(rank: int, stages: str = "") -> str:
    """Return the name of a rank: "rank 5"; "stage 2 (rank 5)" or "rank 5 (stages 1 and 3)" in a pipeline."""
    if stages.startswith("stages"):
        return f"rank {rank} ({stages})"
    return f"{stages} (rank {rank})" if stages else f"rank {rank}"


def first_difference(histories: Sequence[tuple[int, Sequence[Entry]]]) -> str | None:
    """Return a sentence on the first collective that differs between ranks, None if there is none.

    Parameters
    ----------
    histories : sequence of (rank, entries)
    """
    compared = {rank: {(e.history, e.number): e for e in entries if e.number} for rank, entries in histories}
    compared = {rank: entries for rank, entries in compared.items() if entries}
    for key in sorted(set().union(*compared.values())):
        there = {rank: entries[key] for rank, entries in compared.items() if key in entries}
        if len({entry.hash for entry in there.values()}) > 1:
            return _say_difference(there)
    return None


def _say_difference(there: dict[int, Entry]) -> str:
    codes, any_one = [entry.code for entry in there.values()], next(iter(there.values()))
    shown, group = any_one.ordinal, any_one.group
    if len(set(codes)) == 1:  # the same here, but an earlier entry differed, which is overwritten
        return f"the ranks' collectives{group} differ since before number {shown}, the oldest one still on record"
    usual = max(codes, key=codes.count)
    rank = next(r for r, entry in there.items() if entry.code != usual)
    other = next(r for r, entry in there.items() if entry.code == usual)
    return (
        f"rank {rank}'s collective number {shown} is {there[rank].text}, but rank {other}'s is {there[other].text}: "
        "all ranks must call the same collectives in the same order, with the same sizes and dtypes"
    )


def process_state(pid: int) -> str:
    """Return the letter of the process's state (R, S, T, D, Z), empty if there is no such process."""
    return next(iter(_stat(pid)), "")


def process_start(pid: int) -> float:
    """Return the start of the process in ticks since boot: together with its id it identifies a process."""
    fields = _stat(pid)
    return float(fields[19]) if len(fields) > 19 else 0.0


def process_space() -> float:
    """Return the number of the namespace of process ids."""
    try:
        return float(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return 0.0


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
