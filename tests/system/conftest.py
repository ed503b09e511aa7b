"""Whole runs as a user starts them: mpirun, the command line, files on disk."""

import os
import shutil
import subprocess
import sys

import pytest

from .small_table import SOURCE, TABLE, write_table

# The caller's terminal is not that of the jobs: a process of pytest-xdist gets COLUMNS and LINES.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")} | {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "NO_COLOR": "1",
    "TERM": "dumb",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}

OPEN_MPI = "Open MPI" in subprocess.run([shutil.which("mpirun"), "--version"], capture_output=True, text=True).stdout


class Job:
    """An mpirun that is killed when its time is up."""

    def __init__(self, directory, ranks, program, arguments, environment=None, launcher=()):
        self._start(["mpirun", *launcher, *self.part(ranks, program, arguments)], directory, environment)

    @classmethod
    def of_parts(cls, directory, parts):
        """Start ranks with other arguments each: ``mpirun -n 1 ... : -n 1 ...``."""
        job = cls.__new__(cls)
        lines = [cls.part(1, ("-m", "mpitrain"), arguments) for arguments in parts]
        job._start(["mpirun", *[word for line in lines for word in (":", *line)][1:]], directory, None)
        return job

    @staticmethod
    def part(ranks, program, arguments):
        return ["-n", str(ranks), sys.executable, *program, *map(str, arguments)]

    def _start(self, command, directory, environment):
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env=ENVIRONMENT | (environment or {}),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def end(self, timeout=90):
        """Return (exit code, output, errors)."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            pytest.fail(f"the job hung for {timeout} s\n{out}\n{err}")
        return self.process.returncode, out, err


@pytest.fixture
def start(tmp_path):
    """Begin ``mpirun -n RANKS python -m mpitrain ...`` in tmp_path; jobs that still run are killed at the end."""
    jobs = []

    def run(ranks, *arguments, program=("-m", "mpitrain"), environment=None, launcher=()):
        jobs.append(Job(tmp_path, ranks, program, arguments, environment, launcher))
        return jobs[-1]

    yield run
    for job in jobs:
        if job.process.poll() is None:
            job.process.kill()
            job.process.communicate()


@pytest.fixture
def mpitrain(tmp_path):
    """Run ``mpirun -n RANKS python -m mpitrain ...`` in tmp_path to its end."""

    def run(ranks, *arguments, program=("-m", "mpitrain"), timeout=90, environment=None, launcher=()):
        return Job(tmp_path, ranks, program, arguments, environment, launcher).end(timeout)

    return run


@pytest.fixture
def mpitrain_each(tmp_path):
    """Run a rank for each tuple of arguments, in one job, to its end."""

    def run(*parts, timeout=60):
        return Job.of_parts(tmp_path, parts).end(timeout)

    return run


@pytest.fixture
def table(tmp_path):
    """Write train.csv, the small table."""
    return write_table(tmp_path / "train.csv")


@pytest.fixture
def run(table, mpitrain):
    """Train on the small table, and return the run directory."""
    code, _, err = mpitrain(2, *TABLE, "--data", SOURCE, "--out", "run")
    assert code == 0, err
    return table.parent / "run"
