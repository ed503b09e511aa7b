import pytest

from mpitrain.comm.launch import launched_rank, launched_size, lonely_message, misfit


@pytest.mark.parametrize(
    ("environment", "rank", "size"),
    [
        ({}, 0, 1),
        ({"PMI_RANK": "3", "PMI_SIZE": "4"}, 3, 4),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "1"}, 1, 2),
        ({"PMIX_RANK": "2"}, 2, 3),
        ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8"}, 5, 8),
        # a batch script: the job has tasks, but this process is in no step of theirs
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 0, 1),
        # mpirun -n 1 inside a step of four tasks
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "PMI_SIZE": "1", "PMI_RANK": "0"}, 0, 1),
        ({"PMI_RANK": "x", "PMI_SIZE": ""}, 0, 1),
    ],
)
def test_what_launchers_say(environment, rank, size):
    assert (launched_rank(environment), launched_size(environment)) == (rank, size)


def test_lonely():
    four = {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "4"}
    assert lonely_message(4, "Open MPI v5", four) is None
    assert lonely_message(1, "Open MPI v5", {}) is None
    message = lonely_message(1, "Open MPI v5", four)
    assert message is not None
    assert message.startswith(
        "the launcher started 4 processes, but MPI sees only one in each: mpirun belongs to another"
    )


@pytest.mark.parametrize(("library", "plugin"), [("Open MPI v5.0.11", "pmix"), ("MPICH 5.0.2", "pmi2")])
def test_srun_that_speaks_another_language(library, plugin):
    message = lonely_message(1, library, {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3"})
    assert f"srun does not use the protocol of {library}; srun --mpi={plugin} fits" in message


def test_mpich_under_pmix_needs_to_be_built_for_it():
    pmix = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3", "PMIX_RANK": "1"}
    assert "srun uses pmix, which MPICH 5.0.2 was not built for; srun --mpi=pmi2" in misfit("MPICH 5.0.2", pmix)
    assert misfit("MPICH 5.0.2", pmix, supports_pmix=True) is None
    assert misfit("Open MPI v5.0.11", pmix) is None
    assert misfit("MPICH 5.0.2", pmix | {"PMI_RANK": "1", "PMI_SIZE": "3"}) is None


def test_mpich_by_its_own_mpirun_inside_a_slurm_job():
    hydra = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"}
    assert misfit("MPICH 5.0.2", hydra) is None
    assert "the launcher is MPICH's" in misfit("Open MPI v5.0.11", hydra)
