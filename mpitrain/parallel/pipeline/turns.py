"""Messages of a pipeline in one order of all, for channels that follow one: each rank's turns in a step."""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence

from ...comm.channel import Channel
from ...comm.schedule.message import Turn
from ...pipelines import Handover, in_one_order, simulate, wave
from .boxes import AHEAD
from .stages import Stages

KEPT = 8  # lists of numbers of samples whose turns are kept: those of full batches, and of the last ones


class Turns:
    """Tells a channel which messages a step has, if the channel follows an order.

    Parameters
    ----------
    stages : Stages
    channel : Channel
    """

    def __init__(self, stages: Stages, channel: Channel):
        self._stages, self._channel = stages, channel
        self._step = functools.lru_cache(KEPT)(self._of_step)
        self._forward = functools.lru_cache(KEPT)(self._of_forward)

    def begin_step(self, sizes: Iterable[int]) -> None:
        """Begin a step of training whose microbatch m has ``sizes[m]`` samples."""
        if self._channel.follows_order:
            self._channel.begin(self._step(tuple(sizes)))

    def begin_forward(self, sizes: Iterable[int]) -> None:
        """Begin forward passes of batches of so many samples each."""
        if self._channel.follows_order:
            self._channel.begin(self._forward(tuple(sizes)))

    @functools.cached_property
    def _order(self) -> list[Handover]:
        order = in_one_order(simulate(self._stages.program), AHEAD)
        return [one for one in order if one.made.kind == "F" or self._stages.returns[one.made.stage]]

    def _of_step(self, sizes: Sequence[int]) -> list[Turn]:
        stages = self._stages
        found = []
        for one in self._of_rank(self._order):
            kind, stage, m = one.taken
            what = "activation" if kind == "F" else "gradient"
            label = f"{what} of microbatch {m} from stage {one.made.stage}"
            found.append(self._turn(one, stages.tags(kind, stage)(m), sizes[m], label))
        return [*found, *self._of_tied()]

    def _of_tied(self) -> Iterator[Turn]:
        """Yield the turns of the gradients of tied parameters, which follow all tasks: see ``TiedGradients``."""
        rank = self._stages.rank
        for number, one in enumerate(self._stages.tied):
            pairs = ((sender, receiver) for sender in one.ranks for receiver in one.ranks if sender != receiver)
            for sender, receiver in pairs:
                if rank in (sender, receiver):
                    tag, label = self._stages.tied_tag(number), f"gradient of {one.name} from place {sender}"
                    outgoing, peer = sender == rank, receiver if sender == rank else sender
                    yield Turn(outgoing, peer, tag, one.parameter.grad.nbytes, label)

    def _of_forward(self, sizes: Sequence[int]) -> list[Turn]:
        found = []
        for one in self._of_rank(in_one_order(wave(self._stages.program, len(sizes)), AHEAD)):
            number, stage = one.taken.microbatch, one.taken.stage
            label = f"activation of batch {number} from stage {one.made.stage}"
            found.append(self._turn(one, self._stages.forward_tag(stage), sizes[number], label))
        return found

    def _of_rank(self, order: Iterable[Handover]) -> Iterator[Handover]:
        return (one for one in order if self._stages.rank in (one.sender, one.receiver))

    def _turn(self, one: Handover, tag: int, num_samples: int, label: str) -> Turn:
        border = self._stages.borders[min(one.made.stage, one.taken.stage)]
        num_bytes = border.count(num_samples) * math.prod(border.shape) * border.dtype.itemsize
        outgoing = one.sender == self._stages.rank
        return Turn(outgoing, one.receiver if outgoing else one.sender, tag, num_bytes, label)
