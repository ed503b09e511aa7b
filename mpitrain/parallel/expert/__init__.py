"""Expert parallelism: each rank has some of the experts, and tokens travel to those chosen for them and back."""

from .divided_experts import DividedExperts

__all__ = ["DividedExperts"]
