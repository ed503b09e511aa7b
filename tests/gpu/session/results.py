"""The results of main.py: a file that grows by a line with each test, and a page of them."""

import json
import os
from collections import Counter
from pathlib import Path

from tests.gpu.session.stages import Stage


class Results:
    """The file of results: a line of JSON for each thing that happened."""

    def __init__(self, path: Path):
        self.path = path

    def add(self, **line: object) -> None:
        """Append a line, and see that it is on the disk."""
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def lines(self, stage: str | None = None) -> list[dict]:
        """Return the lines so far; one that a dying process left half is left out."""
        found = []
        for text in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if stage in (None, line["stage"]):
                found.append(line)
        return found

    def unfinished(self, stage: str) -> str | None:
        """Return the test that has begun and not ended."""
        running = None
        for line in self.lines(stage):
            running = line["test"] if line["what"] == "begin" else None if line["what"] == "end" else running
        return running


def summary(stages: tuple[Stage, ...], lines: list[dict]) -> tuple[str, int]:
    """Return a table of the stages with the failures below it, and the number of failures."""
    rows, wrong = [], []
    for stage in stages:
        mine = [line for line in lines if line["stage"] == stage.name]
        ends = {line["test"]: line for line in mine if line["what"] == "end"}
        collected = max((line["tests"] for line in mine if line["what"] == "collected"), default=0)
        counts = Counter(line["outcome"] for line in ends.values())
        errors = [line for line in mine if line["what"] == "error"]
        note = next((f"left out: {line['why']}" for line in mine if line["what"] == "left out"), "")
        if not mine:
            note = "no time left"
        cells = [
            counts["passed"],
            counts["failed"] + counts["died"] + len(errors),
            counts["skipped"],
            max(0, collected - len(ends)) + counts["cut off"],
        ]
        seconds = sum(line["seconds"] for line in ends.values())
        rows.append(f"| {stage.name} | {' | '.join(map(str, cells))} | {seconds:.0f} | {note or stage.tells} |")
        wrong += [
            (stage.name, line)
            for line in [*ends.values(), *errors]
            if line.get("outcome") in ("failed", "died") or line["what"] == "error"
        ]
    head = "| stage | passed | failed | skipped | not run | s | it tells |\n|---|--:|--:|--:|--:|--:|---|"
    parts = ["\n".join([head, *rows])]
    for stage, line in wrong:
        reason = line["why"].strip().splitlines() or [""]
        parts.append(f"**{stage}**: `{line.get('test', '')}`\n\n    " + "\n    ".join(reason[-12:]))
    return "\n\n".join(parts) + "\n", len(wrong)
