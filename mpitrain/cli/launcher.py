"""``mpitrain -n 4 ...``: start the ranks by the mpirun of the MPI library that mpi4py loads."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..comm.launch import by_mpirun, launched_size
from ..errors import UserError
from .signals import EARLY

if TYPE_CHECKING:
    from .order import Job, LocalJob

OPTIONS = ("-n", "-np")
NAMES = ("mpirun", "mpiexec", "mpirun.openmpi", "mpirun.mpich", "mpiexec.hydra", "orterun")
SLOT_VARIABLES = ("SLURM_NTASKS", "PBS_NP", "LSB_DJOB_NUMPROC", "NSLOTS")  # of batch systems, in this order
PATIENCE = 20.0  # seconds for mpirun --version
Family = Literal["Open MPI", "MPICH"]


def split_ranks(argv: list[str]) -> tuple[int | None, list[str]]:
    """Return the N of a leading ``-n N``, and the remaining arguments; None without a leading ``-n``.

    Raises
    ------
    UserError
        If N is missing or not a number of ranks.

    Examples
    --------
    >>> split_ranks(["-n", "4", "train", "--epochs", "1"])
    (4, ['train', '--epochs', '1'])
    >>> split_ranks(["collective", "price", "-n", "64"])
    (None, ['collective', 'price', '-n', '64'])
    """
    if not argv:
        return None, argv
    if argv[0] in OPTIONS:
        text, rest = (argv[1] if len(argv) > 1 else ""), argv[2:]
    elif argv[0].startswith("-n") and argv[0][2:].removeprefix("=").isdecimal():
        text, rest = argv[0][2:].removeprefix("="), argv[1:]
    else:
        return None, argv
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        given = f"is {text!r}, but must be" if text else "needs"
        raise UserError(f"-n {given} a number of ranks: mpitrain -n 4 train")
    return int(text), rest


def start_ranks(ranks: int, argv: Sequence[str], job: "Job | LocalJob") -> None:
    """Replace this process by the mpirun that starts ``mpitrain`` with ``argv``; for one rank, return.

    Its exit code is that of the job, and signals reach it, since no process is in between.

    Raises
    ------
    UserError
        If ``job`` takes one process only, if a launcher has started this process already, or if there is no mpirun
        for the MPI library that mpi4py loads.
    """
    from .order import LocalJob

    command = " ".join(word for word in argv[:2] if not word.startswith("-"))
    if isinstance(job, LocalJob):
        raise UserError(f"mpitrain {command} runs in one process: leave out -n {ranks} before it (its own -n follows)")
    if launched_size() > 1 or by_mpirun():
        raise UserError(f"-n {ranks} starts ranks, but this process is one already: leave out -n, or mpirun")
    if ranks == 1:
        return
    library = library_of_mpi4py()
    launcher = find_launcher(library, ranks)
    environment = os.environ | additions(family(library), ranks, os.environ)
    parallel = getattr(job.options, "parallel", None)  # of train; --elastic may be in a config file
    elastic = parallel is not None and parallel.elastic
    survive = ["--with-ft", "ulfm"] if family(library) == "Open MPI" and elastic else []
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and mpirun would go on to do so
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, EARLY)
    sys.stdout.flush()
    sys.stderr.flush()
    line = [launcher, *survive, "-n", str(ranks), sys.executable, "-m", "mpitrain", *argv]
    os.execve(launcher, line, environment)


def find_launcher(library: str, ranks: int) -> str:
    """Return the mpirun of ``library``: one that was installed with this Python comes first, then the PATH.

    Raises
    ------
    UserError
        If there is none; the message names those of other libraries.
    """
    others: dict[Family | None, str] = {}
    for path in _candidates():
        found = family(_version(path))
        if found == family(library):
            return path
        others.setdefault(found, path)
    seen = ", ".join(f"{path} is {'of ' + found if found else 'of another kind'}" for found, path in others.items())
    raise UserError(
        f"-n {ranks} needs the mpirun of {library}, the MPI library that mpi4py loads, and there is none on the "
        f"PATH{seen and f' ({seen})'}: start the ranks in another way, such as srun -n {ranks} python -m mpitrain"
    )


def family(text: str) -> Family | None:
    """Return the MPI family of a library's name, or of the output of ``mpirun --version``.

    >>> family("mpirun (Open MPI) 5.0.11"), family("HYDRA build details:"), family("aprun")
    ('Open MPI', 'MPICH', None)
    """
    if any(name in text for name in ("Open MPI", "OpenRTE", "PRRTE")):
        return "Open MPI"
    return "MPICH" if any(name in text for name in ("MPICH", "HYDRA", "Intel(R) MPI", "MVAPICH")) else None


def additions(kind: Family | None, ranks: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let Open MPI's mpirun start, where ``environment`` does not have them.

    It refuses to start more ranks than slots (cores, or tasks of a batch job), and to run as root.
    """
    wanted: dict[str, str] = {}
    if kind == "Open MPI" and ranks > _slots(environment):
        wanted |= {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}  # from version 5 on
        wanted |= {"OMPI_MCA_rmaps_base_oversubscribe": "1"}
    if kind == "Open MPI" and os.geteuid() == 0:
        wanted |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {name: value for name, value in wanted.items() if name not in environment}


def library_of_mpi4py() -> str:
    """Return the name and version of the MPI library of mpi4py, without initializing MPI."""
    from ..comm.launch import no_library

    try:
        from ..comm.start import library_name
    except (ImportError, RuntimeError) as error:
        raise no_library(error) from None
    return library_name()


def _candidates() -> Iterator[str]:
    """Yield the existing launchers, each once."""
    own = Path(sys.executable).parent, Path(sys.prefix) / "bin"
    paths = [str(folder / name) for folder in own for name in NAMES] + [shutil.which(name) or "" for name in NAMES]
    yield from dict.fromkeys(path for path in paths if os.access(path, os.X_OK))


def _version(path: str) -> str:
    import subprocess  # which ranks do not need

    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _slots(environment: Mapping[str, str]) -> int:
    """Return Open MPI's default number of ranks: the tasks of a batch job, or the cores (not hardware threads)."""
    for name in SLOT_VARIABLES:
        if environment.get(name, "").isdecimal():
            return int(environment[name])
    if not hasattr(os, "sched_getaffinity"):
        return (os.cpu_count() or 1) // 2
    siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    cores = set()
    for cpu in os.sched_getaffinity(0):
        path = Path(siblings.format(cpu))
        cores.add(path.read_text("ascii") if path.exists() else str(cpu))
    return len(cores)
