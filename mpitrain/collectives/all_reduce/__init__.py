"""All-reduce: every rank ends with the sum of all ranks' buffers."""

from .bine import bine
from .chain import chain
from .double_tree import double_tree
from .flat import flat
from .halving_doubling import halving_doubling
from .k_nomial import k_nomial
from .pipelined_ring import pipelined_ring
from .recursive_doubling import recursive_doubling
from .ring import ring
from .swing import swing
from .tree import tree
from .two_level import two_level

__all__ = [  # noqa: RUF022 (in the order in which they are listed and taught)
    "ring",
    "tree",
    "flat",
    "pipelined_ring",
    "chain",
    "k_nomial",
    "recursive_doubling",
    "halving_doubling",
    "double_tree",
    "two_level",
    "swing",
    "bine",
]
