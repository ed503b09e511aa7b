"""Owner of a run directory: its process, host and batch job, and tests of whether it is alive."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ...comm.watch.slot import process_space, process_start, process_state
from ...json_text import to_json

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
JOBS = {
    "SLURM_JOB_ID": "Slurm job",
    "PBS_JOBID": "PBS job",
    "LSB_JOBID": "LSF job",
    "FLUX_JOB_ID": "Flux job",
    "OAR_JOB_ID": "OAR job",
    "JOB_ID": "job",
}
GONE = ("", "Z", "X")  # states of a process that does nothing any more


@dataclass(frozen=True)
class Owner:
    """The run that owns a directory.

    Attributes
    ----------
    run : str
        Random name of the run, known to all of its ranks.
    host : str
    boot : str
        Names the host since it was started last; empty where the system does not tell.
    space : int
        The name space of process ids: the same number on one host means the same processes.
    pid, started : int
        The process and when it began, in clock ticks since the host did: other processes get its number later.
    job : str
        The batch job; empty without one.
    restarts : int
        Number of times the batch system has requeued the job.
    since : str
        When the run began.
    """

    run: str
    host: str
    boot: str
    space: int
    pid: int
    started: int
    job: str
    restarts: int
    since: str

    def __str__(self) -> str:
        job = f", {self.job}" if self.job else ""
        return f"a run on {self.host} (process {self.pid}{job}) since {self.since}"

    def is_visible_from(self, me: "Owner") -> bool:
        """Return True if its process can be seen from the process of ``me``."""
        same = (self.boot, self.space) == (me.boot, me.space)
        return same and (bool(me.boot) or self.host == me.host)

    def lives(self) -> bool:
        """Return True if the owner's process lives, as seen from a process on the same host."""
        if process_start(os.getpid()):
            return process_state(self.pid) not in GONE and int(process_start(self.pid)) == self.started
        with contextlib.suppress(OSError):  # a system without /proc
            os.kill(self.pid, 0)
            return True
        return False

    def is_superseded_by(self, me: "Owner") -> bool:
        """Return True if the owner must have ended because ``me`` exists: the same run, or the same job requeued."""
        return self.run == me.run or (self.is_of_job(me) and self.restarts != me.restarts)

    def is_of_job(self, me: "Owner") -> bool:
        """Return True if both belong to one batch job."""
        return bool(me.job) and self.job == me.job

    def may_be_over(self, me: "Owner") -> bool:
        """Return True if the owner may have ended: the same job, or the same host after a restart."""
        return self.is_of_job(me) or (self.host == me.host and self.boot != me.boot)


def in_batch_job(environment: Mapping[str, str] = os.environ) -> bool:
    """Return True for a process of a batch job."""
    return any(environment.get(name) for name in JOBS)


def batch_job(environment: Mapping[str, str] = os.environ) -> str:
    """Return the kind and the number of the batch job of this process; empty without one."""
    name = next((name for name in JOBS if environment.get(name)), "")
    cluster = environment.get("SLURM_CLUSTER_NAME", "") if name == "SLURM_JOB_ID" else ""
    return f"{JOBS[name]} {environment[name]}{cluster and f' of {cluster}'}" if name else ""


def current_owner(run: str, environment: Mapping[str, str] = os.environ) -> Owner:
    """Return this process as the owner of ``run``."""
    boot = ""
    with contextlib.suppress(OSError):
        boot = BOOT_ID.read_text("ascii").strip()
    restarts = environment.get("SLURM_RESTART_COUNT", "")
    return Owner(
        run=run,
        host=socket.gethostname(),
        boot=boot,
        space=int(process_space()),
        pid=os.getpid(),
        started=int(process_start(os.getpid())),
        job=batch_job(environment),
        restarts=int(restarts) if restarts.isdecimal() else 0,
        since=time.strftime("%Y-%m-%d %H:%M:%S %z"),
    )


def write_owner(owner: Owner) -> bytes:
    """Return ``owner`` as the content of a file."""
    return (to_json(asdict(owner), indent=1) + "\n").encode()


def read_owner(data: bytes) -> Owner | None:
    """Return the owner named in a file; None if there is none."""
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        tree = json.loads(data)
        if isinstance(tree, dict) and all(type(tree.get(f.name)) is f.type for f in fields(Owner)):
            return Owner(**{f.name: tree[f.name] for f in fields(Owner)})
    return None
