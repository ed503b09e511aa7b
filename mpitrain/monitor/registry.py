"""Monitors by name."""

from ..metrics import split_metrics
from ..registry import Registry, short_name
from ..training.hooks import Hook
from .sqlite import SQLite
from .tensorboard import TensorBoard

MONITORS: Registry[Hook] = Registry(
    "monitor", {"tensorboard": TensorBoard, "sqlite": SQLite}, arguments=(), result=Hook
)


def make_monitors(texts: str) -> list[tuple[str, Hook]]:
    """Return the monitors that a text with commas selects, each with its name for messages.

    Raises
    ------
    UserError
        For an unknown monitor or option.
    """
    return [(short_name(text), MONITORS.make(text)) for text in split_metrics(texts)]
