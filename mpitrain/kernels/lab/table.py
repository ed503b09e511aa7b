"""A report for programs."""

from dataclasses import asdict
from typing import Any

from .report import Report


def as_table(report: Report) -> dict[str, Any]:
    """Return a report as dictionaries, lists, numbers and strings."""
    table: dict[str, Any] = {
        "file": str(report.source.path),
        "kernel": report.entry.name,
        "task": report.task.name,
        "right": report.right,
        "passed": report.passed,
        "launches": len(report.runs),
        "faults": [
            {
                "kind": fault.kind,
                "title": fault.title,
                "accesses": [{"words": words, "line": line, "text": text} for words, line, text in fault.accesses],
                "advice": fault.advice,
                "sizes": fault.run["sizes"],
                "seed": fault.run["seed"],
                "launches": fault.num_runs,
                **fault.details,
            }
            for fault in report.faults
        ],
        "wrong": report.wrong,
        "missed": [
            {"goal": goal.words, "count": goal.count, "most": goal.most, "is": is_} for goal, is_ in report.missed
        ],
    }
    if report.counts:
        counts = report.counts
        table |= {
            "sizes": dict(counts.sizes),
            "lines": [asdict(line) for line in counts.lines],
            "rates": counts.rates,
            "barriers": counts.barriers,
            "bounds": [
                {
                    "machine": bound.machine.name,
                    "by_units": bound.by_units,
                    "by_merged": bound.by_merged,
                    "by_memory": bound.by_memory,
                }
                for bound in counts.bounds()
            ],
        }
    return table
