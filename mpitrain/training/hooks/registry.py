"""Hooks by name: averages of the weights, or ``FILE.py:FUNC`` for a user's class or function that makes one."""

from collections.abc import Iterable

from ...errors import UserError
from ...metrics import split_metrics
from ...registry import Registry
from .base import Hook
from .weight_average import EMA, SWA

HOOKS: Registry[Hook] = Registry("hook", {"ema": EMA, "swa": SWA}, arguments=(), result=Hook)


def make_hooks(specs: str | Iterable[str | Hook | type[Hook]]) -> list[Hook]:
    """Return hooks from instances, classes or texts that name them.

    Parameters
    ----------
    specs : str, or iterable of str, Hook or class
        A single text may name several, with commas.

    Raises
    ------
    UserError
        For anything else, or a text that names no hook.
    """
    hooks = []
    for spec in split_metrics(specs) if isinstance(specs, str) else specs:
        if isinstance(spec, str):
            hooks.append(HOOKS.make(spec))
        elif isinstance(spec, type) and issubclass(spec, Hook):
            hooks.append(spec())
        elif isinstance(spec, Hook):
            hooks.append(spec)
        else:
            raise UserError(f"a hook is a Hook, a name or FILE.py:FUNC, not a {type(spec).__name__}")
    return hooks
