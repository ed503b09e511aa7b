"""Gradient hook: a user's function sums the gradients over the ranks, a bucket at a time (``--gradient-hook``).

    def exchange(group, gradient, step, state):
        group.all_reduce(gradient, "ring")

The function must leave the sum over the ranks in ``gradient`` (n,), or return it. It is called on all ranks for the
same buckets in the same order, while backward still runs. ``state`` is a dict of the bucket, empty at first, which is
kept from step to step (but not in checkpoints). Its results are compared in every step: a few numbers about them travel
with the sums of the step.
"""

import functools
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arena import Arena
from ..comm.elastic import Failure
from ..comm.group import Group
from ..errors import AgreedError, UserError
from ..plain_text import binary_size
from ..registry import Registry
from ..step_header import StepHeader
from ..user_code import code_of, describe, line_in
from .buckets import BucketQueue, cut_buckets, find_gaps
from .gradient_sync import PlannedSync, WholeUpdateSync

Exchange = Callable[[Group, np.ndarray, int, dict[str, Any]], np.ndarray | None]

GRADIENT_HOOKS: Registry[Any] = Registry("gradient hook", {}, arguments=("group", "gradient", "step", "state"))

REMAINDERS = (61, 59)  # of a checksum: the sums of their squares are exact in float32 for thousands of ranks
OUTPUTS = 4096  # the unit in which ranks with results that are not finite are counted, beside those with gradients


def make_gradient_hook(text: str) -> Exchange:
    """Return the function that ``text`` selects, FILE.py:FUNC or FILE.py:FUNC:key=value, with its options.

    Raises
    ------
    UserError
        If there is none.
    """
    function, _, options = GRADIENT_HOOKS.find(text)
    return functools.partial(function, **options) if options else function


class GradientHookSync(WholeUpdateSync, PlannedSync):
    """Synchronization by a user's function.

    Parameters
    ----------
    arena : Arena
        Of the host.
    group : Group
    exchange : callable(group, gradient, step, state)
    text : str
        The function as the user named it.
    bucket_bytes : int
    """

    def __init__(self, arena: Arena, group: Group, exchange: Exchange, text: str, bucket_bytes: int):
        self.buckets = cut_buckets(arena, bucket_bytes)
        self.algorithms, self.reasons = [text], list[str]()
        self._text = text
        spans = [slice(max(b.start, StepHeader.SIZE), b.stop) for b in self.buckets]
        self._calls = [
            _BucketCall(self, group, exchange, arena.gradients[span], find_gaps(arena.parameters, span))
            for span in spans
        ]
        self._header = group.plan_all_reduce(arena.header, "native", what="sums of the step")
        WholeUpdateSync.__init__(self, arena)
        queue = BucketQueue(self.buckets, self._calls)
        PlannedSync.__init__(self, arena, group, [self._header], queue)

    def fail(self, problem: str) -> UserError:
        """Return the error for a problem of the function on this rank."""
        return UserError(f"the gradient hook {self._text} {problem} in step {self.step + 1}")

    def finish(self) -> None:
        """Call the function for the last buckets; compare its results over the ranks."""
        self._queue.finish()
        checksum = functools.reduce(lambda crc, call: zlib.crc32(call.gradient.data, crc), self._calls, 0)
        before, after = (any(getattr(call, name) for call in self._calls) for name in ("bad_before", "bad_after"))
        numbers = [checksum % modulus for modulus in REMAINDERS]
        facts = [*numbers, *(number * number for number in numbers), before + OUTPUTS * after]
        header = self._arena.header[StepHeader.RESULTS]
        header[:] = facts
        self._header.start()
        self._header.wait()
        sums, size = header.tolist(), self._group.size
        header[:] = 0
        outputs, inputs = divmod(int(sums[4]), OUTPUTS)
        if outputs and not inputs:
            raise AgreedError(str(self.fail("has made a NaN or an infinity of finite gradients")))
        pairs = zip(sums[:2], sums[2:4], strict=True)  # equal numbers alone have a sum whose square is P squares' sum
        if not outputs and any(size * squares != total * total for total, squares in pairs):
            raise AgreedError(self._difference(checksum))

    def _difference(self, checksum: int) -> str:
        checksums: list[int] = self._group.all_gather(checksum)
        usual = max(checksums, key=checksums.count)
        odd = next(rank for rank, each in enumerate(checksums) if each != usual)
        names = self._group.name_of(odd), self._group.name_of(checksums.index(usual))
        return str(self.fail(f"has left other sums on {names[0]} than on {names[1]}"))

    def describe(self) -> str:
        """Return a description in a few words."""
        size = binary_size(self._arena.gradients.nbytes)
        return f"{self._text}, {size} in {len(self.buckets)} bucket{'s' * (len(self.buckets) > 1)}"


class _BucketCall:
    """The calls of the function for one bucket, as a request that is done when it is started."""

    algorithm, messages, bytes_sent, result = "hook", 0, 0, None

    def __init__(
        self, sync: GradientHookSync, group: Group, exchange: Exchange, gradient: np.ndarray, gaps: list[slice]
    ):
        self._sync, self._group, self._exchange, self.gradient, self._gaps = sync, group, exchange, gradient, gaps
        self._state: dict[str, Any] = {}
        self.bad_before = self.bad_after = False

    def start(self) -> None:
        """Call the function, and take the array that it may return."""
        gradient = self.gradient
        self.bad_before = not np.isfinite(gradient).all()
        try:
            returned = self._exchange(self._group, gradient, self._sync.step, self._state)
        except (AgreedError, Failure):  # a rank that is lost is no fault of the function
            raise
        except (Exception, SystemExit) as error:
            code = code_of(self._exchange)
            where = line_in(code.co_filename, error.__traceback__) if code is not None else ""
            raise self._sync.fail(f"failed: {describe(error)}{where}") from error
        if returned is not None and returned is not gradient:
            self._take(returned)
        for gap in self._gaps:
            gradient[gap] = 0
        self.bad_after = not np.isfinite(gradient).all()

    def _take(self, returned: Any) -> None:
        kind = f"{returned.dtype} {returned.shape}" if isinstance(returned, np.ndarray) else type(returned).__name__
        wanted = f"{self.gradient.dtype} {self.gradient.shape}"
        if kind != wanted:
            raise self._sync.fail(f"has returned {kind}, but must return None or {wanted},")
        self.gradient[...] = returned

    def poll(self) -> bool:
        """Return True."""
        return True

    def wait(self) -> None:
        """Return at once."""

    def free(self) -> None:
        """Forget the state."""
        self._state.clear()
