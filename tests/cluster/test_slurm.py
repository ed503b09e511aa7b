"""Jobs that ``mpitrain submit slurm`` sends to a Slurm of two nodes, on the MPI library of this environment."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..system.conftest import ENVIRONMENT, OPEN_MPI
from .conftest import FIRST, HOSTS, KILL, NETWORK

SLURM = Path(__file__).parent / "slurm.sh"
SIZE = ("--nodes", 2, "--ranks-per-node", 2)
TRAIN = ("--model", "mlp:widths=16", "--progress", "lines", "--threads", 1)
LONG = ("--epochs", 250)  # some seconds
# more ranks than cores: those that wait leave them to others, which MPICH's do by themselves
YIELDING = {"OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_btl_tcp_if_include": NETWORK}
WHERE = """
import mpitrain, sys

class Where(mpitrain.Hook):
    def train_begin(self, info):
        with open(f"where-{info.group.rank}", "w") as file:
            file.write(sys.prefix if mpitrain.__file__.startswith(sys.prefix) else mpitrain.__file__)
"""
PATIENCE = 120.0  # seconds for a job to get to a state

pytestmark = pytest.mark.timeout(3 * PATIENCE)


@pytest.fixture(scope="session")
def slurm(hosts, tmp_path_factory):
    """Start Slurm on the hosts, with which it ends; the variables of its commands."""
    missing = subprocess.run([SLURM, "missing"], check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    if missing:  # a system package that nobody has to install for the other tests; scripts/test slurm exits with 2
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("slurm")
    with (folder / "up.txt").open("w") as output:  # a pipe would stay open as long as Slurm runs
        subprocess.run([SLURM, "up", folder], check=True, stdout=output, stderr=output, timeout=60)
    return {"SLURM_CONF": str(folder / "slurm.conf"), **YIELDING}


class Cluster:
    """Commands of Slurm, typed on the first host in a folder."""

    def __init__(self, folder, environment):
        self.folder, self._environment = folder, ENVIRONMENT | environment

    def run(self, *command):
        """Return the exit code, the output and the errors of a command."""
        line = [*KILL, "60", HOSTS, "on", FIRST, *map(str, command)]
        done = subprocess.run(
            line, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=90, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def submit(self, *arguments):
        """Return the number of a job that is submitted at once."""
        code, out, err = self.run(sys.executable, "-m", "mpitrain", "submit", "slurm", "--now", "--force", *arguments)
        assert code == 0, err
        return re.search(r"Submitted batch job (\d+)", out)[1]

    def field(self, job, name):
        """Return a field of what scontrol shows of a job."""
        found = re.search(rf"\b{name}=(\S+)", self.run("scontrol", "show", "job", job)[1])
        return found[1] if found else ""

    def wait(self, job, *states):
        """Wait until a job is in one of the states; one that is held back after a requeue begins at once."""
        end = time.monotonic() + PATIENCE
        while (state := self.field(job, "JobState")) not in states:
            assert time.monotonic() < end, f"job {job} is {state}\n{self.output(job)}"
            assert state not in ("FAILED", "NODE_FAIL", "TIMEOUT") or state in states, self.output(job)
            if state == "PENDING" and self.field(job, "Reason") == "BeginTime":
                self.run("scontrol", "update", f"JobId={job}", "StartTime=now")
            time.sleep(0.3)
        return state

    def wait_for(self, job, text):
        """Wait until a job has written a text."""
        end = time.monotonic() + PATIENCE
        while text not in self.output(job):
            assert time.monotonic() < end, self.output(job)
            time.sleep(0.1)

    def output(self, job):
        """Return what a job has written."""
        path = self.folder / f"slurm-{job}.out"
        return path.read_text(errors="replace") if path.exists() else ""

    def report(self, name):
        """Return the report of a finished run."""
        return json.loads((self.folder / name / "report.json").read_text())


@pytest.fixture
def cluster(slurm, tmp_path):
    found = Cluster(tmp_path, slurm)
    yield found
    found.run("scancel", "--user", "root")


def small_environment(folder):
    """Make an environment of links to this one, which is copied sooner, and return its interpreter."""
    site = next(Path(sys.prefix, "lib").glob("python3*/site-packages"))
    own = folder / "lib" / site.parent.name / "site-packages"
    own.mkdir(parents=True)
    (own / "all.pth").write_text(f"import site; site.addsitedir({str(site)!r})\n")
    for file in Path(sys.prefix, "lib").iterdir():
        if file.name != site.parent.name:
            (folder / "lib" / file.name).symlink_to(file)
    (folder / "pyvenv.cfg").write_text(Path(sys.prefix, "pyvenv.cfg").read_text())
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    return folder / "bin" / "python"


def test_a_job_finishes(cluster):
    job = cluster.submit(*SIZE, "--time", "10m", "--", *TRAIN, "--epochs", 2)
    cluster.wait(job, "COMPLETED")
    assert "4 ranks" in cluster.output(job), cluster.output(job)
    assert cluster.report(f"runs/mpitrain-{job}")["ranks"] == 4


def test_python_comes_from_a_disk_of_each_node(cluster):
    python = small_environment(cluster.folder / "environment")
    (cluster.folder / "where.py").write_text(WHERE)
    stage = ("--stage", "--stage-to", "/dev/shm", "--python", python, "--launcher", "pmix" if OPEN_MPI else "pmi2")
    job = cluster.submit(*SIZE, *stage, "--", *TRAIN, "--epochs", 1, "--hook", "where.py:Where", "--out", "run")
    cluster.wait(job, "COMPLETED")
    assert "4 ranks" in cluster.output(job), cluster.output(job)
    for rank in range(4):
        assert (cluster.folder / f"where-{rank}").read_text().startswith(f"/dev/shm/mpitrain-python-{job}-")
    assert not list(cluster.folder.glob(".mpitrain-python*"))


def test_a_preempted_job_continues_and_finishes(cluster):
    job = cluster.submit(*SIZE, "--cores", 2, "--", *TRAIN, *LONG, "--out", "run", "--checkpoint-every", 0)
    cluster.wait_for(job, "epoch   2/250")
    other = cluster.submit(*SIZE, "--cores", 2, "--name", "other", "--partition", "high", "--", "doctor")
    cluster.wait(other, "COMPLETED")
    assert re.search(r"left after step \d+", cluster.output(job)), cluster.output(job)
    cluster.wait(job, "COMPLETED")
    assert "resumed after step" in cluster.output(job)
    assert cluster.field(job, "Restarts") == "1"
    assert cluster.report("run")["epochs"] == 250


def test_a_signal_requeues_a_job(cluster):
    job = cluster.submit(*SIZE, "--", *TRAIN, *LONG, "--out", "run")
    cluster.wait_for(job, "epoch   2/250")
    cluster.run("scancel", "--signal", "USR1", job)
    cluster.wait_for(job, "left after step")
    cluster.wait(job, "COMPLETED")
    assert "resumed after step" in cluster.output(job), cluster.output(job)
    assert cluster.field(job, "Restarts") == "1"


def test_an_array_trains_one_run_for_each_value(cluster):
    job = cluster.submit("--ranks-per-node", 2, "--array", "seed=3,5", "--", *TRAIN, "--epochs", 1, "--out", "runs")
    for task in (0, 1):
        cluster.wait(f"{job}_{task}", "COMPLETED")
    seeds = [
        re.search(r"^seed = (\d+)", (cluster.folder / f"runs/{task}/config.toml").read_text(), re.M)[1]
        for task in (0, 1)
    ]
    assert seeds == ["3", "5"]


def test_mpirun_in_a_job(cluster):
    job = cluster.submit(*SIZE, "--launcher", "mpirun", "--time", "10m", "--", *TRAIN, "--epochs", 1)
    cluster.wait(job, "COMPLETED")
    assert "4 ranks" in cluster.output(job), cluster.output(job)


def test_a_wrong_protocol_of_srun_is_told_in_one_sentence(cluster):
    wrong, right = ("pmi2", "pmix") if OPEN_MPI else ("pmix", "pmi2")
    job = cluster.submit(*SIZE, "--launcher", wrong, "--", "doctor")
    cluster.wait(job, "FAILED")
    said = [line for line in cluster.output(job).splitlines() if line.startswith("mpitrain: ")]
    assert len(said) == 1, cluster.output(job)
    assert f"srun --mpi={right} fits" in said[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--partition", "none"), "invalid partition specified: none"),
        (("--time", "12:00:00"), "Requested time limit is invalid"),
        (("--nodes", 5), "Node count specification invalid"),
        (("--cores", 40), "More processors requested than permitted"),
    ],
)
def test_refusals_are_those_of_slurm(cluster, options, words):
    code, out, err = cluster.run(sys.executable, "-m", "mpitrain", "submit", "slurm", "--now", *options)
    assert (code, out) == (2, "")
    assert err.startswith("mpitrain: Slurm refused mpitrain.slurm.sh: sbatch: error: ")
    assert words in err
    assert err.count("\n") == 1
