"""Options that the subcommands of ``mpitrain submit`` share, and their checks."""

import re
import sys
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from ...duration import parse_time
from ...errors import UserError

MARGIN = 120.0  # seconds before its end at which a job is told to leave; of a short one a tenth of its time


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Options of all subcommands."""

    nodes: int = 1
    """Nodes of the job."""
    ranks_per_node: int = 1
    """Ranks on each node."""
    cores: int = 1
    """Cores of each rank, for its BLAS threads and the thread that prepares batches."""
    gpus: int = 0
    """GPUs of each rank: 0 or 1."""
    node_cores: int = 0
    """Cores that a node has: ranks that do not fit are refused here rather than by the queue. 0 for not known."""
    time: Annotated[str, arg(metavar="TIME")] = ""
    """Time limit (30m, 1h30m, 12:30:00, 2-00:00:00); empty leaves it to the queue."""
    name: str = "mpitrain"
    """Name of the job: letters, digits, dots, - and _."""
    array: Annotated[str, arg(metavar="OPTION=VALUES")] = ""
    """One job for each value of an option: seed=0-9, or config=a.toml,b.toml. The results of number N are in
    --out/N."""
    requeue: bool = True
    """Continue from the last checkpoint when the time is up, or after a preemption."""
    script: Annotated[str, arg(metavar="FILE")] = ""
    """File to write, which must not exist; - prints it. Empty names it after the job and the queue."""
    force: bool = False
    """Overwrite the file if it exists."""
    now: bool = False
    """Submit the job."""

    @property
    def ranks(self) -> int:
        """Ranks of the job."""
        return self.nodes * self.ranks_per_node

    @property
    def seconds(self) -> int:
        """The time limit in seconds; 0 for that of the queue."""
        return round(parse_time(self.time)) if self.time else 0


@dataclass(frozen=True, kw_only=True)
class QueueOptions(JobOptions):
    """Options of the batch systems."""

    partition: Annotated[str, arg(name="partition", aliases=("--queue",), metavar="NAME")] = ""
    """Partition or queue; empty takes the default one."""
    account: Annotated[str, arg(metavar="NAME")] = ""
    """Account or project that pays."""
    at_most: int = 0
    """Jobs of --array that may run at the same time; 0 for all."""
    directive: UseAppendAction[tuple[str, ...]] = ()
    """Another option of the queue, as in --directive="-C ib"; may be given several times."""
    module: UseAppendAction[tuple[str, ...]] = ()
    """Environment module to load; may be given several times."""
    setup: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="COMMAND")] = ()
    """Shell command to run before the ranks start, such as an export; may be given several times."""
    python: Annotated[str, arg(metavar="PATH")] = ""
    """Python interpreter with mpitrain; empty takes the one that runs this command, or python3 in a container."""
    container: Annotated[str, arg(metavar="IMAGE")] = ""
    """Apptainer image that the ranks run in (scripts/cluster/mpitrain.def makes one)."""
    host_mpi: Annotated[str, arg(metavar="DIR")] = ""
    """Folder of the cluster's MPI library, which takes the place of that in the container; for MPICH, any library of
    its ABI (Cray, Intel, MVAPICH)."""
    stage: bool = False
    """Copy Python and its packages to a disk of each node, since thousands of ranks that import them from a shared file
    system wait for it."""
    stage_to: Annotated[str, arg(metavar="DIR")] = "/tmp"
    """Folder on a disk of each node for --stage."""

    @property
    def interpreter(self) -> str:
        """The Python interpreter of the ranks."""
        return self.python or ("python3" if self.container else sys.executable)


def check_job(options: JobOptions) -> None:
    """Raise a UserError for a value outside its range."""
    for name in ("nodes", "ranks_per_node", "cores"):
        _at_least(options, name, 1)
    _at_least(options, "node_cores", 0)
    if options.gpus not in (0, 1):
        raise UserError(f"--gpus is {options.gpus}, but a rank uses one GPU or none: --ranks-per-node sets the number")
    needed = options.ranks_per_node * options.cores
    if 0 < options.node_cores < needed:
        ranks, cores = options.ranks_per_node, options.cores
        text = f"--ranks-per-node {ranks} of --cores {cores} needs {needed} cores on each node"
        raise UserError(f"{text}, which has {options.node_cores} (--node-cores)")
    if options.time and options.seconds < 60:
        raise UserError(f"--time is {options.time}, but a job needs at least a minute")
    check_word("--name", options.name)


def check_queue(options: QueueOptions) -> None:
    """Raise a UserError for a value outside its range, or for options that exclude each other."""
    check_job(options)
    _at_least(options, "at_most", 0)
    if options.at_most and not options.array:
        raise UserError("--at-most limits the jobs of --array, which is not given")
    for name in ("partition", "account"):
        if getattr(options, name):
            check_word(f"--{name}", getattr(options, name), more=",")
    if options.host_mpi and not options.container:
        raise UserError("--host-mpi is for --container: without one, the ranks use the library of --module or --python")
    if options.stage and options.container:
        raise UserError("--stage does not go with --container, which is one file already")
    for name in ("directive", "module", "setup"):
        if any("\n" in value or not value.strip() for value in getattr(options, name)):
            raise UserError(f"--{name} must be one line that is not empty")


def check_word(option: str, value: str, more: str = "") -> None:
    """Raise a UserError for a name that a queue would not accept, or read as two words."""
    if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._{more}-]*", value):
        raise UserError(f"{option} is {value!r}, but must consist of letters, digits, dots, - and _")


def leave_after(options: JobOptions) -> int:
    """Return the seconds after which the training leaves with a checkpoint, before the queue ends it; 0 for never."""
    return int(options.seconds - min(MARGIN, options.seconds / 10))


def hours(seconds: int) -> str:
    """Return a time as queues write it.

    >>> hours(90 * 60), hours(26 * 3600 + 61)
    ('1:30:00', '26:01:01')
    """
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _at_least(options: JobOptions, name: str, least: int) -> None:
    value = getattr(options, name)
    if value < least:
        raise UserError(f"--{name.replace('_', '-')} is {value}, but must be at least {least}")
