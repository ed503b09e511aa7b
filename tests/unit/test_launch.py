import pytest

from mpitrain.comm.launch import launched_rank, launched_size, lonely_message


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
    four = {"PMI_RANK": "1", "PMI_SIZE": "4"}
    assert lonely_message(4, four) is None
    assert lonely_message(1, {}) is None
    message = lonely_message(1, four)
    assert message is not None
    assert message.startswith("the launcher started 4 processes, but MPI sees only one in each")
