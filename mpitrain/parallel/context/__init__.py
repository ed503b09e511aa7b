"""Context parallelism: the tokens of each row divided among ranks, with Ulysses or ring attention between them."""

from .attention import ContextAttention
from .parts import TokenParts
from .ring import RingAttention
from .ulysses import Ulysses

__all__ = ["ContextAttention", "RingAttention", "TokenParts", "Ulysses"]
