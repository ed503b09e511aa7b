"""Data parallelism: every rank has the whole model and a part of each batch; gradients are summed over the ranks.

Each rank's gradient is a sum over its own samples, not a mean, so ranks with more samples weigh more and a rank
without any adds zeros: the sum over ranks, divided once by the total weight, is the gradient of the global batch
whatever the shares are.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from ..arena import Arena
from ..comm.group import Group
from ..comm.world import World, data_group
from ..device import device_of
from ..errors import AgreedError
from ..layers import BatchNorm2d, Layer
from ..layers.base import summing_layers
from ..losses import Totals
from ..optim import Optimizer, QueuedNorm
from ..parameter import Parameter
from ..run_rules import EVERY_STEP
from ..step_header import StepHeader
from .gradient_sync import WholeUpdateSync
from .make_sync import make_gradient_sync
from .part_sums import PartSums
from .roles import Roles
from .row_updates import RowUpdates
from .weights_alike import model_difference, weight_difference


class Step:
    """A step of a user's training loop.

    Attributes
    ----------
    totals : Totals
        Weight, loss and correct predictions over all ranks, once the step is done.
    """

    def __init__(self, arena: Arena):
        self._arena = arena
        self.totals = Totals(0.0, 0.0, 0.0)

    def add(self, totals: Any) -> None:
        """Add the totals of a microbatch: what ``Loss.forward`` returns."""
        self._arena.add_totals(totals)

    def finish(self) -> None:
        """Read the sums over all ranks."""
        sums = StepHeader.read(self._arena.header)
        self.totals = Totals(sums.weight, sums.loss, sums.correct)


class DataParallel:
    """Data-parallel model: sums gradients over the ranks and updates their equal copies of the weights.

    Parameters
    ----------
    model : Layer
    arena : Arena
        Arena of ``model``; all ranks get rank 0's values and states, and the copies are compared.
    group : Group or World
        Ranks among which the samples are divided.
    all_reduce : str
        As in ``Group.plan_all_reduce``: a name, or FILE.py:FUNC.
    shard : str
        "optimizer": each rank updates its share of the weights and keeps the slots of that share only (ZeRO stage 1);
        "gradients": it keeps its share of their sums only, too (stage 2); "weights": and of the weights (stage 3), so
        that all ranks must read parameters in the same order, and ``whole_weights`` gives all of them;
        "none": every rank updates all; "auto": shares in the memory of one node, if ``all_reduce`` is "auto" too.
    gather_weights : str
        With ``shard="weights"``: "once" keeps the weights that forward has gathered until the step ends, "twice"
        gathers them again for backward, "auto" keeps them where there is memory.
    bucket_bytes : int
    synchronize_batch_norm : bool
        Take batch statistics over all ranks of ``group``.
    sync : str
        How the ranks keep their weights together: by sums of the gradients in every step, or by a method in which each
        rank makes steps of its own (``sync.methods``): ``local:steps=16``.
    roles : Roles, optional
        Groups of the mesh, where ranks have different parts of a model: totals, requests and the norm of the gradient
        are summed over them, too. ``group`` is ``roles.sums`` then.
    compress : str
        Codec of the gradients on their way between the ranks, as in ``compress.registry``: its error feedback needs
        the weight of the step in the arena's header (``Step.add``).
    gradient_hook : str
        FILE.py:FUNC of a function that sums the gradients, see ``gradient_hook.py``; empty for none.
    copies : sequence of Parameter
        Those that another stage has, too, and counts in the norm.

    Attributes
    ----------
    algorithms : sequence of str
        The all-reduce of each bucket; "shared" where the update is sharded in the memory of one node.
    reasons : list of str
        Why ``auto`` took them; empty if it was not asked.
    every_step : bool
        True if the ranks sum their gradients in every step.
    meets : bool
        True if they meet in the step in progress; see ``GradientSync.meets``.
    sync_seconds : float
        Time since the caller last set it to 0 in ``finish``, ``norm``, sums of batch statistics and between layers:
        waiting for other ranks and for messages that backward did not hide.
    on_timed : callable(name, begin, end) or None
        Called with the times of norms and updates, in seconds of ``time.perf_counter``.
    """

    def __init__(
        self,
        model: Layer,
        arena: Arena,
        group: Group | World,
        *,
        all_reduce: str = "auto",
        shard: str = "auto",
        gather_weights: str = "auto",
        bucket_bytes: int = 25 << 20,
        synchronize_batch_norm: bool = True,
        compress: str = "none",
        gradient_hook: str = "",
        sync: str = EVERY_STEP,
        roles: Roles | None = None,
        copies: Sequence[Parameter] = (),
    ):
        self.arena = arena
        self.roles, self._waited = roles, 0.0
        self.group = group = data_group(group)
        self._same = group if roles is None else roles.same
        self.sync_seconds = 0.0
        self.on_timed: Callable[[str, float, float], None] | None = None
        self._signature = np.zeros(4, arena.dtype)
        self._num_steps = 0
        self.every_step = self.meets = sync == EVERY_STEP
        everything = (*arena.trained, *arena.frozen)
        self._end_together(model_difference(group, [(p.name, p.full_shape) for p in everything]))
        if arena.divided is None:
            self._same.broadcast(arena.values)
            arena.values_changed()
        self._same.broadcast(arena.states)
        self.verify("at the start")
        self.sync = make_gradient_sync(
            arena,
            group,
            all_reduce,
            shard,
            bucket_bytes,
            model=model,
            gather_weights=gather_weights,
            sync=sync,
            compress=compress,
            gradient_hook=gradient_hook,
            same=self._same,
        )
        self._sends_weights = type(self.sync).update is not WholeUpdateSync.update
        self._rows = RowUpdates(arena, self._same, roles) if arena.by_rows else None
        self._part_sums = None if roles is None or roles.parts.size == 1 else PartSums(roles, arena, self.sync, copies)
        self.algorithms, self.reasons = self.sync.algorithms, self.sync.reasons
        self.buckets = self.sync.buckets
        self._local_statistics = not synchronize_batch_norm
        arena.on_ready = self.sync.ready if self.sync.watches_gradients else None
        for layer in summing_layers(model):
            is_norm = isinstance(layer, BatchNorm2d)
            sums = group.size > 1 and (synchronize_batch_norm or not is_norm)
            if self.sync.own_step and sums:
                what, instead = ("batch normalization takes statistics", "--batch-norm local")
                if not is_norm:
                    what, instead = ("the router of experts counts tokens", "balance=none of the model")
                raise AgreedError(
                    f"--sync {sync} lets ranks go on without each other, and {what} over all of them in every step: "
                    f"take {instead}"
                )
            layer.sum_over_ranks = self._sum_statistics if sums else None

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends for the gradients of one step."""
        return self.sync.bytes_per_step

    @property
    def messages_per_step(self) -> float:
        """Messages that this rank sends for the gradients of one step (calls, where MPI does it)."""
        return self.sync.messages_per_step

    def begin(self, microbatches: int = 1, *, step: int | None = None, meet: bool = False) -> None:
        """Begin a step of ``microbatches`` backward passes; header sums must be set before the last one.

        Parameters
        ----------
        step : int, optional
            The step of the run, counted from 1; by default one more than the last.
        meet : bool
            Have equal weights on all ranks after the step, before an evaluation or the end, whatever the method says.
        """
        self._num_steps = self._num_steps + 1 if step is None else step
        self.sync.step = self._num_steps - 1
        if not self.every_step:
            self.sync.prepare(self._num_steps, meet)
            self.meets = self.sync.meets
        self.sync.begin(microbatches)
        self.arena.begin_step(1 if self.sync.each_pass else microbatches)
        if self.roles is not None:
            self._waited = self.roles.waited
        if self.group.size > 1:
            self._sign()

    def queued_norm(self) -> QueuedNorm | None:
        """Return the norm that each ``finish`` queues where all ranks update all weights on a device in every step.

        None where the update needs more of the host than the header that it waits for.
        """
        sync = self.sync
        plain = self.every_step and not sync.each_pass and self._rows is None and self._part_sums is None
        if not (plain and isinstance(sync, WholeUpdateSync) and type(sync).update is WholeUpdateSync.update):
            return None
        return sync.queued_norm if type(sync).skip is WholeUpdateSync.skip else None

    def finish(self, meanwhile: Callable[[], None] | None = None) -> None:
        """End the backward of a step: return when the arena's header holds its sum over all ranks, of all stages.

        So do the gradients, if all ranks update all weights; in shards, that is left to ``norm`` or ``update``.
        ``meanwhile`` is called when a device has been asked for all that, before the host waits for it.
        """
        if not self.sync.each_pass:
            self.arena.end_backward()
        begin = time.perf_counter()
        self.sync.finish()
        if not self.arena.on_host:
            self.arena.get_header(meanwhile)
        differs = self.group.size > 1 and self._signatures_differ()
        if self._rows is not None:
            self._rows.sum()
        if self._part_sums is not None:
            differs = self._part_sums.sum(differs, 0.0 if self._rows is None else self._rows.squares())
        self.sync_seconds += time.perf_counter() - begin
        if self.roles is not None:
            self.sync_seconds += self.roles.waited - self._waited
        if self.sync.each_pass:
            self.sync_seconds += self.sync.take_seconds()
        if differs:
            self._end_together(self._history_difference())

    @contextmanager
    def step(self, microbatches: int = 1, *, meet: bool = False) -> Iterator["Step"]:
        """Enclose the forward and backward passes of a step; when it is left, gradients and totals are summed.

        ``meet`` is that of ``begin``. With a ``sync`` in which ranks make steps of their own, totals are this rank's in
        between, and at a meeting those of all ranks since the last one; divide by ``divisor``.

        >>> # with parallel.step() as step:
        >>> #     step.add(loss.forward(model.forward(x, ctx), y, ctx))
        >>> #     model.backward(loss.backward(ctx), ctx)
        >>> # parallel.update(optimizer, lr, scale=1 / step.totals.weight)
        """
        self.begin(microbatches, meet=meet)
        step = Step(self.arena)
        yield step
        self.finish()
        step.finish()

    def divisor(self, weight: float) -> float:
        """Return what the gradients are divided by: ``weight``, the step's, or in a step of a rank's own that of it."""
        return self.sync.divisor(weight)

    def norm(self) -> float:
        """Return the Euclidean norm of the summed gradients, on all ranks (in a step of a rank's own, of that rank)."""
        if self._part_sums is not None:
            return self._part_sums.norm
        begin = time.perf_counter()
        norm = self.sync.norm()
        if self._rows is not None:
            norm = math.hypot(norm, math.sqrt(self._rows.squares()))
        end = time.perf_counter()
        self.sync_seconds += end - begin
        if self.on_timed is not None:
            self.on_timed("norm of the gradient", begin, end)
        return norm

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update the weights from the summed gradients times ``scale``; every rank calls it, or no rank does."""
        begin = time.perf_counter()
        self.sync.update(optimizer, lr, scale)
        if self._sends_weights:
            self.arena.values_changed()
        if self._rows is not None:
            self._rows.update(optimizer, lr, scale)
        end = time.perf_counter()
        if self.sync.own is not None:  # it waits for the other ranks' shares
            self.sync_seconds += end - begin
        if not self.every_step:
            self.sync_seconds += self.sync.take_seconds()
        if self.on_timed is not None:
            self.on_timed("update", begin, end)

    def _sum_statistics(self, array: np.ndarray) -> np.ndarray:
        """Sum batch statistics over the ranks; waiting for them is no work of this rank."""
        device_of(array).synchronize_current()  # as the sum would do: what is left of the time is the sum
        begin = time.perf_counter()
        total = self.group.sum(array)
        self.sync_seconds += time.perf_counter() - begin
        return total

    def skip(self) -> None:
        """End a step without an update; every rank calls it, or no rank does, but in steps of their own."""
        self.sync.skip()
        if self._sends_weights:
            self.arena.values_changed()
        self.sync_seconds += self.sync.take_seconds()

    def gather_slots(self, optimizer: Optimizer) -> None:
        """Complete all slots of the optimizer on every rank, for checkpoints."""
        for slot in optimizer.slots.values():
            self.sync.gather(slot)

    def _end_together(self, problem: str) -> None:
        """Raise an AgreedError if this part has a problem, which all of its ranks know, or another one has."""
        problems = [problem] if self.roles is None else self.roles.everyone.all_gather(problem)
        if any(problems):
            raise AgreedError(next(filter(None, problems)), code=1)

    def _sign(self) -> None:
        """Put this rank's fingerprint of all collectives so far into the header, in numbers whose sums are exact."""
        fingerprint = self.group.fingerprint
        self._signature[:] = 1, fingerprint & 255, fingerprint >> 8 & 255, fingerprint >> 16 & 255
        self.arena.header[StepHeader.SIGNATURE] = self._signature

    def _signatures_differ(self) -> bool:
        """Return whether the ranks have not called the same collectives: asked before their results are used."""
        sums = self.arena.header[StepHeader.SIGNATURE].copy()
        self.arena.header[StepHeader.SIGNATURE] = 0
        return not np.array_equal(sums, sums[0] * self._signature)

    def _history_difference(self) -> str:
        """Return the first call that differs; "" if there is none."""
        try:
            self.group.check_history()
        except AgreedError as error:
            return str(error)
        return ""

    def whole_weights(self, *, here: bool = True) -> AbstractContextManager[None]:
        """Have all weights in the arena in a ``with`` block, on ranks with ``here``; all ranks enter it together."""
        return nullcontext() if self.arena.divided is None else self.sync.whole_weights(here=here)

    def average_states(self) -> None:
        """Average running statistics over the ranks, if each rank has its own."""
        if self._local_statistics and self.arena.states.size:
            self.group.sum(self.arena.states)
            self.arena.states /= self.group.size

    def verify(self, when: str) -> None:
        """Compare a hash of the weights over all ranks; where CPUs and GPUs work together, make them equal instead.

        Raises
        ------
        AgreedError
            Names the first rank and parameter that differ from most ranks.
        """
        divided = self.arena.divided is not None  # no two ranks have the same part
        if self.group.mixed and not divided:  # a CPU and a GPU round their updates differently: rank 0's weights count
            self._same.broadcast(self.arena.values)
            self.arena.values_changed()
        self._end_together("" if self.group.mixed or divided else self._weight_difference(when))

    def _weight_difference(self, when: str) -> str:
        """Return which weights differ over ranks that have the same ones, "" if they are equal."""
        arena, roles = self.arena, self.roles
        parameters = [*arena.trained, *arena.frozen]
        found = weight_difference(self._same, when, parameters, arena.values)
        for axis in ("tensor", "expert") if roles is not None else ():
            assert roles is not None
            group = roles.mesh[axis]
            if group.size > 1:
                whole = [p for p in parameters if p.shard is None or p.shard.axis != axis]
                found = weight_difference(group, when, whole) or found
        return found

    def free(self) -> None:
        """Free MPI resources: requests, and shared memory (the arena moves out of it)."""
        self.sync.free()
        if self._rows is not None:
            self._rows.free()
        self.arena.on_ready = None
