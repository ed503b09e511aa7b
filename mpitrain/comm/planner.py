"""Planner of a group: makes the request for a collective by its name and a buffer."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..collectives import Algorithm, ScheduleError, check, check_for, find, names
from ..collectives.layout import Counts
from ..collectives.operators import check_operator
from ..collectives.price import Choice
from ..errors import AgreedError, UserError
from ..plain_text import binary_size
from .auto import Auto
from .node.windows import SharedWindows
from .placement import Placement
from .schedule.native import NativePlan
from .schedule.nccl import NCCL_EXCHANGES, NcclGroup, check_gpus, make_group, nccl_sum
from .schedule.plan import Plan, Request
from .schedule.progress_thread import Driver
from .schedule.rounds import Scratch
from .schedule.staged import StagedPlan
from .schedule.staging import HOST, HostStaging, Staging

ALL_REDUCE_NAMES = (*names(), "shared", "native", "auto")
NCCL = "nccl"  # between GPUs only
DEVICE_RING_BYTES = 1 << 20  # least bytes for the ring on a device's buffers; shorter ones need fewer rounds
CHECKED_RANKS = 17  # a user's algorithm is checked for every P up to this, and for the P of the group


class Planner:
    """Makes the requests of a group; all of its ranks call each method together.

    Parameters
    ----------
    comm : MPI.Comm
    mpi_version : str
        Name of the MPI library; calibrations are kept per library.
    place : Placement
    windows : SharedWindows
        Plans all-reduces in shared memory.
    note : callable
        Takes notes of deviations from the settings.

    Attributes
    ----------
    has_devices : bool
        True when some rank works on arrays of a device.
    mixed : bool
        True when some ranks do and some do not.
    staging : Staging
        Access to this rank's buffers if they are not NumPy arrays.
    direct_bytes : float
        Longest buffer that MPI reads and writes in place on all ranks; all cut longer ones alike.
    """

    def __init__(
        self, comm: Any, mpi_version: str, place: Placement, windows: SharedWindows, note: Callable[[str], None]
    ):
        self._comm, self._windows, self._note = comm, windows, note
        self._crowded = place.oversubscribed
        self._auto = Auto(comm, mpi_version, place, windows.why_not)
        self._driver = Driver(spare_core=place.cores > 1 and not place.oversubscribed)
        self._checked: set[str] = set()
        self._next_tag, self._free_tags = 0, list[int]()
        self.staging = HOST
        self._group: NcclGroup | None = None  # made when NCCL is first used
        self._offers_nccl = False
        self._nccl_starts: bool | None = None
        self.has_devices = self.mixed = False
        self.direct_bytes, self._may_try = math.inf, False

    @property
    def calibration_path(self) -> Path:
        """File of the measurements on this machine with this MPI library and number of ranks."""
        return self._auto.path

    def all_reduce(self, buffer: Any, algorithm: str, op: str) -> Request:
        """Return a request for an all-reduce by one of ``ALL_REDUCE_NAMES`` or a user's checked algorithm."""
        check_operator(op)
        if algorithm == NCCL:
            return self._nccl(buffer, op)
        if algorithm == "auto" and op == "sum" and not isinstance(buffer, np.ndarray) and self.takes_nccl():
            return self._nccl(buffer, op)
        if self.has_devices:
            algorithm = self._for_device(algorithm, buffer.nbytes)
        if algorithm == "auto":
            algorithm = self.choose(buffer.nbytes).name
        if algorithm == "shared":
            plan = self._windows.plan(buffer, op)
            if plan is not None:
                return plan
            algorithm = self._auto.by_messages(buffer.nbytes).name
        if algorithm == "native":
            staging = self.staging_of(buffer)
            native = NativePlan(self._comm, buffer, op=op, staging=staging, yield_cpu=self._crowded)
            return self._driven(native, buffer)
        return self.driven(algorithm, buffer, op)

    def _nccl(self, buffer: Any, op: str) -> Request:
        if op != "sum":
            raise UserError(f"nccl all-reduce has no operator {op!r} here; it has sum")
        return nccl_sum(self._nccl_group(self.staging_of(buffer)), self._comm.size, buffer)

    def _nccl_group(self, staging: Staging) -> NcclGroup:
        if self._group is None:
            device = getattr(staging, "device", None)
            check_gpus(self._comm, device, "--all-reduce")
            self._group = make_group(self._comm, device)
        return self._group

    def takes_nccl(self) -> bool:
        """Return whether ``auto`` sums a device's buffers by NCCL: where it starts on a GPU of each rank's own."""
        if not self._offers_nccl or self.mixed or not self.has_devices or self._comm.size == 1:
            return False
        if self._nccl_starts is None:
            self._nccl_starts = self._start_nccl()
        return self._nccl_starts

    def _start_nccl(self) -> bool:
        """Start NCCL if each rank has a GPU; a note says why it does not start."""
        try:
            check_gpus(self._comm, getattr(self.staging, "device", None), "--all-reduce")
        except AgreedError:  # nobody asked for it
            return False
        try:
            self._nccl_group(self.staging)
        except AgreedError as error:
            self._note(f"gradients are summed by MPI: {error}")
            return False
        return True

    def driven(
        self,
        algorithm: str,
        buffer: Any,
        op: str = "sum",
        counts: Counts | None = None,
        scratch: Scratch | None = None,
    ) -> Request:
        """Return a request for a schedule, progressed by the thread if there is one, or one of ``NCCL_EXCHANGES``."""
        if algorithm in NCCL_EXCHANGES:
            return NCCL_EXCHANGES[algorithm](self._nccl_group(self.staging_of(buffer)), self._comm.size, buffer)
        return self._driven(self.schedule(algorithm, buffer, op, counts, scratch), buffer)

    def schedule(
        self,
        algorithm: str | Algorithm,
        buffer: Any,
        op: str,
        counts: Counts | None = None,
        scratch: Scratch | None = None,
    ) -> Request:
        """Return a request for any collective that is a schedule."""
        found = find(algorithm) if isinstance(algorithm, str) else algorithm
        settings: dict[str, Any] = {"op": op, "counts": counts, "tag": self._take_tag(), "yield_cpu": self._crowded}
        staging = self.staging_of(buffer)
        if isinstance(staging, HostStaging):
            return StagedPlan(self._comm, found, buffer, staging=staging, **settings)
        cut = not self._is_direct(buffer.nbytes)
        return Plan(self._comm, found, buffer, staging=staging, segmented=cut, scratch=scratch, **settings)

    def _take_tag(self) -> int:
        if self._free_tags:
            return self._free_tags.pop()
        self._next_tag += 1
        return self._next_tag

    def release(self, request: Request) -> None:
        """Free a request that is not in flight, and give its tag to a later one."""
        request.free()
        tag = getattr(request, "tag", None)
        if tag is not None:
            self._free_tags.append(tag)

    def use_progress_thread(self, wanted: bool) -> None:
        """Let a thread progress the requests that are planned from now on, or stop doing so."""
        self._note(self._driver.use_thread(wanted and self._comm.size > 1))

    def use_staging(self, staging: Staging, *, offers_nccl: bool = False) -> None:
        """Set how plans access this rank's buffers if they are not NumPy arrays.

        With ``offers_nccl``, ``auto`` may take NCCL. NCCL may hang if two of its communicators sum at the same time in
        other orders, so a job offers it in one group, of all ranks.
        """
        self.staging, self._group = staging, None
        self._offers_nccl, self._nccl_starts = offers_nccl, None
        kinds = self._comm.allgather((staging.queued, staging.direct_bytes, staging.may_try))
        self.has_devices = any(queued for queued, _, _ in kinds)
        self.mixed = len({queued for queued, _, _ in kinds}) > 1
        self.direct_bytes = min(direct_bytes for _, direct_bytes, _ in kinds)
        self._may_try = all(may_try for _, _, may_try in kinds)

    def note_staging(self, num_bytes: int) -> None:
        """Take a note if buffers of this length go through the host and a test may show that they need not."""
        if self._may_try and not self._is_direct(num_bytes):
            self._note(
                "gradients go through the host's memory: with these hosts and settings, MPI has not been tried on "
                f"{binary_size(num_bytes)} in a GPU's memory. To try, start mpitrain kernel messages --bytes "
                f"{num_bytes} the way this run was started"
            )

    def choose(self, num_bytes: int) -> Choice:
        """Return the choice of ``auto`` at this length and the reason."""
        if self.takes_nccl():
            return Choice(NCCL, None, "nccl: each rank has a GPU of its own")
        if self.has_devices:
            return Choice(self._for_device("auto", num_bytes), None, "for a GPU's buffers")
        choice = self._auto.choose(num_bytes)
        self._note(self._auto.note)
        return choice

    def untuned(self, num_bytes: int) -> Choice:
        """Return the choice of ``auto`` at this length without measurements."""
        return self._auto.untuned(num_bytes)

    def predict(self, messages: Sequence[tuple[str, int]]) -> list[float] | None:
        """Return the predicted seconds of collectives at lengths; None without measurements that apply."""
        return None if self.has_devices else self._auto.predict(messages)

    def choose_bucket_bytes(self) -> int:
        """Return the best length of a gradient bucket."""
        return self._auto.choose_bucket_bytes()

    def check_name(self, algorithm: str) -> None:
        """Raise a UserError if there is no such all-reduce, or if it is wrong (rank 0 checks a user's)."""
        if algorithm in (*ALL_REDUCE_NAMES, NCCL) or algorithm in self._checked:
            return
        if ":" not in algorithm:
            raise UserError(f"there is no all-reduce {algorithm!r}; there are {', '.join((*ALL_REDUCE_NAMES, NCCL))}")
        found = find(algorithm)
        if found.collective != "all_reduce":
            raise UserError(f"{algorithm} is a {found.collective} algorithm, not an all-reduce")
        if self._comm.rank == 0 and ".py:" in algorithm:
            try:
                check(found, min(self._comm.size, CHECKED_RANKS))
                check_for(found, self._comm.size)
            except ScheduleError as error:
                raise UserError(f"{algorithm} is wrong for {error}") from None
        self._checked.add(algorithm)

    def check_devices(self, algorithm: str) -> None:
        """Raise an AgreedError if the ranks lack the GPUs that an all-reduce needs."""
        if algorithm == NCCL:
            self._nccl_group(self.staging)

    def _driven(self, request: Request, buffer: Any) -> Request:
        return self._driver.drive(request) if self.staging_of(buffer) is HOST else request

    def staging_of(self, buffer: Any) -> Staging:
        """Return the staging of a buffer: that of ``use_staging`` unless it is a NumPy array."""
        return HOST if isinstance(buffer, np.ndarray) else self.staging.of_buffer(buffer.nbytes)

    def _is_direct(self, num_bytes: int) -> bool:
        """Return whether MPI reads and writes buffers of this length in place, on all ranks."""
        return num_bytes <= self.direct_bytes and self.direct_bytes > 0

    def _for_device(self, algorithm: str, num_bytes: int) -> str:
        """Return the all-reduce for a buffer of a device, since measurements and shared memory are the host's."""
        if algorithm == "native" and not self._is_direct(num_bytes):
            known = f"was tried up to {binary_size(self.direct_bytes)} of" if self.direct_bytes else "cannot read"
            raise AgreedError(
                f"native all-reduce {known} this device's memory; use ring or auto, which stage messages on the host"
            )
        if algorithm not in ("auto", "shared"):
            return algorithm
        return "recursive_doubling" if num_bytes < DEVICE_RING_BYTES else "ring"
