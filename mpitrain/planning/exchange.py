"""Seconds of gradients, gathered weights and the update that compute does not hide."""

import math

from .compute import Compute, Times
from .memory import BUCKET
from .messages import Messages
from .strategy import Strategy

DATA_AXES = ("data", "space", "context")
"""Axes over which gradients are summed, and whose ranks share by ZeRO; samples are divided by axis expert, too."""


class Exchange:
    """Prices of what happens between backward and the next forward.

    Parameters
    ----------
    messages : Messages
    compute : Compute
    slots : float
        Numbers that the optimizer keeps of each parameter.
    """

    def __init__(self, messages: Messages, compute: Compute, slots: float):
        self.messages, self.compute, self.slots = messages, compute, slots
        self.overlap = messages.machine.overlap

    def parts(self, strategy: Strategy, parameters: float, slowest: Times) -> dict[str, float]:
        """Return the seconds of "gradients", "weights" and "update".

        Parameters
        ----------
        parameters : float
            Of the rank that has most of them.
        slowest : Times
            Of one microbatch on the slowest rank.

        Notes
        -----
        Gradients go while the last microbatch is in backward, all but the last bucket; with ZeRO 2 and 3 those of each
        microbatch go. Weights are gathered before forward, with ZeRO 3 before forward and backward of each microbatch.
        """
        shares = math.prod(getattr(strategy, axis) for axis in DATA_AXES)
        precision = self.compute.precision
        update = self.compute.update(parameters / (shares if strategy.shard else 1), self.slots)
        found = {"gradients": 0.0, "weights": 0.0, "update": update}
        if shares * strategy.expert == 1 or not parameters:
            return found
        axes, price = [*DATA_AXES, "expert"], self.messages.seconds
        backward, m = slowest.dx + slowest.dw, strategy.microbatches
        kind = "reduce_scatter" if strategy.shard else "all_reduce"
        num_bytes = parameters * precision.gradients
        whole = price(kind, strategy, axes, num_bytes)  # type: ignore[arg-type]
        buckets = max(1, math.ceil(num_bytes / BUCKET))
        early = whole * (buckets - 1) / buckets
        gather = price("all_gather", strategy, axes, parameters * precision.weights) if strategy.shard else 0.0
        if strategy.shard == 3:  # both ways share the time of backward
            found["weights"] = m * self._left(gather, slowest.forward) + (m - 1) * self._left(gather, backward)
            both = self._left(gather + early, backward)
            found["weights"] += both * gather / (gather + whole)
            found["gradients"] = both * whole / (gather + whole) + whole - early
            if m > 1:
                more = max(0.0, backward - self.overlap * gather)
                found["gradients"] += (m - 1) * self._left(whole, more)
            return found
        found["gradients"] = self._left(early, backward) + whole - early
        if strategy.shard == 2:
            found["gradients"] += (m - 1) * self._left(whole, backward)
        found["weights"] = gather
        return found

    def _left(self, seconds: float, work: float) -> float:
        """Return what is left of messages when the work is done beside which they may go."""
        return seconds - min(self.overlap * seconds, work)
