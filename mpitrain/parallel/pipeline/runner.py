"""Runner of a pipeline schedule: the tasks of one rank, and the messages that follow from them.

    F   take the activation of the stage before, compute, send the result to the stage after
    B   take the gradient from the stage after, compute dx (and dw, or put it off), send dx to the stage before
    W   compute dw

Receives are posted ahead, into memory of their own, and sends end without this rank's waiting for them, so a schedule
that passes the check cannot hang, whatever the timing. Gradients are added in the order of the tasks: where that is the
order of the microbatches, they have the bits of one rank that accumulates the same microbatches.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...comm.channel import Channel
from ...comm.schedule.message import Message
from ...context import Context
from ...data.loader import Batch
from ...device import Event
from ...head_loss import split_head
from ...layers import Layer, as_activations
from ...losses import Loss
from .boxes import Inbox, Item, Outbox, contiguous
from .stages import Stages, poll_between_layers
from .task_times import Span, TaskTimes
from .tied import TiedGradients
from .turns import Turns

Add = Callable[[Any], None]


class PipelineRunner:
    """Runs forward and backward of all microbatches of a step.

    Parameters
    ----------
    stages : Stages
    channel : Channel
        Between the ranks of the pipeline.
    loss : Loss
        Computed by the rank of the last stage.
    ctx : Context
        Context of the first microbatch; those of the others in flight share its memory of backward.
    begin : callable(microbatch), optional
        Called before each task.
    whole_outputs : bool
        Run the last layer and the loss one after the other also where they could be one (``split_head``), whose
        gradients are added in F: where the gradients of microbatches are not just added up.

    Attributes
    ----------
    tasks : list of Task
        Those of this rank, in their order.
    times : TaskTimes
        Of the tasks, by the clock of the device.
    """

    def __init__(
        self,
        stages: Stages,
        channel: Channel,
        loss: Loss,
        ctx: Context,
        begin: Callable[[int], object] = lambda microbatch: None,
        whole_outputs: bool = False,
    ):
        self.stages, self._begin = stages, begin
        contexts = _contexts(ctx)
        parts: dict[int, tuple[Layer, Loss]] = {stage: (part, loss) for stage, part in stages.own.items()}
        if stages.has_last and not whole_outputs:
            last = stages.num_stages - 1
            parts[last] = split_head(*parts[last])
        self.times = TaskTimes(stages.device)
        mark = self.times.mark
        runners = {stage: StageRunner(stages, stage, channel, *pair, contexts, mark) for stage, pair in parts.items()}
        for one in runners.values():
            one.connect(runners)
            poll_between_layers(one.part, channel.poll)
        self._tied = TiedGradients(stages.tied, channel, stages.device, stages.tied_tag)
        self._turns, self._channel = Turns(stages, channel), channel
        self._runners = list(runners.values())
        calls = {"F": StageRunner.forward, "B": StageRunner.backward, "W": StageRunner.weights}
        self.tasks = stages.program.tasks[stages.rank]
        self._calls = [(calls[task.kind], runners[task.stage], task) for task in self.tasks]
        self._record = channel.begin_task

    @property
    def waited(self) -> float:
        """Seconds for which this rank has waited for messages, in all."""
        return sum(inbox.waited for one in self._runners for inbox in one.inboxes)

    def run(self, batches: Sequence[Batch], step: int, add: Add) -> None:
        """Do forward and backward of ``batches``, one for each microbatch.

        Samples are used by the rank of the first stage and targets by that of the last one; all know their numbers.

        Parameters
        ----------
        batches : sequence of Batch
        step : int
            Counted from 0.
        add : callable(totals)
            Called with the totals of the loss of each microbatch.
        """
        start, spans = self.times.mark(), list[Span]()
        self._tied.begin()
        self._turns.begin_step(map(len, batches))
        for one in self._runners:
            one.begin(batches, step, add)
        for call, one, task in self._calls:
            self._begin(task.microbatch)
            self._record(task.kind, task.stage, task.microbatch)
            spans.append(call(one, task.microbatch))
        self._record("", 0, 0)
        self._tied.finish()
        for one in self._runners:
            one.finish()
        self._channel.catch_up()
        self.times.end_step(start, spans)


class Slot:
    """A microbatch in flight on a stage, from F to its last task there."""

    __slots__ = ("ctx", "sent", "taken")

    def __init__(self, ctx: Context):
        self.ctx = ctx
        self.taken: list[tuple[Inbox, Item]] = []
        self.sent: Message | None = None


class StageRunner:
    """Runs the tasks of one stage.

    Attributes
    ----------
    part : Layer
    activations, gradients : Inbox or None
        What F takes from the stage before and B from the one after; None where the stage takes none.
    """

    def __init__(
        self,
        stages: Stages,
        stage: int,
        channel: Channel,
        part: Layer,
        loss: Loss,
        contexts: Iterator[Context],
        mark: Callable[[], Event],
    ):
        self.part, self._stages, self._stage, self._channel = part, stages, stage, channel
        self._mark = mark
        self._loss, self._contexts, self._is_split = loss, contexts, stages.program.is_split
        own = [task for task in stages.program.tasks[stages.rank] if task.stage == stage]
        self._orders = {kind: [task.microbatch for task in own if task.kind == kind] for kind in "FB"}
        self._is_last = stage + 1 == stages.num_stages
        returned = not self._is_last and stages.returns[stage + 1]
        self.activations = self._inbox("F", stage - 1, "activation") if stage else None
        self.gradients = self._inbox("B", stage + 1, "gradient") if returned else None
        self._no_gradient = stages.device.empty((0, *stages.borders[stage].shape))
        self._outboxes: list[Outbox] = []
        self._hand_on: Callable[[int, Any], Message | None] | None = None
        self._hand_back: Callable[[int, Any], None] | None = None
        self._free: list[Slot] = []
        self._slots: dict[int, Slot] = {}

    def _inbox(self, kind: str, neighbor: int, what: str) -> Inbox:
        """Return the inbox for tasks of one kind, which take something from a neighboring stage."""
        stages, here = self._stages, self._stage
        peer, border, tags = (
            stages.program.rank_of[neighbor],
            stages.borders[min(neighbor, here)],
            stages.tags(kind, here),
        )
        label = f"{what} of microbatch {{}} from stage {neighbor}"
        return Inbox(self._channel, stages.device, peer, border, tags, label)

    def _outbox(self, kind: str, neighbor: int, what: str) -> Outbox:
        """Return an outbox to a neighboring stage, which takes what it gets for its tasks of one kind."""
        stages = self._stages
        peer, border = stages.program.rank_of[neighbor], stages.borders[min(neighbor, self._stage)]
        label = f"{what} of microbatch {{}} to stage {neighbor}"
        made = Outbox(self._channel, stages.device, peer, border, stages.tags(kind, neighbor), label)
        self._outboxes.append(made)
        return made

    def connect(self, runners: "dict[int, StageRunner]") -> None:
        """Connect this stage to its neighbors, of which ``runners`` has those on this rank."""
        before, after = runners.get(self._stage - 1), runners.get(self._stage + 1)
        if not self._is_last:
            inbox = None if after is None else after.activations
            self._hand_on = self._outbox("F", self._stage + 1, "activation").send if inbox is None else inbox.put
        if self._stages.returns[self._stage]:
            inbox = None if before is None else before.gradients
            self._hand_back = self._outbox("B", self._stage - 1, "gradient").send_copy if inbox is None else inbox.put

    @property
    def inboxes(self) -> list[Inbox]:
        """The inboxes that this stage has."""
        return [inbox for inbox in (self.activations, self.gradients) if inbox is not None]

    def begin(self, batches: Sequence[Batch], step: int, add: Add) -> None:
        """Begin a step."""
        self._batches, self._step, self._add = batches, step, add
        sizes = [len(batch) for batch in batches]
        for kind, inbox in (("F", self.activations), ("B", self.gradients)):
            if inbox is not None:
                inbox.begin(self._orders[kind], sizes)

    def forward(self, microbatch: int) -> Span:
        """Do the task F of a microbatch."""
        slot = self._slots[microbatch] = self._free_slot()
        batch, ctx = self._batches[microbatch], slot.ctx
        ctx.step, ctx.first = self._step, batch.first + self._first_of(len(batch))
        if self.activations is None:
            x = as_activations(self.part, batch.x, ctx) if self._stages.rounds_samples else batch.x
        else:
            x = self._take(self.activations, microbatch, slot)
        if self._stages.tokens is not None:
            ctx.tokens = self._stages.tokens.facts(batch.x)
        begin = self._mark()
        y = self.part.forward(x, ctx)
        if self._hand_on is None:
            self._add(self._loss.forward(y, batch.y, ctx))
        else:
            slot.sent = self._hand_on(microbatch, contiguous(y, self, ctx))
        return begin, self._mark()

    def _first_of(self, num_samples: int) -> int:
        """Return the first sample that this stage takes of a microbatch of so many."""
        return 0 if not self._stage else int(self._stages.borders[self._stage - 1].share(num_samples).start)

    def backward(self, microbatch: int) -> Span:
        """Do the task B of a microbatch, which leaves dw to W in a schedule that has W."""
        slot = self._slots[microbatch]
        ctx = slot.ctx
        dy = None if self.gradients is None else self._take(self.gradients, microbatch, slot)
        begin = self._mark()
        if self._is_split:
            ctx.later = []
        if self._is_last:
            dy = self._loss.backward(ctx)
        elif dy is None:
            dy = self._no_gradient
        dx = self.part.backward(dy, ctx)
        if self._hand_back is not None:
            self._hand_back(microbatch, contiguous(dx, self, ctx))
        if not self._is_split:
            self._release(microbatch)
        return begin, self._mark()

    def weights(self, microbatch: int) -> Span:
        """Do the task W of a microbatch."""
        begin, ctx = self._mark(), self._slots[microbatch].ctx
        for write in ctx.later or ():
            write()
        ctx.later = None
        self._release(microbatch)
        return begin, self._mark()

    def finish(self) -> None:
        """End a step: wait until all that this stage has sent is on its way."""
        for slot in self._free:
            if slot.sent is not None:
                slot.sent.wait()
        for outbox in self._outboxes:
            outbox.finish()

    def _take(self, inbox: Inbox, microbatch: int, slot: Slot) -> Any:
        item = inbox.take(microbatch)
        slot.taken.append((inbox, item))
        return item.array

    def _free_slot(self) -> Slot:
        if not self._free:
            return Slot(next(self._contexts))
        slot = self._free.pop()
        if slot.sent is not None:  # its forward writes where the message is read
            slot.sent.wait()
            slot.sent = None
        return slot

    def _release(self, microbatch: int) -> None:
        slot = self._slots.pop(microbatch)
        if slot.sent is not None and self.gradients is None:  # no gradient says that the next stage has the message,
            slot.sent.wait()  # and y may lie where x was received
        for inbox, item in slot.taken:
            inbox.release(item)
        slot.taken.clear()
        self._free.append(slot)


def _contexts(first: Context) -> Iterator[Context]:
    """Yield ``first``, and further contexts like it that share its memory of backward."""
    yield first
    while True:
        yield Context(seed=first.seed, dtype=first.dtype, device=first.device, share=first)
