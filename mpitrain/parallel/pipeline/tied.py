"""Weights that stages on several ranks share: each of these ranks has a copy, and the sum of all their gradients.

They are summed when the tasks of a step are done, before ranks with the same stages sum theirs, so that all copies are
updated alike.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...comm.channel import Channel
from ...device import Device
from ...layers import Layer
from ...parameter import Parameter


class Tied(NamedTuple):
    """A parameter that stages on several ranks share.

    Attributes
    ----------
    name : str
        Its first name in the model.
    parameter : Parameter
    ranks : tuple of int
        Ranks of the pipeline that have it, that of the first stage first.
    """

    name: str
    parameter: Parameter
    ranks: tuple[int, ...]


def find_tied(stages: Sequence[Layer], rank_of: Sequence[int]) -> list[Tied]:
    """Return the parameters that stages on several ranks share and train, in forward order.

    Parameters
    ----------
    stages : sequence of Layer
        All stages of the model.
    rank_of : sequence of int
        The rank of each.
    """
    found: dict[int, Tied] = {}
    for stage, rank in zip(stages, rank_of, strict=True):
        for name, parameter in stage.named_parameters():
            before = found.get(id(parameter), Tied(name, parameter, ()))
            found[id(parameter)] = before._replace(ranks=tuple(dict.fromkeys([*before.ranks, rank])))
    return [tied for tied in found.values() if len(tied.ranks) > 1 and not tied.parameter.frozen]


def keep_own_uses(tied: Tied, stages: Sequence[Layer], own: Sequence[Layer]) -> None:
    """Set the writes of the gradient in each backward to those by the stages of this rank, a part of all stages."""
    everywhere, here = (
        sum(parameter is tied.parameter for stage in some for _, parameter in stage.named_parameters())
        for some in (stages, own)
    )
    tied.parameter.uses = max(1, tied.parameter.uses * here // everywhere)


class TiedGradients:
    """Sums the gradients of tied parameters over the ranks that have them.

    Parameters
    ----------
    tied : sequence of Tied
        All of the model; all ranks of the pipeline take part, also those that have none.
    channel : Channel
    device : Device
    tag : callable(number) -> int
        Of each tied parameter.
    """

    def __init__(self, tied: Sequence[Tied], channel: Channel, device: Device, tag: Callable[[int], int]):
        self._channel, self._device, rank = channel, device, channel.group.rank
        self._own = [(tag(number), one) for number, one in enumerate(tied) if rank in one.ranks]
        self._memory: dict[tuple[str, int], Any] = {}

    def begin(self) -> None:
        """Begin a step: their gradients are not complete before ``finish``."""
        for _, one in self._own:
            one.parameter.expect_another()

    def finish(self) -> None:
        """Sum the gradients, which all tasks have written, and report that they are complete."""
        for tag, one in self._own:
            self._sum(tag, one)
            one.parameter.written()

    def _sum(self, tag: int, tied: Tied) -> None:
        channel, rank, grad, name = self._channel, self._channel.group.rank, tied.parameter.grad, tied.name
        if not tied.parameter.accumulate:  # no microbatch has written it
            grad.fill(0)
        others = [peer for peer in tied.ranks if peer != rank]
        theirs = {peer: self._buffer(name, peer) for peer in others}
        messages: list[Any] = [
            *(channel.receive(theirs[peer], peer, tag, f"gradient of {name} from place {peer}") for peer in others),
            *(channel.send(grad, peer, tag, f"gradient of {name} to place {peer}") for peer in others),
        ]
        for message in messages:
            message.wait()
        first, *rest = [grad if peer == rank else theirs[peer] for peer in tied.ranks]  # the same order on all
        total = self._buffer(name, rank)
        self._device.compute.copy(total, first)
        for part in rest:
            np.add(total, part, out=total)
        self._device.compute.copy(grad, total)

    def _buffer(self, name: str, rank: int) -> Any:
        """Return memory for the gradient that comes from a rank; that of this rank is for the sum."""
        key = name, rank
        if key not in self._memory:
            like = next(one.parameter.grad for _, one in self._own if one.name == name)
            self._memory[key] = self._device.empty(like.shape, like.dtype)
        return self._memory[key]
