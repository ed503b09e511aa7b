"""Compressed gradients of devices that stand for GPUs, on all ranks or on some: the bits of ranks on CPUs."""

import dataclasses
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import HEADER, Arena
from mpitrain.comm.schedule.nccl import NCCL_EXCHANGES
from mpitrain.config import Compute, Model, Optimizer, Parallel, Run
from mpitrain.device import CPU
from mpitrain.errors import AgreedError
from mpitrain.ops import OPS
from mpitrain.parallel.compress.registry import CODECS
from mpitrain.parallel.data import DataParallel
from mpitrain.step_header import StepHeader
from mpitrain.training.devices import use_device
from mpitrain.training.loop import TrainingLoop
from tests.gpu.device import ShimDevice
from tests.images import write_images
from tests.kernels import cpu
from tests.mpi import test_device_checkpoint as resumed
from tests.mpi.device_training import runs as training

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]

EXACT = ["bf16", "fp16", "int8", "topk:fraction=0.1", "randomk:fraction=0.1,feedback=false", "identity"]
NEAR = ["sign", "powersgd:rank=2"]  # sums of magnitudes and of products are made in another order
ONE_OF_EACH = ["bf16", "fp16", "int8", "sign", "topk:fraction=0.1", "randomk:fraction=0.1", "powersgd:rank=2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory, world):
    return write_images(world, tmp_path_factory, channels=1)


@pytest.fixture(autouse=True)
def few_on_many_ranks(world, request):
    """A third of the cases where ranks outnumber cores, none on many ranks."""
    if world.size > 4 or (world.size > 2 and zlib.crc32(request.node.name.encode()) % 3):
        pytest.skip("runs on fewer ranks")


@pytest.fixture
def oracles(monkeypatch):
    """Let CPUs run the NumPy functions of codecs: those in C fuse products with sums where the processor can."""
    for op in OPS.values():
        if op.module in ("compress", "carry", "places"):
            monkeypatch.setattr(op, "_cpu", None)


class Gradients:
    """An arena on a device whose gradients are written by hand, and their sums."""

    def __init__(self, world, device, compress, all_reduce=None, offers_nccl=False):
        self.world, self.device = world, device
        use_device(device, world, offers_nccl=offers_nccl)
        model = models.build("mlp", (23,), 3, widths=(40, 7))
        self.arena = Arena(model, device=device)
        linear = getattr(CODECS.find(compress)[0], "linear", False)
        all_reduce = all_reduce or ("ring" if linear else "auto")
        options = {"all_reduce": all_reduce, "shard": "none", "bucket_bytes": 1500}
        self.parallel = DataParallel(model, self.arena, world, compress=compress, **options)

    def step(self, seed, weight, bad=None):
        """Return the header and the sums."""
        rng, device = np.random.default_rng([seed, self.world.rank]), self.device
        self.parallel.begin()
        self.arena.header[StepHeader.CONTROL] = self.world.rank, 1, 0, 2
        self.arena.add_totals(device.from_host(np.array([weight, self.world.rank, 1], np.float32)))
        for p in self.arena.parameters:
            gradient = rng.standard_normal(p.shape).astype(np.float32) * np.float32(weight > 0)
            if bad is not None and p.index == 1 and self.world.rank == self.world.size - 1:
                gradient.flat[2] = bad
            p.grad[...] = device.from_host(gradient)
            p.written()
        self.parallel.finish()
        return np.concatenate(
            [self.arena.header[: StepHeader.CONTROL.stop], device.to_host(self.arena.gradients)[HEADER:]]
        )

    def steps(self):
        """Return the results of steps of several weights, one with a NaN, and the errors that all ranks have then."""
        last = self.world.rank == self.world.size - 1
        found = [self.step(seed, 4.0 + self.world.rank) for seed in range(2)]
        found += [self.step(2, 0.0 if last else 3.0), self.step(3, 4.0, bad=np.nan), self.step(4, 2.0)]
        norm = self.parallel.norm()
        self.parallel.sync.settle()
        slots = {name: self.device.to_host(slot).copy() for name, slot in self.parallel.sync.slots.items()}
        self.parallel.free()
        use_device(CPU, self.world)
        return found, slots, norm


@pytest.mark.parametrize("compress", [*EXACT, *NEAR])
def test_sums_and_errors_are_those_of_cpus(world, device, oracles, compress):
    found, slots, norm = Gradients(world, device, compress).steps()
    expected, expected_slots, expected_norm = Gradients(world, CPU, compress).steps()
    if compress in EXACT:
        np.testing.assert_array_equal(found, expected)
        for name, slot in slots.items():
            np.testing.assert_array_equal(slot, expected_slots[name])
    else:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert norm == pytest.approx(expected_norm, rel=1e-5)
    if "powersgd" not in compress or len(set(world.all_gather(device is CPU))) == 1:
        bits = np.where(np.isnan(found), np.float32(np.nan), found).tobytes()
        assert len(set(world.all_gather(bits))) == 1, "ranks have other sums"
    assert np.isnan(found[3]).any()
    assert np.isfinite(found[4]).all()
    np.testing.assert_array_equal(found[4][StepHeader.CONTROL], np.array([world.size - 1, 2, 0, 4]) * world.size / 2)
    for slot in slots.values():
        assert np.isfinite(slot).all()


@pytest.fixture
def nccl(monkeypatch, world):
    """Let devices that stand for GPUs have a NCCL, and each rank a GPU of its own."""
    for name, value in (
        ("identity", f"GPU {world.rank}"),
        ("make_group_id", lambda self: 1),
        ("make_group", lambda self, id, size, rank: training.FakeGroup(world._comm)),
    ):
        monkeypatch.setattr(ShimDevice, name, value, raising=False)


@pytest.mark.parametrize("all_reduce", ["auto", "nccl"])
@pytest.mark.parametrize("compress", ["bf16", "bf16:feedback=false", "fp16", "int8", "sign"])
def test_exchanges_by_nccl(world, nccl, compress, all_reduce):
    """The bits of exchanges by MPI: sums and errors."""
    if world.size == 1:
        pytest.skip("one rank sends nothing")
    made = Gradients(world, ShimDevice(), compress, all_reduce, offers_nccl=all_reduce == "auto")
    sync = made.parallel.sync
    assert sync.algorithms == [f"nccl of {compress}"] * len(sync.buckets)
    found, slots, norm = made.steps()
    other = Gradients(world, ShimDevice(), compress)
    assert not any("nccl" in name for name in other.parallel.sync.algorithms)
    expected, expected_slots, expected_norm = other.steps()
    np.testing.assert_array_equal(found, expected)
    assert list(slots) == list(expected_slots) == ([] if "false" in compress else ["error"])
    for name, slot in slots.items():
        np.testing.assert_array_equal(slot, expected_slots[name])
    assert norm == expected_norm


@pytest.mark.parametrize("forgotten", ["all_to_all", "all_gather"])
def test_a_forgotten_wait_for_nccl_is_found(world, nccl, monkeypatch, forgotten):
    if world.size == 1:
        pytest.skip("one rank sends nothing")
    make, made = NCCL_EXCHANGES[f"{forgotten}/nccl"], []

    def hasty(*arguments):
        plan = make(*arguments)
        plan.poll = lambda: True
        made.append(plan)
        return plan

    monkeypatch.setitem(NCCL_EXCHANGES, f"{forgotten}/nccl", hasty)
    gradients = Gradients(world, ShimDevice(), "int8", "nccl")
    found = gradients.step(0, 4.0)
    use_device(CPU, world)
    for plan in made:
        plan._end.wait()  # no message is left under way
    expected = Gradients(world, ShimDevice(), "int8").step(0, 4.0)
    use_device(CPU, world)
    assert any(world.all_gather(not np.array_equal(found, expected)))


def test_nccl_where_it_is_not(world):
    """The sentence of an all-reduce by name; ``auto`` takes MPI."""
    if world.size == 1:
        pytest.skip("one rank sends nothing")
    try:
        with pytest.raises(AgreedError, match="nccl needs a GPU on each rank"):
            Gradients(world, CPU, "bf16", "nccl")
    finally:
        use_device(CPU, world)


def config_of(data, compress, **branches):
    parallel = Parallel(compress=compress, bucket_mb=0.01, check_every=branches.pop("check_every", 1))
    return training.config_of(data, parallel=parallel, **branches)


@pytest.mark.parametrize("number", range(len(ONE_OF_EACH)))
def test_training(world, data, number):
    """Losses and weights are those of ranks on CPUs with the same codec, but for roundings that fall the other way."""
    if world.size != 2:
        pytest.skip("runs on two ranks")
    device = ShimDevice() if number % 2 == 0 or world.rank == 0 else CPU
    config = config_of(data, ONE_OF_EACH[number], model=Model(name="mlp", widths=(16,)))
    found, expected = training.run(world, config, device), training.run(world, config, CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-3)
    np.testing.assert_allclose(found[2], expected[2], rtol=0, atol=2e-3)


@pytest.mark.parametrize("compress", ["topk:fraction=0.1"])
def test_cuda_graphs(world, data, compress):
    """The bits of the eager run: codecs work between graphs."""
    if world.size != 2:
        pytest.skip("runs on two ranks")
    model = Model(name="mlp", widths=(16,), dropout=0.3)
    config = config_of(data, compress, model=model, run=Run(epochs=3, progress="none"))
    found, launched = training.graphs_of(world, config, ShimDevice())
    expected = training.run(world, config, ShimDevice())
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[2], expected[2])
    assert launched > 0


@pytest.mark.parametrize("compress", ["int8", "topk:fraction=0.1", "randomk:fraction=0.1", "powersgd:rank=2"])
def test_a_steady_step_waits_once_and_asks_for_no_memory(world, data, monkeypatch, compress):
    """The host does not wait for the weight of the step, on which errors depend, nor to know what is not finite."""
    if world.size != 2:
        pytest.skip("runs on two ranks")
    device, steps = ShimDevice(), []
    counted = TrainingLoop._train_step

    def step(self, batches):
        with device.counted() as counts:
            found = counted(self, batches)
        steps.append([counts[name] for name in ("syncs", "buffers", "pinned")])
        return found

    monkeypatch.setattr(TrainingLoop, "_train_step", step)
    model, optimizer = Model(name="mlp", widths=(16,)), Optimizer(clip_norm=0.5)
    branches = {"model": model, "optimizer": optimizer, "compute": Compute(cuda_graph="off")}
    training.run(
        world, config_of(data, compress, check_every=0, run=Run(epochs=2, progress="none"), **branches), device
    )
    assert steps[training.STEPS :] == [[1, 0, 0]] * training.STEPS


def test_a_run_is_continued_to_the_bit(world, data, directory):
    """With its errors, which are on the device; and on CPUs with the same losses, to rounding."""
    if world.size > 2:
        pytest.skip("runs on fewer ranks")
    config = config_of(data, "topk:fraction=0.1", model=Model(name="mlp", widths=(16,)))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=8))
    device = ShimDevice()
    first, _ = resumed.run(world, config, device, directory, leave_after=resumed.LEAVE_AFTER)
    world.barrier()
    path = resumed.folder.path_of_step(directory / resumed.CHECKPOINTS, resumed.LEAVE_AFTER)
    rest, weights = resumed.run(world, config, device, directory / "rest", resume=path)
    again, same = resumed.run(world, config, device, directory / "again", resume=path)
    np.testing.assert_array_equal(rest, again)
    np.testing.assert_array_equal(weights, same)
    on_cpus, _ = resumed.run(world, config, CPU, None, resume=path)
    assert len(first) == resumed.LEAVE_AFTER
    np.testing.assert_allclose(on_cpus, rest, rtol=1e-3)


def test_a_codec_of_the_user(world, directory):
    """The codec in docs/extending.md, for which factors are arrays of the device there."""
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    code = re.search(r"```python\n(from mpitrain.parallel.compress.owners.*?)```", page, re.S)[1]
    file = directory / "mine.py"
    if world.rank == 0:
        file.write_text("import numpy as np\n" + code)
    world.barrier()
    found, slots, _ = Gradients(world, ShimDevice(), f"{file}:Upper").steps()
    expected, expected_slots, _ = Gradients(world, CPU, f"{file}:Upper").steps()
    np.testing.assert_array_equal(found, expected)
    finite = np.isfinite(expected_slots["error"])
    np.testing.assert_array_equal(slots["error"][finite], expected_slots["error"][finite])
