"""Forward passes through the stages of a pipeline: for evaluation and prediction.

Batches follow each other as a wave (``pipelines.wave``).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...comm.channel import Channel
from ...comm.schedule.message import Message
from ...context import ForwardContext
from ...layers import Layer, as_activations, output_layer
from ...pipelines import wave
from .boxes import Inbox, Item, Outbox, contiguous
from .stages import Stages
from .turns import Turns

IN_TURN = 2  # contexts of a stage: one computes while the output of the other is sent


class PipelineForward:
    """Computes the outputs of a model in stages.

    Parameters
    ----------
    stages : Stages
    channel : Channel
        Between the ranks of the pipeline.
    """

    def __init__(self, stages: Stages, channel: Channel):
        self._stages, self._channel, self._turns = stages, channel, Turns(stages, channel)
        self._runners = {stage: _Stage(stages, stage, channel) for stage in stages.own}
        for stage, one in self._runners.items():
            one.connect(self._runners.get(stage + 1))

    @property
    def last(self) -> Layer | None:
        """The last stage, where this rank has it."""
        return self._stages.own.get(self._stages.num_stages - 1)

    def outputs(
        self, sizes: Sequence[int], samples: Callable[[int], Any], last: Layer | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yield (number, outputs) of each batch on the rank of the last stage, and nothing on the others.

        All ranks call this together and iterate to the end. Outputs are valid until the next ones.

        Parameters
        ----------
        sizes : sequence of int
            Samples of each batch.
        samples : callable(number) -> array
            Returns those of a batch on the device; called on ranks that take samples (``Stages.takes_samples``).
        last : Layer, optional
            Runs in place of the last stage: that stage without its last layer (``split_head``).
        """
        self._turns.begin_forward(sizes)
        for one in self._runners.values():
            one.begin(sizes)
        for _, stage, number in wave(self._stages.program, len(sizes)).program.tasks[self._stages.rank]:
            one = self._runners[stage]
            self._channel.begin_task("E", stage, number)
            y = one.forward(number, samples, last if one.is_last else None)
            self._channel.begin_task("", 0, 0)
            if one.is_last:
                self._channel.catch_up()  # the host is about to wait for y, and would not be watched
                yield number, y
        for one in self._runners.values():
            one.finish()
        self._channel.catch_up()


class _Stage:
    def __init__(self, stages: Stages, stage: int, channel: Channel):
        self.stage, self.is_last = stage, stage + 1 == stages.num_stages
        self._stages, self._channel, self._part = stages, channel, stages.own[stage]
        self._turns = [_Turn(ForwardContext(device=stages.device)) for _ in range(IN_TURN)]
        for turn in self._turns if self.is_last else ():
            turn.ctx.outputs_of = output_layer(self._part)
        self.inbox: Inbox | None = None
        if stage:
            peer, border, tag = stages.program.rank_of[stage - 1], stages.borders[stage - 1], self._tag(stage)
            label = f"activation of batch {{}} from stage {stage - 1}"
            self.inbox = Inbox(channel, stages.device, peer, border, tag, label)
        self._hand_on: Callable[[int, Any], Message | None] | None = None

    def _tag(self, stage: int) -> Callable[[int], int]:
        """Return the tag of all that ``stage`` takes: messages with one tag come in the order of the calls."""
        tag = self._stages.forward_tag(stage)
        return lambda number: tag

    def connect(self, after: "_Stage | None") -> None:
        """Connect this stage to the next one, given where it is on this rank."""
        if after is not None and after.inbox is not None:
            self._hand_on = after.inbox.put
        elif not self.is_last:
            stages, following = self._stages, self.stage + 1
            peer, border = stages.program.rank_of[following], stages.borders[self.stage]
            label = f"activation of batch {{}} to stage {following}"
            self._hand_on = Outbox(self._channel, stages.device, peer, border, self._tag(following), label).send

    def begin(self, sizes: Sequence[int]) -> None:
        """Begin with so many samples of each batch."""
        if self.inbox is not None:
            self.inbox.begin(range(len(sizes)), sizes)

    def forward(self, number: int, samples: Callable[[int], Any], instead: Layer | None = None) -> Any:
        """Return the output of this stage for a batch, and hand it on; it is valid until the one after the next."""
        part = self._part if instead is None else instead
        turn = self._turns[number % IN_TURN]
        turn.end()
        if self.inbox is None:
            x = samples(number)
            x = as_activations(part, x, turn.ctx) if self._stages.rounds_samples else x
        else:
            turn.item = self.inbox.take(number)
            turn.release, x = self.inbox.release, turn.item.array
            if self._stages.tokens is not None:
                turn.ctx.tokens = self._stages.tokens.facts(samples(number))
        y = contiguous(part.forward(x, turn.ctx), self, turn.ctx)
        if self._hand_on is not None:
            turn.sent = self._hand_on(number, y)
        return y

    def finish(self) -> None:
        """Wait until all is sent."""
        for turn in self._turns:
            turn.end()


class _Turn:
    """Memory of one of the batches that a stage has at a time: y may lie where x was received, as that of Flatten."""

    def __init__(self, ctx: ForwardContext):
        self.ctx = ctx
        self.sent: Message | None = None
        self.item: Item | None = None
        self.release: Callable[[Item], None] = lambda item: None

    def end(self) -> None:
        """Wait until y is sent, and give the memory of x back."""
        if self.sent is not None:
            self.sent.wait()
        if self.item is not None:
            self.release(self.item)
        self.sent = self.item = None
