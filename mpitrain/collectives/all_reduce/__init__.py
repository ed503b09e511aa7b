"""All-reduce: every rank ends with the sum of all ranks' buffers."""

from .flat import flat
from .ring import ring
from .tree import tree

__all__ = ["ring", "tree", "flat"]  # noqa: RUF022 (the order in which they are listed)
