"""The pipeline schedules, one file each."""

from .breadth_first import breadth_first
from .gpipe import gpipe
from .greedy import greedy
from .interleaved import interleaved
from .one_f_one_b import one_f_one_b
from .zb_h1 import zb_h1

__all__ = ["breadth_first", "gpipe", "greedy", "interleaved", "one_f_one_b", "zb_h1"]
