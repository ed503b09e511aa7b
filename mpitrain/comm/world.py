"""The ranks of a job: what they know of each other, and what they can do together."""

import contextlib
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a launcher that does not fit: start says it once
        from .start import library_name, start  # before mpi4py's MPI, which would be initialised

        from mpi4py import MPI  # isort: skip
except (ImportError, RuntimeError) as error:  # mpi4py is installed, but no MPI library can be loaded
    from .launch import no_library

    raise no_library(error) from None

from ..collectives import Algorithm
from ..collectives.price import Choice
from ..errors import AgreedError, UserError
from .group import Ranks
from .launch import lonely_message, why_ranks_cannot_be_lost
from .node.shared_arena import SharedArena
from .node.windows import SharedWindows
from .placement import affinity_of, place_among
from .planner import ALL_REDUCE_NAMES, Planner
from .schedule.plan import Request
from .schedule.staging import Staging
from .uncaught import end_all_on_error
from .watch.ledger import Ledger, caller, source_line
from .watch.remote_query import Operator
from .watch.slot import first_difference
from .watch.watchdog import Watchdog
from .watch.watched import WatchedComm, WatchedPlan

start()

__all__ = ["ALL_REDUCE_NAMES", "World"]

LAST_WORDS_SECONDS = 0.5
REFUSED = "a rank that is lost would leave the others waiting (--elastic)"


class World(Ranks):
    """This rank among all ranks: what they do together with big buffers, and who watches that they do.

    Parameters
    ----------
    comm : MPI.Comm
        The ranks that work together; duplicated, so that no foreign message gets in between.

    Attributes
    ----------
    node, node_rank, node_size, cores, oversubscribed
        Where this rank runs; see ``Place``.
    notes : list of str
        What turned out otherwise than asked for, and why; the same on all ranks.
    ledger : Ledger
        What this rank and the others of its node do in collectives.
    watchdog : Watchdog or None
        Ends the job when a rank waits for too long, once ``watch`` was called.
    members : list of int
        What the ranks were when the job was launched: other than now if some were lost since.
    launched : list of int
        What they were when the job was launched, all of them.
    successor : World or None
        What is left of this world since a rank was lost.
    surroundings : Surroundings
    elastic : bool
        True where a rank may be lost and the others go on.
    """

    def __init__(
        self,
        comm: Any = MPI.COMM_WORLD,
        *,
        before: "World | None" = None,
        members: list[int] | None = None,
        affinities: list[Any] | None = None,
    ) -> None:
        if comm == MPI.COMM_WORLD and (message := lonely_message(comm.size, library_name())):
            raise UserError(message)
        super().__init__(WatchedComm(comm.Dup() if before is None else comm), mpi_io=before is None)
        self.members = members or list(range(self.size))
        self.launched: list[int] = before.launched if before is not None else self.members
        self.successor: World | None = None
        if before is None:
            node = WatchedComm(self._comm.Split_type(MPI.COMM_TYPE_SHARED))
            self.affinities = affinity_of(node, self.rank)
            affinities = node.allgather(self.affinities)
            self.ledger = node.ledger = Ledger(node, self.rank)
            self._node, index = node, node.rank
        else:  # no communicator but ``comm``: if another rank is lost now, revoking it reaches everybody
            self.affinities, self.ledger, self._node = before.affinities, before.ledger, self._comm
            self.ledger.begin_again(self.rank)
            index = self.rank
        place = place_among(affinities or [], index)
        self.node, self.node_rank, self.node_size, self.cores, self.oversubscribed = place
        self._comm.ledger, self._comm.compared = self.ledger, True
        self.elastic = before is not None
        self.watchdog: Watchdog | None = None
        self._operator = Operator(self._comm, several_nodes=self.node_size < self.size)
        self.notes: list[str] = []
        self._sharing = SharedWindows(self._comm, self._node, place, self.ledger, self._note)
        self._sharing.refused = REFUSED if self.elastic else ""
        if comm == MPI.COMM_WORLD:
            end_all_on_error(self)
        self._planner = Planner(self._comm, self.mpi_version, place, self._sharing, self._note)

    def be_elastic(self) -> None:
        """Use only what survives the loss of a rank from now on, if this MPI lets ranks survive at all."""
        reason = why_ranks_cannot_be_lost()
        self.elastic, self.mpi_io = reason is None, reason is not None
        self._sharing.refused = REFUSED if self.elastic else ""
        self._note(f"not elastic: {reason}" if reason else "")

    @property
    def mpi_version(self) -> str:
        """The MPI library, in a few words."""
        return library_name()

    @property
    def calibration_path(self) -> Path:
        """Where what was measured on this machine, with this MPI and number of ranks, is kept."""
        return self._planner.calibration_path

    def plan_all_reduce(
        self, buffer: np.ndarray, algorithm: str = "auto", op: str = "sum", *, what: str = ""
    ) -> Request:
        """Return a request that reduces ``buffer`` (n,) over the ranks in place, as often as it is started.

        Every rank calls this in the same order with the same length, dtype, algorithm and operator, and starts its
        requests in the same order as the others, among its other collectives.

        Parameters
        ----------
        buffer : (n,) contiguous array
        algorithm : str
            Of ``ALL_REDUCE_NAMES``, with options or not, or FILE.py:FUNC (checked first).
        op : str
            sum, max, min or adasum.
        what : str
            What the buffer holds, for messages about ranks that wait.

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

    def plan_watched(self, algorithm: str, buffer: np.ndarray, what: str = "") -> Request:
        """Return a request as ``plan`` does, whose waits are watched as those of an all-reduce are."""
        plan = self._planner.driven(algorithm, buffer)
        return self._watched(plan, f"{algorithm} of {buffer.nbytes:,} bytes of {buffer.dtype}", what)

    def _watched(self, plan: Request, made: str, what: str) -> WatchedPlan:
        label = self.ledger.label(f"{made}{what and f' ({what})'} planned at {source_line(caller())}", compared=made)
        return WatchedPlan(plan, self.ledger, label)

    def use_progress_thread(self, wanted: bool) -> None:
        """Let a thread move the all-reduces along that are planned from now on, or else the rank itself by ``poll``.

        Those in shared memory are not messages, and a device works through a queue that belongs to one thread: both
        are left to ``poll``. Where MPI does not let a thread call it, a note says so.
        """
        self._planner.use_progress_thread(wanted)

    def plan(self, algorithm: str | Algorithm, buffer: np.ndarray, op: str = "sum") -> Request:
        """Return a request for any collective that is a schedule: ``plan("all_gather/bruck", buffer)``.

        Chunk r of the buffer is rank r's, where a collective has such a thing. The root is rank 0, or what the option
        says: ``plan("broadcast/binomial:root=3", buffer)``.
        """
        return self._planner.schedule(algorithm, buffer, op)

    def use_staging(self, staging: Staging) -> None:
        """Say how plans get at this rank's buffers if they are not NumPy arrays; all ranks call it together.

        Ranks may differ: where some have a device and some have none, all take the algorithms that go with devices.
        """
        self._planner.use_staging(staging)

    @property
    def has_devices(self) -> bool:
        """True when some rank works on arrays of a device."""
        return self._planner.has_devices

    @property
    def mixed(self) -> bool:
        """True when some ranks do and some do not: equal sums then give updates that differ in their last bits."""
        return self._planner.mixed

    def choose(self, num_bytes: int) -> Choice:
        """Return the all-reduce that ``auto`` stands for at this length, and why; all ranks call it together.

        What ``mpitrain collective tune`` or ``calibrate`` has measured on this machine with this MPI and number of
        ranks decides; without it, a rule of thumb.
        """
        return self._planner.choose(num_bytes)

    def choose_untuned(self, num_bytes: int) -> Choice:
        """Return what ``choose`` would without any measurement."""
        return self._planner.untuned(num_bytes)

    def choose_bucket_bytes(self) -> int:
        """Return how long a gradient bucket should be, by the same measurements; all ranks call it together."""
        return self._planner.choose_bucket_bytes()

    def check_name(self, algorithm: str) -> None:
        """Raise a UserError if there is no such all-reduce, or if it is wrong.

        An algorithm in a user's own file runs through the checker, on rank 0 only: call this in ``together``.
        """
        self._planner.check_name(algorithm)

    def shared_empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Return an array of zeros that the other ranks of the node can reach; ordinary memory where that cannot be.

        All ranks call it together, with the same shape. The memory lives as long as the process.
        """
        return self._sharing.empty(shape, dtype)

    def share_arena(self, num_elements: int, dtype: Any = np.float32) -> SharedArena | None:
        """Return memory for one copy of the weights and all gradients of this node; None where that cannot be.

        All ranks call it together.
        """
        return self._sharing.arena(num_elements, dtype)

    def _note(self, text: str) -> None:
        if text and text not in self.notes:
            self.notes.append(text)

    def disagreement(self) -> str | None:
        """Return which rank of this node has called other collectives than the others, None if none has."""
        return first_difference([(record.rank, record.entries()) for record in self.ledger.records])

    def check_history(self) -> None:
        """Compare which collectives the ranks have called lately; all ranks call this together.

        Raises
        ------
        AgreedError
            Says which rank has called what differently.
        """
        histories = self.all_gather((self.rank, self.ledger.mine.entries()))
        difference = first_difference(histories)
        if difference is not None:
            raise AgreedError(difference, code=1)

    def watch(self, timeout: float) -> None:
        """Let no rank wait for longer than ``timeout`` seconds from now on; 0 lets them."""
        if self.watchdog is not None:
            self.watchdog.stop()
        self.watchdog = None
        if timeout:
            self.watchdog = Watchdog(
                self.ledger, self.size, timeout, self.abort, go_on=self.elastic, operator=self._operator
            )
            self.watchdog.start()

    def first_step_done(self) -> None:
        """Say that what takes long only once (building kernels, fetching data) is behind this rank."""
        if self.watchdog is not None:
            self.watchdog.first_step_done()

    def leave(self, code: int) -> None:
        """Say that this rank has done all that it wanted, to exit with ``code``: nobody will wait for it."""
        if self.successor is not None:
            self.successor.leave(code)
        if self.watchdog is not None:
            self.watchdog.stop()
        self.ledger.leave()
        if self.size < len(self.launched):
            self._end_without_mpi(code)

    def _end_without_mpi(self, code: int) -> None:
        """End the process: with ranks lost, MPI_Finalize may hang."""
        sys.stdout.flush()
        sys.stderr.flush()
        with contextlib.suppress(MPI.Exception):
            self._comm.Barrier()
        os._exit(code)

    def abort(self, code: int) -> None:
        """End all ranks at once, when the launcher has had time to read what this one has said (it drops the rest)."""
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(LAST_WORDS_SECONDS)
        MPI.COMM_WORLD.Abort(code)
