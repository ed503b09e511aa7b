"""Collectives among some ranks of a job, such as those of one axis of a mesh."""

# isort: off
from .start import library_name, start  # first: it loads MPI without initializing it
# isort: on

import functools
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from ..collectives import Algorithm
from ..collectives.layout import Counts
from ..collectives.price import Choice
from ..device import device_of
from ..errors import AgreedError
from .job import Job
from .late_comm import LateComm
from .node.shared_arena import SharedArena
from .node.tickets import Tickets
from .node.windows import SharedWindows
from .placement import Placement, placement_of
from .planner import NCCL, Planner
from .ranks import Ranks
from .schedule.plan import Request
from .schedule.rounds import Scratch
from .schedule.staging import Staging
from .watch.ledger import caller, source_line
from .watch.slot import first_difference, name_rank
from .watch.watched import WatchedComm, WatchedPlan

start()

KEPT_PLANS = 16  # of all_reduce()


class Group(Ranks):
    """The ranks of a communicator, with planned collectives; all of them call each method together.

    Parameters
    ----------
    comm : MPI.Comm
        Any communicator of mpi4py. It is duplicated, so that no other messages can be mistaken for the group's.
        (A ``Mesh`` gives the ranks of a communicator that is made when the group first uses it.)
    axis : str
        Name for messages, such as "data".
    job : Job, optional
        Ledger, watchdog and notes that the group shares with a ``World`` (``World.group``). Without it no wait is
        watched: for programs that use MPI on their own.

    Attributes
    ----------
    axis : str
    rank, size : int
        This rank's number within the group, and the number of ranks.
    world_ranks : list of int
        Rank in the whole job of each rank of the group; messages name these.
    waited : float
        Seconds for which this rank has waited in moves, which communicate between layers.
    place : Placement
        This rank among the ranks of the group on its node.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> group = Group(MPI.COMM_SELF, "data")
    >>> group.all_reduce(np.ones(3), "ring")
    array([1., 1., 1.])
    """

    def __init__(self, comm: Any, axis: str = "", *, job: Job | None = None) -> None:
        if isinstance(comm, LateComm):
            super().__init__(comm, comm.job, comm.world_ranks)
            self.place = _among_all(comm.job, placement_of(comm.affinities, comm.rank))
        elif job is not None and comm is job.comm:
            super().__init__(comm, job)
            self.place = job.place
        elif job is not None:
            own = WatchedComm(comm.Dup())
            super().__init__(own, job, _world_ranks(own, job.comm))
            self.place = _among_all(job, placement_of(own.allgather(job.affinity), own.rank))
            job.record(own, axis, self.world_ranks)
        else:
            own = WatchedComm(comm.Dup())
            near = own.Split_type(MPI.COMM_TYPE_SHARED)
            super().__init__(own, Job.of_foreign(own, near), _world_ranks(own, MPI.COMM_WORLD))
            near.Free()
            self.place = self.job.place
        self.axis, self.waited = axis, 0.0
        self._plans: OrderedDict[tuple[Any, ...], Request] = OrderedDict()

    @functools.cached_property
    def _windows(self) -> SharedWindows:
        return SharedWindows(self._comm, self.place, self.job)

    @functools.cached_property
    def _planner(self) -> Planner:
        return Planner(self._comm, library_name(), self.place, self._windows, self.job.note)

    def name_of(self, rank: int) -> str:
        """Return the name of a rank for messages: "rank 5", or "stage 2 (rank 5)" of a pipeline."""
        return name_rank(self.world_ranks[rank], f"stage {rank}" if self.axis == "pipe" else "")

    def __repr__(self) -> str:
        return f"Group({self.axis!r}, rank {self.rank} of {self.size})"

    def divide(self, color: int, axis: str) -> "Group":
        """Return the ranks of this group that give the same ``color``, in their order here; all ranks call it together.

        Parameters
        ----------
        color : int
            At least 0.
        axis : str
            Name for messages.
        """
        comm = self._comm.Split(color, self.rank)
        part = Group(comm, axis, job=self.job)
        comm.Free()
        return part

    def all_reduce(self, array: np.ndarray, algorithm: str = "auto", op: str = "sum") -> np.ndarray:
        """Reduce ``array`` over the ranks in place and return it.

        The plan is kept for further arrays of the same length, dtype, algorithm and operator. It works on a buffer of
        its own, so the array is copied twice; use ``plan_all_reduce`` where that counts.

        Parameters
        ----------
        array : array
            Any shape, the same number of elements and dtype on all ranks.
        algorithm, op : str
            See ``plan_all_reduce``.

        Raises
        ------
        AgreedError
            On all ranks, if there is no such algorithm or if it is wrong.
        """
        key = (array.size, array.dtype, algorithm, op)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) == KEPT_PLANS:
                self._plans.popitem(last=False)[1].free()
            plan = self.plan_all_reduce(device_of(array).empty((array.size,), array.dtype), algorithm, op)
            self._plans[key] = plan
        self._plans.move_to_end(key)
        plan.result[...] = array.reshape(-1)
        plan.start()
        plan.wait()
        array[...] = plan.result.reshape(array.shape)
        return array

    def plan_all_reduce(
        self, buffer: np.ndarray, algorithm: str = "auto", op: str = "sum", *, what: str = ""
    ) -> Request:
        """Return a request that reduces ``buffer`` (n,) over the ranks in place each time it is started.

        All ranks call this in the same order with the same length, dtype, algorithm and operator, and start their
        requests in the same order among their other collectives.

        Parameters
        ----------
        buffer : (n,) contiguous array
        algorithm : str
            One of ``ALL_REDUCE_NAMES``, with or without options, or FILE.py:FUNC (checked first).
        op : str
            sum, max or min.
        what : str
            Content of the buffer, for messages about ranks that wait.

        Raises
        ------
        AgreedError
            On all ranks, if there is no such algorithm or if it is wrong.
        """
        with self.together():
            self.check_name(algorithm)
        plan = self._planner.all_reduce(buffer, algorithm, op)
        made = f"{plan.algorithm} all-reduce of {buffer.nbytes:,} bytes of {buffer.dtype}"
        return self._watched(plan, made, what)

    def plan_watched(
        self,
        algorithm: str,
        buffer: np.ndarray,
        what: str = "",
        *,
        counts: Counts | None = None,
        scratch: Scratch | None = None,
    ) -> Request:
        """Return a request as ``plan`` does, with its waits watched like those of an all-reduce.

        Parameters
        ----------
        scratch : Scratch, optional
            Memory for the messages of several plans, of which one is in flight at a time.
        """
        plan = self._planner.driven(algorithm, buffer, counts=counts, scratch=scratch)
        length = "" if counts is not None else f"{buffer.nbytes:,} bytes of "  # with counts it may differ between ranks
        return self._watched(plan, f"{algorithm} of {length}{buffer.dtype}", what)

    def release(self, plan: Request) -> None:
        """Free a plan that is not in flight; all ranks call it together, in the same order among their plans."""
        self._planner.release(plan)

    def _watched(self, plan: Request, made: str, what: str) -> Request:
        if self.job.ledger is None:
            return plan
        text = f"{made}{what and f' ({what})'}{self._comm.where} planned at {source_line(caller())}"
        history = self._comm.history
        label = self.job.ledger.label(text, compared=made if history else "", history=history)
        return WatchedPlan(plan, self.job.ledger, label, self.job.channels)

    def plan(
        self, algorithm: str | Algorithm, buffer: np.ndarray, op: str = "sum", counts: Counts | None = None
    ) -> Request:
        """Return a request for any collective that is a schedule: ``plan("all_gather/bruck", buffer)``.

        Chunk r of the buffer belongs to rank r in collectives that divide it. The root is rank 0 unless an option
        says otherwise: ``plan("broadcast/binomial:root=3", buffer)``. Chunks are nearly equal; ``counts`` gives the
        elements of each, one sequence for each buffer of the algorithm (see ``Layout``).
        """
        return self._planner.schedule(algorithm, buffer, op, counts)

    def use_progress_thread(self, wanted: bool) -> None:
        """Let a thread progress the all-reduces that are planned from now on, instead of calls of ``poll``.

        All-reduces in shared memory involve no messages, and the queue of a device belongs to one thread: both are
        left to ``poll``. A note says so where MPI may not be called from a second thread.
        """
        self._planner.use_progress_thread(wanted)

    def use_staging(self, staging: Staging, *, offers_nccl: bool = False) -> None:
        """Set how plans access this rank's buffers if they are not NumPy arrays; all ranks call it together.

        Ranks may differ: if some have a device and some have none, all use the algorithms that suit devices. With
        ``offers_nccl``, which one group of a job may have, ``auto`` takes NCCL where each rank has a GPU of its own.
        """
        for plan in self._plans.values():  # of all_reduce(), on the buffers of another device
            plan.free()
        self._plans.clear()
        self._planner.use_staging(staging, offers_nccl=offers_nccl)

    def note_staging(self, num_bytes: int) -> None:
        """Take a note if a device's buffers of this length go through the host where MPI may be able to read them."""
        self._planner.note_staging(num_bytes)

    @property
    def staging(self) -> Staging:
        """Access to this rank's buffers if they are not NumPy arrays, as ``use_staging`` has set it."""
        return self._planner.staging

    @property
    def direct_bytes(self) -> float:
        """Longest buffer that MPI reads and writes in place on all ranks; all cut longer ones alike."""
        return self._planner.direct_bytes

    @property
    def has_devices(self) -> bool:
        """True when some rank works on arrays of a device."""
        return self._planner.has_devices

    @property
    def mixed(self) -> bool:
        """True when some ranks have a device and some have none: their updates then differ in the last bits."""
        return self._planner.mixed

    @property
    def fingerprint(self) -> int:
        """Rolling hash of the collectives of these ranks, the same on all of a correct program; 0 without a ledger."""
        return self._comm.history.hash if self._comm.history is not None else 0

    @property
    def calibration_path(self) -> Path:
        """File of the measurements on this machine with this MPI library and number of ranks."""
        return self._planner.calibration_path

    def choose(self, num_bytes: int) -> Choice:
        """Return the all-reduce that ``auto`` selects at this length, and the reason; all ranks call it together.

        The choice follows the measurements of ``mpitrain collective tune`` or ``calibrate`` on this machine with
        this MPI library and number of ranks, or a rule of thumb without them.
        """
        return self._planner.choose(num_bytes)

    def choose_untuned(self, num_bytes: int) -> Choice:
        """Return the choice that ``choose`` makes without measurements."""
        return self._planner.untuned(num_bytes)

    def predict(self, messages: Sequence[tuple[str, int]]) -> list[float] | None:
        """Return the seconds of collectives (all_gather/ring) with so many bytes by the same measurements.

        None without any that apply. All ranks call it together.
        """
        return self._planner.predict(messages)

    def choose_bucket_bytes(self) -> int:
        """Return the best length of a gradient bucket by the same measurements; all ranks call it together."""
        return self._planner.choose_bucket_bytes()

    def takes_nccl(self, algorithm: str) -> bool:
        """Return whether NCCL carries what ``algorithm``, an all-reduce or auto, is asked for; all call it together."""
        return algorithm == NCCL or (algorithm == "auto" and self._planner.takes_nccl())

    def check_name(self, algorithm: str) -> None:
        """Raise a UserError if there is no such all-reduce, or if it is wrong.

        An algorithm in a user's file runs through the checker, on rank 0 only: call this in ``together``.
        """
        self._planner.check_name(algorithm)

    def check_usable(self, algorithm: str) -> None:
        """Check an all-reduce without planning it; all ranks call this together, after ``use_staging``.

        Raises
        ------
        AgreedError
            On all ranks, if there is no such all-reduce, if it is wrong, or if some rank lacks the GPU that it needs.
        """
        with self.together():
            self.check_name(algorithm)
        self._planner.check_devices(algorithm)

    def check_history(self) -> None:
        """Compare the latest collectives that these ranks have called among all ranks of their job.

        Raises
        ------
        AgreedError
            On all ranks, with the first call that differs.
        """
        if self.job.ledger is None:
            return
        histories = self.all_gather((self.world_ranks[self.rank], self.job.ledger.mine.entries()))
        difference = first_difference(histories)
        if difference is not None:
            raise AgreedError(difference, code=1)

    def shared_empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Return zeros in memory that the other ranks of the node can access; in private memory where that fails.

        All ranks call it together, with the same shape. The memory is kept until the process ends.
        """
        return self._windows.empty(shape, dtype)

    @functools.cached_property
    def tickets(self) -> Tickets:
        """Numbers that the ranks draw, each once; the first use is collective, and the ranks must share a node."""
        return Tickets(self._comm)

    def why_not_share(self, num_bytes: int) -> str | None:
        """Return why the ranks have no memory in common, from this rank's view; None if they have."""
        return self._windows.why_not(num_bytes)

    def share_arena(
        self, num_elements: int, dtype: Any = np.float32, num_values: int | None = None
    ) -> SharedArena | None:
        """Return memory for one copy of the weights and all gradients of this node, or None if it cannot be shared.

        All ranks call it together.
        """
        return self._windows.arena(num_elements, dtype, num_values)


def _among_all(job: Job, place: Placement) -> Placement:
    """Return the place of a rank in its group, with the cores that all ranks of the job leave to it."""
    return place._replace(cores=job.place.cores, oversubscribed=job.place.oversubscribed)


def _world_ranks(comm: Any, whole: Any) -> list[int]:
    """Return the rank in ``whole`` of each rank of ``comm``; their own numbers if some are not in it."""
    group, everyone = comm.Get_group(), whole.Get_group()
    found = list(group.Translate_ranks(None, everyone))
    group.Free()
    everyone.Free()
    return list(range(comm.size)) if MPI.UNDEFINED in found else found
