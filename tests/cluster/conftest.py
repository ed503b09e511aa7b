"""Two hosts of one machine, and jobs of mpirun across them. Without what they need, tests are skipped in one line."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from ..system.conftest import ENVIRONMENT, OPEN_MPI

HERE = Path(__file__).parent
HOSTS, RSH = HERE / "hosts.sh", HERE / "rsh.sh"
NETWORK = "10.78.0.0/24"
FIRST = "mpt1"  # where commands are typed
KILL = ("timeout", "-s", "KILL")


def host_script(*arguments):
    """Run hosts.sh and return its output."""
    done = subprocess.run([HOSTS, *map(str, arguments)], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


@pytest.fixture(scope="session")
def hosts():
    """Make two hosts, and remove them in any case; their names."""
    reason = host_script("missing").strip()
    if reason:  # namespaces take root and iproute2, which a laptop or a container may lack
        pytest.skip(reason)
    host_script("down")  # those of a run that was killed
    with contextlib.ExitStack() as stack:
        stack.callback(host_script, "down")
        host_script("up", 2)
        yield "mpt1", "mpt2"


@pytest.fixture
def whole_network(hosts):
    """Plug all cables in again."""
    yield
    for host in hosts:
        host_script("join", host)


class Running:
    """A command on the first host, with a time limit in seconds, whose output is seen while it runs."""

    def __init__(self, command, directory, limit):
        self.file = directory / "output.txt"
        with self.file.open("w") as output:
            self.process = subprocess.Popen(
                [*KILL, str(limit), HOSTS, "on", FIRST, *map(str, command)],
                cwd=directory,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self):
        return self.file.read_text(errors="replace")

    def wait(self):
        """Return the exit code (-9 at the limit) and the output."""
        return self.process.wait(), self.output


def launcher(hosts, ranks_per_host):
    """Return the mpirun of this environment across hosts."""
    places, number = ",".join(f"{host}:{ranks_per_host}" for host in hosts), str(ranks_per_host * len(hosts))
    mpirun = Path(sys.executable).parent / "mpirun"
    if not OPEN_MPI:
        return [mpirun, "-launcher", "ssh", "-launcher-exec", RSH, "-iface", "eth0", "-hosts", places, "-n", number]
    transports = ["--mca", "pml", "ob1", "--mca", "btl", "self,sm,tcp", "--mca", "btl_tcp_if_include", NETWORK]
    command = [mpirun, "--prefix", sys.prefix, "--prtemca", "plm_ssh_agent", RSH, "--bind-to", "none", *transports]
    command += ["--mca", "mpi_yield_when_idle", "1"]  # more ranks than cores: a wait leaves them to others
    return [*command, "--host", places, "-n", number]


@pytest.fixture
def begin(hosts, tmp_path):
    """Begin ``mpirun ... python -m mpitrain ARGUMENTS`` with two ranks on each host; what still runs is ended."""
    running = []

    def run(*arguments, limit=60, ranks_per_host=2):
        line = [*launcher(hosts, ranks_per_host), sys.executable, "-m", "mpitrain", *arguments]
        running.append(Running(line, tmp_path, limit))
        return running[-1]

    yield run
    for job in running:
        if job.process.poll() is None:
            job.process.kill()
            job.process.wait()


@pytest.fixture
def mpitrain(begin):
    """Run ``mpirun ... python -m mpitrain ARGUMENTS`` to its end; its exit code and output."""
    return lambda *arguments, **options: begin(*arguments, **options).wait()
