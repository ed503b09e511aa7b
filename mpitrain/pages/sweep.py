"""The page of a sweep."""

from typing import Any


def sweep_page(sweep: Any) -> str:
    return ""
