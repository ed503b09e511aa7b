"""State of a run, by the owner of its directory and by its events."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..training.directory.owner import Owner, current_owner
from ..training.directory.ownership import STALE_SECONDS, find_owner
from .facts import text


class State(NamedTuple):
    """State of a run: its activity now, or its end."""

    kind: Literal["waiting", "running", "ended", "failed", "unknown"]
    text: str

    @property
    def is_over(self) -> bool:
        """Return True if nothing more will come, unless it is resumed."""
        return self.kind not in ("waiting", "running")


def find_state(path: Path, events: Sequence[Mapping[str, Any]], *, begun: bool, report: bool) -> State:
    """Return the state of the run in ``path``.

    Parameters
    ----------
    events : sequence of mapping
        The lines of events.jsonl.
    begun, report : bool
        Whether there are steps or evaluations, and a report.
    """
    if not path.is_dir():
        return State("waiting", "There is no such directory now.")
    owned = find_owner(path)
    if owned is not None:
        return _of_owner(*owned)
    last: Mapping[str, Any] = next((event for event in reversed(events) if event.get("kind") in ("start", "end")), {})
    if last.get("kind") == "end":
        failed = last.get("failed") is True
        return State("failed" if failed else "ended", f"{'Failed' if failed else 'Ended'}: {text(last, 'reason')}.")
    if report:
        return State("ended", "Ended.")
    if not begun:
        return State("waiting", "It has not begun.")
    return State("unknown", "It has not written how it ended: it was killed, or ended by a failing rank.")


def _of_owner(owner: Owner | None, age: float) -> State:
    """Return the state of a run that has not left its directory, as far as it can be known from this host."""
    who = str(owner or "a run that has not said who it is")
    if owner is not None and owner.is_visible_from(current_owner("")):
        if owner.lives():
            return State("running", f"Running: {who}.")
        return State("failed", f"Killed: {who}; its process is gone, and has not written why.")
    if age > STALE_SECONDS:
        return State("failed", f"Lost: {who}; no sign of life for more than {STALE_SECONDS / 60:.0f} minutes.")
    return State("running", f"Running: {who}.")
