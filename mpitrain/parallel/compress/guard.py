"""Errors of a codec in a user's file: one sentence with its name and line instead of a traceback."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ...comm.elastic import Failure
from ...errors import UserError
from ...user_code import describe, line_in
from .codec import BucketPlan, Codec, Span, Stage, Wire

T = TypeVar("T")
OURS = __name__.partition(".")[0]


def plan_guarded(codec: Codec, text: str, span: Span, wire: Wire) -> BucketPlan:
    """Return the codec's plan of a bucket; where the codec is a user's, its errors become a UserError."""
    if type(codec).__module__.partition(".")[0] == OURS:
        return codec.plan(span, wire)
    plan = _call(codec, text, partial(codec.plan, span, wire))
    stages = [Stage(partial(_call, codec, text, stage.work), stage.request) for stage in plan.stages]
    return BucketPlan(stages, partial(_call, codec, text, plan.end), plan.message_bytes)


def _call(codec: Codec, text: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except (UserError, Failure):
        raise
    except Exception as error:
        where = line_in(inspect.getfile(type(codec)), error.__traceback__)
        raise UserError(f"the codec {text} failed: {describe(error)}{where}") from error
