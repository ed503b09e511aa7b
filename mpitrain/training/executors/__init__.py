"""Step executors, which compute the gradients of a step."""

from .base import StepExecutor
from .dynamic import DynamicExecutor
from .eager import EagerExecutor
from .graphed import GraphedExecutor
from .make import make_executor
from .pipelined import PipelineExecutor
from .timed import TimedExecutor
from .virtual_shards import VirtualShardsExecutor

__all__ = [
    "DynamicExecutor",
    "EagerExecutor",
    "GraphedExecutor",
    "PipelineExecutor",
    "StepExecutor",
    "TimedExecutor",
    "VirtualShardsExecutor",
    "make_executor",
]
