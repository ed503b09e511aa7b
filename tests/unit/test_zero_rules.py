"""Settings that do not go with --shard gradients and weights, or with slots in files: one sentence each."""

from types import SimpleNamespace

import pytest

from mpitrain.config import Compute, Config, Optimizer, Parallel
from mpitrain.config_check import check
from mpitrain.errors import UserError
from mpitrain.training import limits
from mpitrain.training.mesh.rules import check_mesh

SHARDS = ("gradients", "weights")


@pytest.mark.parametrize("shard", SHARDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"elastic": True}, "does not go with --elastic, which needs the whole optimizer state"),
        ({"reproducible": 4}, "does not go with --reproducible"),
        ({"balance": "dynamic"}, "does not go with --balance dynamic"),
        ({"sync": "local:steps=4"}, "--sync local:steps=4 does not go with --shard"),
    ],
)
def test_settings_that_exclude_each_other(shard, options, message):
    accumulate = Optimizer(accumulate=4 if "balance" in options else 0)
    check(Config(parallel=Parallel(**options), optimizer=accumulate))
    with pytest.raises(UserError, match=message):
        check(Config(parallel=Parallel(shard=shard, **options), optimizer=accumulate))


@pytest.mark.parametrize("shard", SHARDS)
def test_graphs_keep_their_memory(shard):
    with pytest.raises(UserError, match=f"--shard {shard} does not go with --cuda-graph"):
        check(Config(parallel=Parallel(shard=shard), compute=Compute(cuda_graph="on")))


def test_options_of_one_stage():
    check(Config(parallel=Parallel(shard="weights", gather_weights="twice")))
    with pytest.raises(UserError, match="--gather-weights twice is for --shard weights"):
        check(Config(parallel=Parallel(shard="gradients", gather_weights="twice")))
    with pytest.raises(UserError, match="--offload-optimizer does not go with --elastic"):
        check(Config(parallel=Parallel(offload_optimizer="slots", elastic=True)))


@pytest.mark.parametrize("shard", SHARDS)
@pytest.mark.parametrize("axis", ["pipe", "expert"])
def test_other_axes(shard, axis):
    sizes = dict.fromkeys(["data", "pipe", "space", "context", "tensor", "expert"], 1) | {axis: 2}
    config = Config(parallel=Parallel(shard=shard))
    with pytest.raises(UserError, match=f"--shard {shard} does not go with axis {axis} yet: take"):
        check_mesh(config, SimpleNamespace(sizes=sizes), resumes=False)


def test_a_note_on_microbatches():
    config = Config(parallel=Parallel(shard="gradients"), optimizer=Optimizer(accumulate=3))
    assert "3 times the bytes" in "".join(limits.notes(config, 1000, 2))
    assert limits.notes(config, 1000, 1) == ()
