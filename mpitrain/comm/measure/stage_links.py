"""Measurement of messages between the stages of a pipeline: their time, and whether they move while a rank computes."""

import time
from dataclasses import dataclass

import numpy as np

from ..channel import Channel
from ..mesh import Mesh

NUM_BYTES = 1 << 20
BUSY = 0.02  # seconds for which a sender computes
REPEATS = 5


@dataclass(frozen=True)
class StageLinks:
    """Messages between neighboring stages, the slowest of all pairs.

    Attributes
    ----------
    seconds : float
        From the call of the sender until the receiver, which waits, has ``NUM_BYTES``.
    while_busy : float
        The same where the sender computes for ``BUSY`` seconds after its call.
    wrong : int
        Messages that did not arrive as they were sent.
    """

    seconds: float
    while_busy: float
    wrong: int


def survey_stages(mesh: Mesh) -> StageLinks:
    """Return the measurements of a mesh (collective); every stage sends to the next one, pair after pair."""
    pipe, wrong = mesh["pipe"], 0
    channel = Channel(pipe)
    times = np.zeros((pipe.size - 1, 2))
    for stage in range(pipe.size - 1):
        for busy in (False, True):
            seen = []
            for repeat in range(REPEATS):
                pipe.barrier()
                begin = time.perf_counter()
                if pipe.rank == stage:
                    message = channel.send(_contents(repeat), stage + 1, 0, f"test message to stage {stage + 1}")
                    while busy and time.perf_counter() < begin + BUSY:
                        pass
                    message.wait()
                elif pipe.rank == stage + 1:
                    x = np.empty(NUM_BYTES, np.uint8)
                    channel.receive(x, stage, 0, f"test message from stage {stage}").wait()
                    seen.append(time.perf_counter() - begin)
                    wrong += not np.array_equal(x, _contents(repeat))
            if pipe.rank == stage + 1:
                times[stage, int(busy)] = np.median(seen)
    channel.free()
    everyone = mesh.over("data", "pipe")
    everyone.maximum(times)
    total = int(everyone.sum(np.array([wrong], np.float64))[0])
    return StageLinks(float(times[:, 0].max()), float(times[:, 1].max()), total)


def _contents(number: int) -> np.ndarray:
    return np.arange(number, number + NUM_BYTES).astype(np.uint8)
