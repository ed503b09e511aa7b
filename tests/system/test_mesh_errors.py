"""Mistakes in the options of a mesh or a pipeline: one sentence, exit code 2, no rank left waiting."""

import pytest

from .small_table import SOURCE, one_sentence, write_table

MODEL = ("--model", "mlp", "--widths", 16, 16, "--epochs", 1, "--progress", "none", "--out", "run")

SCHEDULES = """
import os

from mpitrain.pipelines import Task

RANK = os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK"))


def by_environment(rank, size, m):
    yield from (Task("F", rank, i) for i in range(m))
    backward = range(m) if RANK == "0" else reversed(range(m))
    yield from (Task("B", rank, i) for i in backward)


def forward_only(rank, size, m):
    yield from (Task("F", rank, i) for i in range(m))
"""

NETWORKS = """
import os

from mpitrain.layers import Flatten, Linear, ReLU, Sequential

RANK = os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK"))


class Own(Sequential):
    def forward(self, x, ctx):
        return super().forward(x, ctx)


def own_forward(shape, n):
    return Own(Flatten(), Linear(64, 16), ReLU(), Linear(16, n))


def one_layer(shape, n):
    return Linear(64, n)


def one_unit(shape, n):
    return Sequential(Linear(64, n))


def by_rank(shape, n):
    width = 17 if RANK == "1" else 16
    return Sequential(Flatten(), Linear(64, width), ReLU(), Linear(width, n))
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "schedules.py").write_text(SCHEDULES)
    (tmp_path / "networks.py").write_text(NETWORKS)
    (tmp_path / "broken.py").write_text("def pipeline(rank, size, m)\n    yield\n")


@pytest.mark.any_mpi
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mesh", "both"), "a mesh is written as data=2,pipe=4, not as both; for 2 ranks there is "),
        (("--mesh", "data=2,pipe=2"), "the mesh data=2,pipe=2 has 4 ranks, not 2; for 2 ranks there is "),
        (("--mesh", "pipe=2", "--pipeline", "1b1f"), "there is no pipeline '1b1f'; there are 1f1b, gpipe, "),
        (("--mesh", "pipe=2", "--pipeline", "1f1b:chunks=2"), "the pipeline '1f1b' has no option 'chunks'"),
        (("--mesh", "pipe=2", "--pipeline", "broken.py:pipeline"), "broken.py, line 1: expected ':'"),
        (
            ("--mesh", "pipe=2", "--pipeline", "schedules.py:forward_only"),
            "rank 0 of 2 never yields B of microbatch 0 ",
        ),
        (
            ("--mesh", "pipe=2", "--pipeline", "schedules.py:by_environment"),
            "the pipeline schedules.py:by_environment yields other tasks on rank 1 than on rank 0: they may depend on ",
        ),
        (("--mesh", "pipe=2", "--stages", "1,2"), "are given by 1 first unit, but '1,2' has 2"),
        (("--pipeline", "gpipe"), "--pipeline is for a pipeline: give its number of ranks, as in --mesh pipe=2"),
        (("--context", "ring"), "--context is for axis context: give its number of ranks, as in --mesh context=2"),
        (
            ("--mesh", "context=2"),
            "axis context divides the tokens of attention, and the model has none: use axis data",
        ),
        (("--channel", "nccl"), "--channel is for a pipeline: give its number of ranks, as in --mesh pipe=2"),
        (
            ("--mesh", "pipe=2", "--channel", "nccl"),
            "nccl needs a GPU on each rank, and rank 0 has none: choose another --channel",
        ),
        (("--mesh", "pipe=2", "--elastic"), "ranks with a part of the model cannot be lost yet: "),
        (
            ("--mesh", "pipe=2", "--model", "resnet8", "--reproducible", 8),
            "statistics of batch normalization over all ",
        ),
        (("--mesh", "pipe=2", "--model", "networks.py:own_forward"), "Own has a forward of its own, so it cannot be "),
        (("--mesh", "pipe=2", "--model", "networks.py:one_layer"), "the model is one unit, Linear, and only a "),
        (("--mesh", "pipe=2", "--model", "networks.py:one_unit"), "1 unit, which cannot be cut into 2 stages"),
    ],
    ids=lambda value: " ".join(map(str, value[-2:])) if isinstance(value, tuple) else "",
)
def test_one_sentence(mpitrain, files, options, message):
    model = MODEL[5:] if "--model" in options else MODEL
    code, _, err = mpitrain(2, *model, *options)
    assert code == 2, err
    assert message in one_sentence(err)


@pytest.mark.any_mpi
def test_networks_that_differ(mpitrain, files):
    code, _, err = mpitrain(2, *MODEL[5:], "--model", "networks.py:by_rank", "--mesh", "pipe=2")
    assert code == 1, err
    assert one_sentence(err).startswith("rank 1 has built another model than rank 0: its ")


@pytest.mark.any_mpi
@pytest.mark.parametrize(
    ("mine", "theirs", "message"),
    [
        (("--mesh", "data=2"), ("--mesh", "pipe=2"), "--mesh is data=2 on rank 0 and pipe=2 on rank 1"),
        (("--pipeline", "gpipe"), (), "--pipeline is gpipe on rank 0 and 1f1b on rank 1"),
        (("--stages", 1), ("--stages", 2), "--stages is 1 on rank 0 and 2 on rank 1"),
        (("--accumulate", 2), ("--accumulate", 4), "--accumulate is 2 on rank 0 and 4 on rank 1"),
        ((), ("--channel", "nccl"), "--channel is mpi on rank 0 and nccl on rank 1"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_settings_that_differ(mpitrain_each, mine, theirs, message):
    options = (*MODEL, "--mesh", "pipe=2")
    code, _, err = mpitrain_each((*options, *mine), (*options, *theirs))
    assert code == 2, err
    assert one_sentence(err) == f"{message}: all ranks must have the same settings"


@pytest.mark.any_mpi
def test_data_that_differ(mpitrain_each, tmp_path):
    """The ranks of the last stage need no samples, and yet it is said where they have others."""
    for rank, swapped in enumerate([(), (7,)]):
        (tmp_path / str(rank)).mkdir()
        write_table(tmp_path / str(rank) / "train.csv", swapped=swapped)
    options = (*MODEL, "--mesh", "pipe=2", "--data")
    parts = [(*options, SOURCE.replace("train.csv", f"{rank}/train.csv")) for rank in range(2)]
    code, _, err = mpitrain_each(*parts)
    assert code == 2, err
    assert one_sentence(err).startswith("the training samples on rank 1 differ from those of the other ranks: ")
