"""Replicas: groups of ranks that have a model together, and the jobs that they compute."""

from collections.abc import Sequence
from typing import Any

from .courier import Courier
from .jobs import END, Cancel, Job
from .worker import InLoop, OwnPost


class Replica:
    """Some ranks that have one model together and compute one job at a time.

    Parameters
    ----------
    ranks : tuple of int
    leader : int
        The one of them that replies.

    Attributes
    ----------
    job : int or None
        The number of the job that it computes.
    since : float
        When rank 0 has last heard of it, or given it a job.
    is_late : bool
        True once it has not replied in time: it gets no job until it does.
    is_lost : bool
        True once a process of it is gone.
    jobs, samples : int
        Computed so far.
    seconds : float
        For which it has computed.
    """

    def __init__(self, ranks: tuple[int, ...], leader: int):
        self.ranks, self.leader = ranks, leader
        self.job: int | None = None
        self.since, self.is_late, self.is_lost = 0.0, False, False
        self.jobs = self.samples = 0
        self.seconds = 0.0

    @property
    def is_free(self) -> bool:
        """True if it can take a job."""
        return self.job is None and not self.is_lost


class Replicas:
    """All replicas of a service, seen from rank 0.

    Parameters
    ----------
    ranks : sequence of tuple of int
        The ranks of each.
    leaders : sequence of int
        The rank of each that replies.
    own : OwnPost or InLoop
        The way to rank 0's own loop.
    courier : Courier or None
        The way to the others; None where there are none.
    """

    def __init__(
        self, ranks: Sequence[tuple[int, ...]], leaders: Sequence[int], own: OwnPost | InLoop, courier: Courier | None
    ):
        made = [Replica(some, leader) for some, leader in zip(ranks, leaders, strict=True)]
        self.all = sorted(made, key=lambda one: 0 in one.ranks)  # rank 0 has the server, too: it comes last
        self._own, self._courier = own, courier
        self._size = sum(map(len, ranks))

    def free(self) -> Replica | None:
        """Return one that can take a job."""
        return next((one for one in self.all if one.is_free), None)

    def give(self, replica: Replica, job: Job, now: float) -> None:
        """Let a replica compute a job."""
        replica.job, replica.since = job.number, now
        self._send(replica.ranks, job, replica.leader)

    def cancel(self, number: int) -> None:
        """Let the replica that computes a job drop it."""
        for replica in self.all:
            if replica.job == number:
                self._send(replica.ranks, Cancel(number))

    def end(self) -> None:
        """Let all ranks leave their loops."""
        self._send(range(self._size), END)
        if self._courier is not None:
            self._courier.end()

    def _send(self, ranks: Sequence[int], item: Any, leader: int = -1) -> None:
        for rank in ranks:
            if rank == 0:
                self._own.put(item)
            else:
                assert self._courier is not None
                self._courier.send(item, rank, expects=rank == leader)
