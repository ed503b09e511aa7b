"""``mpitrain -n 4``: which mpirun it becomes, with which environment; whole jobs are in tests/system."""

import os
import sys

import pytest

from mpitrain.cli import launcher
from mpitrain.cli.launcher import additions, family, find_launcher, split_ranks
from mpitrain.cli.main import main
from mpitrain.errors import UserError

TALK = {"Open MPI": "mpirun (Open MPI) 5.0.11", "MPICH": "HYDRA build details:\n    Version: 5.0.2", None: "aprun 1.0"}
LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")


@pytest.fixture
def alone(monkeypatch):
    """No launcher has started this process."""
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put launchers into folders of their own, and these, in order, on the PATH; nothing comes with this Python."""

    def install(*launchers):
        folders = []
        for number, (name, kind) in enumerate(launchers):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / name).write_text(f"#!/bin/sh\ncat <<'E'\n{TALK[kind]}\nE\n")
            (folder / name).chmod(0o755)
            folders.append(str(folder))
        monkeypatch.setenv("PATH", ":".join([*folders, "/usr/bin", "/bin"]) if folders else str(tmp_path))
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        return folders

    return install


@pytest.mark.parametrize(
    ("argv", "ranks", "rest"),
    [
        (["-n", "4", "train", "--epochs", "1"], 4, ["train", "--epochs", "1"]),
        (["-n4", "--epochs", "1"], 4, ["--epochs", "1"]),
        (["-n=16"], 16, []),
        (["-np", "2", "doctor"], 2, ["doctor"]),
        ([], None, []),
        (["train", "-n", "4"], None, ["train", "-n", "4"]),
        (["collective", "price", "-n", "64"], None, ["collective", "price", "-n", "64"]),
        (["--nesterov"], None, ["--nesterov"]),
    ],
)
def test_only_a_leading_n_starts_ranks(argv, ranks, rest):
    assert split_ranks(argv) == (ranks, rest)


@pytest.mark.parametrize("text", ["0", "-3", "x", "", "1.5", "４"])
def test_n_is_a_number_of_ranks(text):
    with pytest.raises(UserError, match="a number of ranks: mpitrain -n 4 train"):
        split_ranks(["-n", text])


def test_families():
    assert family("Open MPI v5.0.11") == family("prterun (PRRTE) 3.0.5") == "Open MPI"
    assert family("MPICH 5.0.2") == family("Intel(R) MPI Library for Linux* OS, Version 2021.9") == "MPICH"
    assert family("srun 23.02") is None


def test_the_mpirun_of_the_library_is_found_behind_others(installed):
    folders = installed(("mpirun", None), ("mpiexec", "MPICH"), ("mpirun.openmpi", "Open MPI"))
    assert find_launcher("MPICH 5.0.2", 4) == f"{folders[1]}/mpiexec"
    assert find_launcher("Open MPI v5.0.11", 4) == f"{folders[2]}/mpirun.openmpi"


def test_the_one_that_came_with_this_python_is_first(installed, tmp_path):
    installed(("mpirun", "MPICH"))
    (tmp_path / "bin").mkdir()
    own = tmp_path / "bin" / "mpirun"
    own.write_text(f"#!/bin/sh\necho '{TALK['MPICH'].splitlines()[0]}'\n")
    own.chmod(0o755)
    assert find_launcher("MPICH 5.0.2", 4) == str(own)


def test_no_mpirun_of_that_library(installed):
    folders = installed(("mpirun", "Open MPI"))
    with pytest.raises(UserError) as caught:
        find_launcher("MPICH 5.0.2", 4)
    assert str(caught.value) == (
        "-n 4 needs the mpirun of MPICH 5.0.2, the MPI library that mpi4py loads, and there is none on the PATH "
        f"({folders[0]}/mpirun is of Open MPI): start the ranks in another way, such as srun -n 4 python -m mpitrain"
    )
    installed_nothing = installed()
    assert installed_nothing == []
    with pytest.raises(UserError, match="there is none on the PATH: start the ranks"):
        find_launcher("MPICH 5.0.2", 4)


def test_open_mpi_is_told_to_oversubscribe_only_where_it_would_refuse(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert additions("Open MPI", 4, {"SLURM_NTASKS": "4"}) == {}
    assert additions("Open MPI", 5, {"SLURM_NTASKS": "4"}) == {
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }
    chosen = {"SLURM_NTASKS": "4", "PRTE_MCA_rmaps_default_mapping_policy": "slot"}
    assert additions("Open MPI", 5, chosen) == {"OMPI_MCA_rmaps_base_oversubscribe": "1"}
    assert additions("Open MPI", 100_000, {}) != {}
    assert additions("Open MPI", 1, {}) == {}
    assert additions("MPICH", 100_000, {}) == {}


def test_open_mpi_is_told_that_root_may(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert additions("Open MPI", 1, {}) == {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@pytest.mark.parametrize("elastic", [("--elastic",), ("--config", "elastic.toml")])
def test_this_process_becomes_the_mpirun(monkeypatch, tmp_path, alone, installed, elastic):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elastic.toml").write_text("[parallel]\nelastic = true\n")
    folders = installed(("mpirun", "Open MPI"))
    monkeypatch.setattr(launcher, "library_of_mpi4py", lambda: "Open MPI v5.0.11")
    calls = []
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(launcher.signal, "signal", lambda *_: None)
    monkeypatch.setattr("mpitrain.cli.main.run", lambda job: 0)  # execve never returns to it
    main(["-n", "3", "train", "--epochs", "2", *elastic])
    (path, line, environment), *more = calls
    assert more == []
    assert path == line[0] == f"{folders[0]}/mpirun"
    assert line[1:] == ["--with-ft", "ulfm", "-n", "3", sys.executable, "-m", "mpitrain", "train", "--epochs", "2",
                        *elastic]  # fmt: skip
    assert environment["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("launched", [{"PMI_SIZE": "2", "PMI_RANK": "0"}, {"OMPI_COMM_WORLD_SIZE": "1"},
                                      {"MPI_LOCALNRANKS": "1"}, {"SLURM_STEP_NUM_TASKS": "4"}])  # fmt: skip
def test_ranks_do_not_start_ranks(capsys, monkeypatch, alone, launched):
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    assert main(["-n", "3", "doctor"]) == 2
    assert capsys.readouterr().err == (
        "mpitrain: -n 3 starts ranks, but this process is one already: leave out -n, or mpirun\n"
    )


def test_mistakes_are_told_before_anything_is_started(capsys, monkeypatch, alone):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("mpirun was started"))
    assert main(["-n", "3", "--epochs", "0"]) == 2
    assert capsys.readouterr().err == "mpitrain: --epochs is 0, but must be at least 1\n"
