"""Execution plans: neighboring layers of a Sequential that are computed in one pass over memory.

A fused layer stands for the layers that it holds. It has no parameters of its own, so names, initial values and
checkpoints do not depend on the plan (docs/decisions/0020-fused-plan.md).
"""

from .base import Fused
from .conv_chain import ConvLink
from .linear_chain import LinearLink
from .plan import Plan, Step
from .with_moments import WithMoments
from .with_relu import WithReLU

__all__ = ["ConvLink", "Fused", "LinearLink", "Plan", "Step", "WithMoments", "WithReLU"]
