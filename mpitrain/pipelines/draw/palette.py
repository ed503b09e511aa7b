"""Colors of tasks and of idle time, distinct for color-blind readers (Okabe & Ito 2008).

Color is never the only sign: a task has its letter and number, and idle times have hatches of their own.
"""

KINDS = {"F": "#0072B2", "B": "#E69F00", "W": "#009E73"}
CAUSES = {"dependency": "#8a95a3", "imbalance": "#D55E00", "message": "#CC79A7"}
INK = {"F": "#ffffff", "B": "#10151c", "W": "#ffffff"}


def tint(kind: str, number: int, count: int) -> str:
    """Return the color of a task on stage ``number`` of the ``count`` of its rank: lighter for later ones."""
    share = 0.45 * number / max(1, count - 1)
    base = KINDS[kind]
    parts = (int(base[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + share * (255 - part)):02x}" for part in parts)
