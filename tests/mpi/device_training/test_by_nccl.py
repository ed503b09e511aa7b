"""Sums and messages by NCCL, on devices that stand for GPUs."""

import dataclasses

import numpy as np
import pytest

from mpitrain.comm.watch.watched import WatchedComm
from mpitrain.config import Model, Optimizer, Parallel
from mpitrain.device import CPU
from mpitrain.errors import AgreedError, UserError
from mpitrain.training.build import make_loop
from mpitrain.training.devices import use_device
from mpitrain.training.display.progress import make_progress
from mpitrain.training.setup import open_setup
from tests.fake_nccl import give_nccl
from tests.gpu.device import ShimDevice
from tests.kernels import cpu
from tests.mpi.device_training.runs import FakeGroup, config_of, run

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]


@pytest.fixture
def nccl(monkeypatch, world):
    """Let devices that stand for GPUs have a NCCL; ranks of even number have GPUs of their own."""
    monkeypatch.setattr(ShimDevice, "identity", f"GPU {world.rank}", raising=False)
    monkeypatch.setattr(ShimDevice, "make_group_id", lambda self: (1, 2), raising=False)
    monkeypatch.setattr(ShimDevice, "make_group", lambda self, id, size, rank: FakeGroup(world._comm), raising=False)


def test_nccl(world, alone, data, nccl):
    config = config_of(data, parallel=Parallel(all_reduce="nccl"))
    found, expected = run(world, config, ShimDevice()), run(alone, config_of(data), CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-5)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-3, atol=1e-5)


def test_auto_takes_nccl_where_each_rank_has_a_gpu(world, alone, data, nccl, monkeypatch):
    """With the same sums; without NCCL, or with too few GPUs, MPI sums, and a note says so in the first case."""
    if world.size == 1:
        pytest.skip("one rank has nothing to sum")
    config, found = config_of(data), []

    def algorithms():
        names = set()
        found.append(run(world, config, ShimDevice(), names, offers_nccl=True)[0])
        return names

    seen, noted = [], WatchedComm.noted
    monkeypatch.setattr(WatchedComm, "noted", lambda comm, *call: (seen.append(call[0]), noted(comm, *call))[1])
    assert algorithms() == {"nccl"}
    assert "start of NCCL" in seen, "nobody could say who is late"
    monkeypatch.setattr(ShimDevice, "identity", "the same")
    assert "nccl" not in algorithms()
    assert not any("NCCL" in note for note in world.notes)
    monkeypatch.setattr(ShimDevice, "identity", f"GPU {world.rank}")

    def missing(self, *args):
        raise UserError("NCCL is not installed")

    monkeypatch.setattr(ShimDevice, "make_group", missing)
    assert "nccl" not in algorithms()
    assert "gradients are summed by MPI: NCCL does not start on rank 0: NCCL is not installed" in world.notes
    for losses in found:
        np.testing.assert_allclose(losses, found[0], rtol=2e-5)
    np.testing.assert_allclose(found[0], run(alone, config, CPU)[0], rtol=2e-5)


@pytest.mark.parametrize("codec", ["powersgd", "int8"])
def test_auto_takes_nccl_for_messages_of_codecs(world, data, nccl, codec):
    if world.size != 2:
        pytest.skip("one rank sends nothing, and more ranks add nothing")
    config, names = config_of(data, parallel=Parallel(compress=codec)), set()
    found = run(world, config, ShimDevice(), names, offers_nccl=True)
    assert names == {f"nccl of {codec}"}
    np.testing.assert_allclose(found[0], run(world, config, ShimDevice())[0], rtol=1e-4)


def test_nccl_without_gpus_or_with_too_few_is_said(world, data, nccl, monkeypatch):
    config = config_of(data, parallel=Parallel(all_reduce="nccl"))
    with pytest.raises(AgreedError, match="nccl needs a GPU on each rank, and rank 0 has none"):
        run(world, config, CPU)
    if world.size > 1:
        monkeypatch.setattr(ShimDevice, "identity", "the same")
        with pytest.raises(AgreedError, match="ranks 0 and 1 share one"):
            run(world, config, ShimDevice())
        monkeypatch.setattr(ShimDevice, "identity", f"GPU {world.rank}")

    def missing(self, *args):
        raise RuntimeError("NCCL_ERROR_SYSTEM_ERROR")

    monkeypatch.setattr(ShimDevice, "make_group", missing)
    with pytest.raises(AgreedError, match="NCCL does not start on rank 0: NCCL_ERROR_SYSTEM_ERROR"):
        run(world, config, ShimDevice())
    use_device(CPU, world)


def by_nccl(data, mesh="pipe", **parallel):
    """Return the config of a pipeline of all ranks, or of two, whose messages NCCL sends."""
    return config_of(
        data,
        model=Model(name="mlp", widths=(16,) * 4, dropout=0.2),
        optimizer=Optimizer(lr=0.02, schedule="constant", clip_norm=0.5),
        parallel=Parallel(mesh=mesh, channel="nccl", **parallel),
    )


@pytest.mark.parametrize("mesh", ["pipe", "data=2,pipe"])
def test_pipelines_by_nccl(world, data, monkeypatch, mesh):
    """Steps and evaluations have the bits of those whose messages MPI sends."""
    if world.size == 1 or (mesh != "pipe" and world.size < 4):
        pytest.skip("too few ranks for this mesh")
    give_nccl(monkeypatch, world)
    pipe = world.size // (1 if mesh == "pipe" else 2)
    config = by_nccl(data, f"{mesh}={pipe}", stages=",".join(str(3 * stage) for stage in range(1, pipe)))
    found = run(world, config, ShimDevice())
    parallel = dataclasses.replace(config.parallel, channel="mpi")
    expected = run(world, dataclasses.replace(config, parallel=parallel), ShimDevice())
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]
    np.testing.assert_array_equal(found[2], expected[2])


def test_a_nan_is_traced_through_a_pipeline_by_nccl(world, data, monkeypatch):
    if world.size == 1:
        pytest.skip("a pipeline has at least two ranks")
    give_nccl(monkeypatch, world)
    device, config = ShimDevice(), by_nccl(data, f"pipe={world.size}")
    use_device(device, world)
    setup = open_setup(config, world, device)
    setup.dataset.train.y[5] = 9
    loop = make_loop(config, setup, world, make_progress("none", None, 1))
    try:
        with pytest.raises(AgreedError, match=r"\(rank \d\) a target is 9, but the model has 4 outputs"):
            loop.train()
    finally:
        use_device(CPU, world)


def test_what_nccl_cannot_join_is_said(world, data, monkeypatch):
    """In one sentence, before stages are measured; every rank leaves with exit code 2."""
    if world.size == 1:
        with pytest.raises(AgreedError, match="--channel is for a pipeline: give its number of ranks"):
            run(world, by_nccl(data, ""), CPU)
        return
    give_nccl(monkeypatch, world)
    config = by_nccl(data, f"pipe={world.size}")
    last, text = world.size - 1, "nccl needs a GPU on each rank, and rank {} has none: choose another --channel"
    with pytest.raises(AgreedError, match=text.format(last)) as error:
        run(world, config, CPU if world.rank == last else ShimDevice())
    assert error.value.code == 2
    monkeypatch.setattr(ShimDevice, "identity", "the same")
    with pytest.raises(AgreedError, match="ranks 0 and 1 share one: choose another --channel"):
        run(world, config, ShimDevice())
    monkeypatch.setattr(ShimDevice, "identity", f"GPU {world.rank}")

    def missing(self, *args):
        raise UserError("NCCL is not installed: pip install nvidia-nccl-cu12")

    monkeypatch.setattr(ShimDevice, "make_group_id", missing)
    with pytest.raises(AgreedError, match="NCCL does not start on rank 0: NCCL is not installed"):
        run(world, config, ShimDevice())
    if world.size % 2 == 0 and world.size > 2:
        both = by_nccl(data, f"data=2,pipe={world.size // 2}", all_reduce="nccl")
        with pytest.raises(AgreedError, match="--channel nccl does not go with --all-reduce nccl"):
            run(world, both, ShimDevice())
    use_device(CPU, world)
