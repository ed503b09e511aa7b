"""Ranks that a scheduler of requests can be tried on."""

import asyncio

import numpy as np

from mpitrain.serving.metrics import Metrics
from mpitrain.serving.replicas import Replicas
from mpitrain.serving.scheduler import Scheduler


class Ranks:
    """Rank 0's own loop, as the replicas see it."""

    def __init__(self):
        self.items = []
        self.put = self.items.append

    def send(self, item, rank, *, expects=False):
        self.items.append(item)

    def end(self):
        pass


def scheduled(test, numbers=(0,), **settings):
    """Run ``test(scheduler, items)`` in an event loop, with replicas of one rank each."""
    settings = {"max_batch": 4, "max_delay": 0.0, "max_queue": 10, "patience": 60.0} | settings

    async def main():
        ranks = Ranks()
        scheduler = Scheduler(Replicas([(k,) for k in numbers], numbers, ranks, ranks), Metrics(), **settings)
        scheduler.start()
        await test(scheduler, ranks.items)

    asyncio.run(main())


def rows(count, first=0):
    return np.arange(first, first + count, dtype=np.float64)[:, None]


async def turn():
    for _ in range(3):
        await asyncio.sleep(0)
