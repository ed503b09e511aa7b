"""Hooks: everything in a training run that is not the loop itself."""

from .base import Hook, StepInfo
from .dispatch import HookError, Hooks

__all__ = ["Hook", "HookError", "Hooks", "StepInfo"]
