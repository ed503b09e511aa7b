"""Ratings and clicks of users for items: samples, splits by time, sampled items without a click."""

from typing import TYPE_CHECKING

from ...later import import_later
from .options import KEYS

if TYPE_CHECKING:
    from .source import ratings_dataset

__all__ = ["KEYS", "ratings_dataset"]

__getattr__ = import_later(__name__, {"source": "ratings_dataset"})
