"""HTML page that plays schedules step by step: one file, without network access or a framework."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..algorithm import Algorithm
from ..price.calibration import Calibration, load_calibration
from .data import algorithm_data
from .palette import COLORS, COPY, REDUCE
from .trace import Trace, trace_data

PLAYER = Path(__file__).with_name("player")
SCRIPTS = ("sets.js", "model.js", "words.js", "paint.js", "stage.js", "timeline.js", "controls.js", "main.js")
MAX_RANKS = 16


@dataclass(frozen=True)
class Costs:
    """Initial costs of the page: seconds per message, per byte sent and per byte added; bytes of the buffer."""

    alpha: float
    beta: float
    gamma: float
    num_bytes: int = 1 << 20

    @classmethod
    def of(cls, calibration: Calibration, num_bytes: int = 1 << 20) -> "Costs":
        """Return the fitted lines of a calibration; the shipped table is linear, so prices are the same."""
        wire = calibration.inside
        line = wire.exchange.fit()
        alpha = max(0.0, line.alpha) + wire.send_overhead + wire.recv_overhead
        return cls(alpha, max(0.0, line.beta), max(0.0, calibration.reduce.fit().beta), num_bytes)


def draw_page(
    algorithms: Sequence[Algorithm],
    size: int,
    *,
    max_ranks: int = MAX_RANKS,
    costs: Costs | None = None,
    trace: Trace | None = None,
) -> str:
    """Return the page.

    Parameters
    ----------
    algorithms : one or more
        The first two are shown side by side at the start; the rest can be chosen.
    size, max_ranks : int
        P at the start, and the largest that can be chosen.
    costs : Costs, optional
        By default those of the table that mpitrain ships, as for ``price``.
    trace : Trace, optional
        A recorded run of the first algorithm, laid over the prediction.
    """
    if not algorithms:
        raise UserError("a page needs at least one algorithm")
    sizes = range(2, max(size, max_ranks, 2) + 1)
    data: dict[str, Any] = {
        "size": max(size, 2),
        "sizes": [sizes.start, sizes.stop - 1],
        "costs": asdict(costs or Costs.of(load_calibration())),
        "colors": {"ranks": COLORS, "reduce": REDUCE, "copy": COPY},
        "algorithms": [algorithm_data(algorithm, sizes) for algorithm in algorithms],
        "compare": len(algorithms) > 1,
        "trace": trace_data(trace) if trace else None,
    }
    parts = {
        "TITLE": _escape(" and ".join(a.name for a in algorithms[:2])),
        "STYLE": _read("style.css"),
        "SCRIPT": "\n".join(_read(name) for name in SCRIPTS),
        "DATA": json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c"),
    }
    page = _read("page.html")
    for name, text in parts.items():
        page = page.replace(f"@{name}@", text, 1)
    return page


def _read(name: str) -> str:
    return (PLAYER / name).read_text(encoding="utf-8")


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
