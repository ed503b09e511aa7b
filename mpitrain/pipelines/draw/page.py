"""HTML page that plays pipelines: one file, without network access or a framework.

The page has the order of tasks of every rank, for each P and M that can be chosen, and computes their times itself.
Style, canvas helpers and numbers in words are those of the page of collectives.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...collectives.draw.page import PLAYER as SHARED
from ...errors import ScheduleError, UserError
from ..pipeline import Pipeline
from ..price import Costs
from ..program import Program, make_program
from ..simulate import simulate
from ..task import KINDS as ORDER
from ..trace import Recorded
from .palette import CAUSES, KINDS

PLAYER = Path(__file__).with_name("player")
SCRIPTS = (SHARED / "paint.js", SHARED / "words.js", *(PLAYER / name for name in ("model.js", "chart.js", "main.js")))
STYLES = (SHARED / "style.css", PLAYER / "style.css")
MAX_RANKS, MAX_MICROBATCHES = 8, 16
MAX_TASKS = 6000  # of one P and M; larger programs are left out of the page


def draw_page(
    pipelines: Sequence[Pipeline],
    size: int,
    num_microbatches: int,
    *,
    max_ranks: int = MAX_RANKS,
    max_microbatches: int = MAX_MICROBATCHES,
    costs: Costs | None = None,
    recorded: Recorded | None = None,
) -> str:
    """Return the page.

    Parameters
    ----------
    pipelines : one or more
        The first two are shown one above the other at the start; the rest can be chosen.
    size, num_microbatches, max_ranks, max_microbatches : int
        P and M at the start, and the largest that can be chosen.
    costs : Costs, optional
        Initial times; those of messages are the same between all ranks.
    recorded : Recorded, optional
        A recorded run, shown below the prediction of the first pipeline.
    """
    if not pipelines:
        raise UserError("a page needs at least one pipeline")
    costs = costs or Costs()
    latency, transfer = costs.link(0, 1) if costs.link else (0.0, 0.0)
    last_rank, last_count = max(size, max_ranks), max(num_microbatches, max_microbatches)
    data: dict[str, Any] = {
        "size": size,
        "microbatches": num_microbatches,
        "sizes": [1, last_rank],
        "counts": [1, last_count],
        "seconds": costs.in_seconds,
        "costs": {
            "F": costs.forward,
            "B": costs.backward,
            "W": costs.weights,
            "latency": latency,
            "transfer": transfer,
        },
        "colors": {"kinds": KINDS, "causes": CAUSES},
        "pipelines": [_pipeline_data(one, range(1, last_rank + 1), range(1, last_count + 1)) for one in pipelines],
        "compare": len(pipelines) > 1,
        "trace": _trace_data(recorded) if recorded else None,
    }
    parts = {
        "TITLE": " and ".join(one.name for one in pipelines[:2]).replace("&", "&amp;").replace("<", "&lt;"),
        "STYLE": _read(STYLES),
        "SCRIPT": _read(SCRIPTS),
        "DATA": json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c"),
    }
    page = _read([PLAYER / "page.html"])
    for name, text in parts.items():
        page = page.replace(f"@{name}@", text, 1)
    return page


def _read(paths: Sequence[Path]) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def _pipeline_data(pipeline: Pipeline, sizes: range, counts: range) -> dict[str, Any]:
    orders: dict[str, list[list[int]]] = {}
    errors: dict[str, str] = {}
    for size in sizes:
        for count in counts:
            key = f"{size}/{count}"
            try:
                program = make_program(pipeline, size, count, pipeline.name)
            except ScheduleError as error:
                orders[key], errors[key] = [[] for _ in range(size)], str(error)
                continue
            if sum(map(len, program.tasks)) <= MAX_TASKS:
                orders[key] = _codes(program)
                wrong = simulate(program, partial=True).error
                if wrong:
                    errors[key] = wrong
    return {"name": pipeline.name, "formulas": pipeline.formulas, "orders": orders, "errors": errors}


def _codes(program: Program) -> list[list[int]]:
    """Return a number for each task: (stage M + microbatch) 3 + kind."""
    m = program.num_microbatches
    return [[(task.stage * m + task.microbatch) * 3 + ORDER.index(task.kind) for task in own] for own in program.tasks]


def _trace_data(recorded: Recorded) -> dict[str, Any]:
    timeline = recorded.run.timeline
    program, first = timeline.program, timeline.first

    def since(times: list[list[float]]) -> list[list[float]]:
        return [[round(time - first, 9) for time in own] for own in times]

    return {
        "size": program.size,
        "microbatches": program.num_microbatches,
        "orders": _codes(program),
        "begins": since(timeline.begins),
        "ends": since(timeline.ends),
    }
