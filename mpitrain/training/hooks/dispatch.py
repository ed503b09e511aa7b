"""Dispatch of hook calls, and the error of a failing hook."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NoReturn, TypeVar, get_args

from ...errors import AgreedError, UserError
from .base import Hook, StepInfo

Event = Literal[
    "train_begin",
    "epoch_begin",
    "step_begin",
    "step_end",
    "interrupted",
    "evaluate_end",
    "checkpoint_begin",
    "evaluate",
    "epoch_end",
    "train_end",
]
EVENTS = (*get_args(Event), "gradients_ready", "exception")
H = TypeVar("H", bound=Hook)
OURS = __name__.partition(".")[0]


class HookError(UserError):
    """A hook has failed; the message names it."""


class Hooks:
    """The hooks of a run on one rank, called in their order.

    Parameters
    ----------
    hooks : sequence of Hook
    rank : int
        Hooks for the first rank only are left out on the others.
    """

    def __init__(self, hooks: Sequence[Hook], rank: int):
        self._all = tuple(hooks)
        here = [hook for hook in hooks if hook.ranks == "all" or rank == 0]
        self._methods = {event: overriding(here, event) for event in EVENTS}

    def __iter__(self) -> Iterator[Hook]:
        return iter(self._all)

    def one(self, kind: type[H]) -> H | None:
        """Return the first hook of a class, on any rank; None if there is none."""
        return next((hook for hook in self._all if isinstance(hook, kind)), None)

    def __getitem__(self, kind: type[H]) -> H:
        """Return the first hook of a class.

        Raises
        ------
        KeyError
            If there is none.
        """
        hook = self.one(kind)
        if hook is None:
            raise KeyError(kind.__name__)
        return hook

    def call(self, event: Event, info: StepInfo) -> None:
        """Call the method ``event`` of each hook."""
        for hook, method in self._methods[event]:
            try:
                method(info)
            except Exception as error:
                _fail(error, hook, event, info)

    def gradients_ready(self, info: StepInfo) -> str:
        """Call the method of that name of each hook until one returns a reason to leave out the update."""
        for hook, method in self._methods["gradients_ready"]:
            try:
                reason = method(info)
            except Exception as error:
                _fail(error, hook, "gradients_ready", info)
            if reason:
                return str(reason)
        return ""

    def decide(self) -> bool:
        """Return whether a hook, on whatever rank, has a say between the sums of gradients and the update."""
        return any(hook.decides for hook, _ in overriding(self._all, "gradients_ready"))

    def exception(self, info: StepInfo, error: BaseException) -> None:
        """Call the method of that name of each hook; further errors become notes of ``error``."""
        for hook, method in self._methods["exception"]:
            try:
                method(info, error)
            except Exception as another:
                error.add_note(str(_named(another, hook, "exception", info)))


def overriding(hooks: Sequence[Hook], event: str) -> list[tuple[Hook, Callable[..., Any]]]:
    """Return the hooks that override the method ``event``, each with that method."""
    return [(hook, getattr(hook, event)) for hook in hooks if getattr(type(hook), event) is not getattr(Hook, event)]


def _fail(error: Exception, hook: Hook, event: str, info: StepInfo) -> NoReturn:
    """Raise ``error`` with the name of a user's hook; errors of built-in hooks need no name."""
    named = _named(error, hook, event, info)
    if named is error:
        raise error
    raise named from error


def _named(error: Exception, hook: Hook, event: str, info: StepInfo) -> Exception:
    from ...comm.elastic import Failure

    if type(hook).__module__.partition(".")[0] == OURS or isinstance(error, Failure):
        return error
    name = f"the hook {type(hook).__name__}"
    if isinstance(error, AgreedError):
        return AgreedError(f"{name}: {error}", error.code)
    where = f"in {event}, step {info.step}"
    if isinstance(error, UserError):
        return HookError(f"{name}: {error} ({where})")
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return HookError(f"{name} failed {where}: {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})")
