"""Methods of ``--sync`` by name."""

from ...registry import Registry
from .base import LocalSteps
from .diloco import DiLoCo
from .local import Local
from .post_local import PostLocal

SYNCS: Registry[LocalSteps] = Registry(
    "sync",
    {"local": Local, "post_local": PostLocal, "diloco": DiLoCo},
    arguments=("parts",),
    result=LocalSteps,
)
