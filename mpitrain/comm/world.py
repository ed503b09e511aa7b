"""A job: its ranks, how they were launched, the watchdog over their waits, and how they leave."""

# isort: off
from .start import library_name, start  # first: it loads MPI without initializing it
# isort: on

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from mpi4py import MPI

from ..device import GpuSlot
from ..errors import UserError
from .group import Group
from .job import Job
from .launch import lonely_message, why_ranks_cannot_be_lost
from .made import note_comm
from .placement import Affinity, affinity_of, placement_of
from .planner import ALL_REDUCE_NAMES
from .ranks import Ranks
from .schedule.staging import Staging
from .uncaught import end_all_on_error
from .watch.ledger import Ledger
from .watch.remote_query import QueryService
from .watch.slot import first_difference, name_rank
from .watch.stacks import answer_with_stacks
from .watch.watchdog import Watchdog
from .watch.watched import WatchedComm

start()

__all__ = ["ALL_REDUCE_NAMES", "World", "data_group"]

LAST_WORDS_SECONDS = 0.5
REFUSED = "a rank that is lost would leave the others waiting (--elastic)"

P = ParamSpec("P")
R = TypeVar("R")


def _by_data_group(method: Callable[Concatenate[Group, P], R]) -> "Callable[Concatenate[World, P], R]":
    """Return a method of World that calls ``method`` of the data group."""

    @functools.wraps(method)
    def call(self: "World", *args: P.args, **options: P.kwargs) -> R:
        return method(self.group("data"), *args, **options)

    return cast("Callable[Concatenate[World, P], R]", call)


class World(Ranks):
    """All ranks of a job; ``group`` returns the ranks of an axis, which plan collectives.

    Parameters
    ----------
    comm : MPI.Comm
        The ranks of the job. It is duplicated, so that no other messages can be mistaken for the job's.
    outer : World, optional
        The job of which ``comm`` has some ranks, that are a job of their own (see ``close``): they share the cores with
        the others, and signals can end their waits.
    on_hang : callable(str), optional
        Called with a report where a rank waits for too long, in place of an end of all ranks.

    Attributes
    ----------
    node, node_rank, node_size, cores, oversubscribed
        Placement of this rank; see ``Placement``.
    notes : list of str
        Deviations from the settings and their reasons, the same on all ranks.
    ledger : Ledger
        Record of the collectives that the ranks of this node call.
    watchdog : Watchdog or None
        Ends the job when a rank waits for too long; None before ``watch`` is called.
    members : list of int
        Rank at launch of each rank.
    launched : list of int
        ``members`` at launch, before ranks were lost.
    successor : World or None
        The world of the surviving ranks, once a rank was lost.
    affinity : Affinity
        Node of this rank and the cores that it may run on.
    lost_ranks : bool
        True where ranks of this world are lost, and the others go on without them.
    elastic : bool
        True where the others continue when a rank is lost.
    outer : World or None
        The job of which this one is a part.
    gpu_slot : GpuSlot or None
        GPU of this rank in all parts of the job; None where each part assigns GPUs to its ranks.
    """

    def __init__(
        self,
        comm: Any = MPI.COMM_WORLD,
        *,
        before: "World | None" = None,
        members: list[int] | None = None,
        affinities: list[Affinity] | None = None,
        outer: "World | None" = None,
        on_hang: Callable[[str], None] | None = None,
    ) -> None:
        if comm == MPI.COMM_WORLD and (message := lonely_message(comm.size, library_name())):
            raise UserError(message)
        own = WatchedComm(comm) if before is not None else _duplicate(comm)
        if before is None:
            node = WatchedComm(own.Split_type(MPI.COMM_TYPE_SHARED))
            mine = affinity_of(node, own.rank)
            affinities = node.allgather(mine)
            self.ledger = node.ledger = Ledger(node, own.rank)
            self._node, index = node, node.rank
        else:  # no communicator but ``comm``: if another rank is lost now, revoking it reaches all ranks
            mine, self.ledger, self._node = before.job.affinity, before.ledger, own
            self.ledger.restart(own.rank)
            index = own.rank
        place = placement_of(affinities or [], index)
        if outer is not None:
            around = outer.job.place
            place = place._replace(cores=around.cores, oversubscribed=around.oversubscribed)
            self.ledger.interruptible = self._node.size > 1 or own.size > 1
        super().__init__(own, Job(own, mine, place, self.ledger))
        self.node, self.node_rank, self.node_size, self.cores, self.oversubscribed = place
        self.affinity, self.notes = mine, self.job.notes
        own.ledger, own.history = self.ledger, self.ledger.job
        self.members = members or list(range(self.size))
        self.launched: list[int] = before.launched if before is not None else self.members
        self.successor: World | None = None
        self.lost_ranks = False
        self.watchdog: Watchdog | None = None
        self.outer, self._on_hang = outer, on_hang
        self.gpu_slot: GpuSlot | None = None
        self._query_service = QueryService(own, several_nodes=self.node_size < self.size)
        self._groups: dict[str, Group] = {}
        self._set_elastic(before is not None)
        if comm == MPI.COMM_WORLD:
            end_all_on_error(self)

    def group(self, axis: str = "data", comm: Any = None) -> Group:
        """Return the ranks of an axis; all ranks of the communicator call it together.

        Parameters
        ----------
        axis : str
            Name for messages.
        comm : MPI.Comm, optional
            Ranks of this job in a communicator of mpi4py; by default all ranks, in a group that is made once.
        """
        if comm is not None:
            return Group(comm, axis, job=self.job)
        if axis not in self._groups:
            self._groups[axis] = Group(self._comm, axis, job=self.job)
        return self._groups[axis]

    def use_staging(self, staging: Staging, *, offers_nccl: bool = False) -> None:
        """Let the groups of all ranks, whatever their axes, send buffers so (collective); see ``Group.use_staging``."""
        data = self.group("data")
        for group in self._groups.values():
            group.use_staging(staging, offers_nccl=offers_nccl and group is data)

    # Training on all ranks needs no mesh: these are the methods of the data group.
    all_reduce = _by_data_group(Group.all_reduce)
    plan_all_reduce = _by_data_group(Group.plan_all_reduce)
    plan = _by_data_group(Group.plan)
    use_progress_thread = _by_data_group(Group.use_progress_thread)
    choose = _by_data_group(Group.choose)
    choose_untuned = _by_data_group(Group.choose_untuned)
    check_name = _by_data_group(Group.check_name)
    shared_empty = _by_data_group(Group.shared_empty)
    has_devices = property(lambda self: self.group("data").has_devices)
    mixed = property(lambda self: self.group("data").mixed)
    calibration_path = property(lambda self: self.group("data").calibration_path)

    def be_elastic(self) -> None:
        """Use only operations that survive the loss of a rank from now on, if this MPI lets ranks survive at all."""
        reason = why_ranks_cannot_be_lost()
        self._set_elastic(reason is None)
        self.job.note(f"not elastic: {reason}" if reason else "")

    def _set_elastic(self, elastic: bool) -> None:
        self.elastic, self.job.mpi_io = elastic, not elastic
        self.job.no_sharing = REFUSED if elastic else ""

    @property
    def mpi_version(self) -> str:
        """Name and version of the MPI library."""
        return library_name()

    def disagreement(self) -> str | None:
        """Return a sentence on the first difference between collectives of this node's ranks, None if there is none."""
        return first_difference([(record.rank, record.entries()) for record in self.ledger.records])

    @property
    def own_name(self) -> str:
        """Name of this rank in messages: "rank 5", or "stage 2 (rank 5)" in a pipeline."""
        return name_rank(self.rank, self.ledger.mine.stages)

    def watch(self, timeout: float) -> None:
        """Limit waits to ``timeout`` seconds from now on; 0 removes the limit."""
        if self.watchdog is not None:
            self.watchdog.stop()
        self.watchdog = None
        if timeout:
            self.watchdog = Watchdog(
                self.ledger,
                self.size,
                timeout,
                self.abort,
                elastic=self.elastic,
                query_service=self._query_service,
                on_hang=self._on_hang,
            )
            self.watchdog.start()

    def first_step_done(self) -> None:
        """Declare the end of the phase that builds kernels and fetches data, in which longer waits are allowed."""
        if self.watchdog is not None:
            self.watchdog.first_step_done()

    def leave(self, code: int) -> None:
        """Declare that this rank has finished and exits with ``code``, so that its absence is not reported."""
        if self.successor is not None:
            self.successor.leave(code)
        if self.watchdog is not None:
            self.watchdog.stop()
        self.ledger.leave()
        if self.size < len(self.launched) or self.lost_ranks:
            self._end_without_mpi(code)

    def close(self) -> None:
        """End the part of a job that has a world of its own: its ranks go on with other work."""
        self.watch(0)
        self.ledger.leave()
        if self.outer is not None:
            answer_with_stacks(self.outer.ledger)
        self.ledger.close()

    def _end_without_mpi(self, code: int) -> None:
        """End the process without MPI_Finalize, which may hang after ranks were lost."""
        sys.stdout.flush()
        sys.stderr.flush()
        with contextlib.suppress(MPI.Exception):
            self._comm.Barrier()
        os._exit(code)

    def abort(self, code: int) -> None:
        """End all ranks, after the launcher has had time to read this rank's output (it drops the rest)."""
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(LAST_WORDS_SECONDS)
        MPI.COMM_WORLD.Abort(code)


def _duplicate(comm: Any) -> WatchedComm:
    made = comm.Dup()
    return WatchedComm(made if isinstance(comm, WatchedComm) else note_comm(made))


def data_group(ranks: Group | World) -> Group:
    """Return a group itself, and all ranks of a world, among which training without a mesh divides the samples."""
    return ranks.group("data") if isinstance(ranks, World) else ranks
