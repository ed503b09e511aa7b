"""The test of MPI on a GPU's memory, and its record: trusted for the same hosts, settings and lengths only."""

import os

import numpy as np
import pytest

from mpitrain import device as devices_module
from mpitrain.cli.kernel.messages import parse
from mpitrain.comm.measure import cuda_aware
from mpitrain.config import Config, Data, Model, Parallel, Run
from mpitrain.device import CPU, VisibleGpus
from mpitrain.errors import AgreedError
from mpitrain.ops.cuda import elementwise
from mpitrain.training import devices
from mpitrain.training.build import make_loop
from mpitrain.training.devices import use_device
from mpitrain.training.display.progress import make_progress
from mpitrain.training.setup import open_setup
from tests.fake_device import FakeDevice
from tests.gpu.arrays import Array
from tests.gpu.device import ShimDevice
from tests.images import write_images
from tests.kernels import cpu

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]

LONGEST = 40_000  # bytes


class Readable(FakeDevice):
    """A device whose memory MPI reads; ``spoils``: what comes of it is wrong."""

    name = "readable"

    def __init__(self, spoils=False):
        super().__init__(mpi_reads=True)
        self.spoils = spoils

    def from_host(self, array):
        return self.array(array)

    def to_host(self, array):
        return self.values(array) + self.spoils


@pytest.fixture(autouse=True)
def _records(world, tmp_path_factory, monkeypatch):
    """An empty folder of records, the same on all ranks; and no notes of other tests."""
    monkeypatch.setenv("MPITRAIN_CALIBRATION", world.all_gather(str(tmp_path_factory.mktemp("cache")))[0])
    before, world.job.notes[:] = list(world.job.notes), []
    yield
    use_device(CPU, world)
    world.job.notes[:] = before


def known(world, device):
    """Return the bytes that are known to be read in place, once all ranks have looked."""
    found = cuda_aware.find_trial(world, device)
    assert len(set(world.all_gather(found))) == 1
    return found.direct_bytes


@pytest.mark.parametrize("spoils", [False, True])
def test_it_is_tried(world, spoils):
    device = Readable(spoils)
    assert cuda_aware.find_trial(world, device) == cuda_aware.Trial(cuda_aware.UNTRIED, 0)
    answer = cuda_aware.try_direct(world, device, LONGEST)
    assert answer == ("rank 0 has wrong sums of 3 elements of float32 by native" if spoils else cuda_aware.WORKS)
    assert known(world, device) == (0 if spoils else LONGEST)
    assert cuda_aware.find_trial(world, device).failed == spoils


def test_a_crash_leaves_the_beginning(world):
    device = Readable()
    cuda_aware.try_direct(world, device, LONGEST)
    if world.rank == 0:
        cuda_aware._write(cuda_aware.record_path(world, device), cuda_aware.Trial(cuda_aware.BEGUN, LONGEST))
    else:
        cuda_aware.record_path(world, device)
    world.barrier()
    assert known(world, device) == 0
    assert cuda_aware.find_trial(world, device).failed


class Lengths(Readable):
    """Notes what is brought to the device."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def from_host(self, array):
        self.seen.add((array.size, array.dtype.name))
        return super().from_host(array)


@pytest.mark.parametrize("longest", [LONGEST, 12, 1 << 23])
def test_the_longest_buffer_is_tried_in_both_types(world, longest):
    device = Lengths()
    assert cuda_aware.try_direct(world, device, longest) == cuda_aware.WORKS
    tried = {
        (n, dtype) for dtype, size in (("float32", 4), ("float64", 8)) for n in (3, 1000, 1 << 20, longest // size)
    }
    assert device.seen == {(n, dtype) for n, dtype in tried if n * np.dtype(dtype).itemsize <= longest}


@pytest.mark.parametrize("name", ["UCX_TLS", "OMPI_MCA_pml", "FI_PROVIDER", "MPIR_CVAR_CH4_OFI_ENABLE_HMEM", "MPICH_X"])
def test_other_settings_of_transports_are_not_trusted(world, monkeypatch, name):
    """On one rank is enough."""
    device = Readable()
    cuda_aware.try_direct(world, device, LONGEST)
    with monkeypatch.context() as changed:
        if world.rank == world.size - 1:
            changed.setenv(name, "other")
        assert known(world, device) == 0
    with monkeypatch.context() as changed:
        changed.setenv("UNRELATED", "other")
        assert known(world, device) == LONGEST


def test_other_hosts_are_not_trusted(world, monkeypatch):
    """More of them, or others; on the same again it is."""
    device = Readable()
    placements = {
        "one": lambda: "a",
        "two": lambda: "ab"[world.rank % 2],
        "two, in another order": lambda: "ab"[world.rank * 2 // max(2, world.size)],
        "others": lambda: "bc"[world.rank % 2],
    }
    monkeypatch.setattr(cuda_aware, "host", placements["two"])
    assert cuda_aware.try_direct(world, device, LONGEST) == cuda_aware.WORKS
    tried = world.all_gather(placements["two"]())
    for name, host in placements.items():
        monkeypatch.setattr(cuda_aware, "host", host)
        same = world.all_gather(host()) == tried
        assert known(world, device) == (LONGEST if same else 0), name


def test_another_gpu_is_not_trusted(world):
    device = Readable()
    cuda_aware.try_direct(world, device, LONGEST)
    if world.rank == 0:
        device.name = "another"
    assert known(world, device) == 0


def test_nothing_of_one_launch_alone_is_a_setting(world):
    """Rank, process and time of a job are not in the key, or no later job would find the record."""
    assert len(set(world.all_gather(tuple(cuda_aware.transport_settings(os.environ))))) == 1
    of_the_job = {"OMPI_MCA_orte_ess_num_procs": "2", "PRTE_MCA_ess_base_vpid": "0", "PMIX_RANK": "1", "PATH": "/bin"}
    assert cuda_aware.transport_settings(of_the_job) == []
    chosen = {"UCX_TLS": "rc", "OMPI_MCA_btl": "self,sm", "PRTE_MCA_oob": "tcp"}
    assert cuda_aware.transport_settings(of_the_job | chosen) == sorted(f"{k}={v}" for k, v in chosen.items())


@pytest.mark.parametrize("algorithm", ["ring", "recursive_doubling", "auto"])
def test_longer_buffers_are_staged(world, monkeypatch, algorithm):
    """And sums are right either way, where MPI cannot read the longer one."""
    monkeypatch.setattr(elementwise, "combine", lambda operator: operator)  # arrays for which no kernel is built
    cuda_aware.try_direct(world, Readable(), LONGEST)
    device = Readable()
    use_device(device, world)
    for num_elements in (LONGEST // 4, LONGEST // 4 + 1):
        device.mpi_reads = 4 * num_elements <= LONGEST
        buffer = device.array(np.full(num_elements, world.rank, np.float32))
        plan = world.plan_all_reduce(buffer, algorithm)
        plan.start()
        plan.wait()
        assert (device.values(buffer) == sum(range(world.size))).all()
        assert (device.pinned_bytes > 0) == (not device.mpi_reads and world.size > 1)
        plan.free()


def test_native_is_refused_where_it_was_not_tried(world):
    cuda_aware.try_direct(world, Readable(), LONGEST)
    device = Readable()
    use_device(device, world)
    world.plan_all_reduce(device.array(np.zeros(LONGEST // 4, np.float32)), "native").free()
    with pytest.raises(AgreedError, match="native all-reduce was tried up to 39 KiB of this device's memory"):
        world.plan_all_reduce(device.array(np.zeros(LONGEST // 4 + 1, np.float32)), "native")


def train(world, tmp_path_factory, **parallel):
    """Plan a training run on the device that stands for a GPU; return the bytes of its longest bucket."""
    data = write_images(world, tmp_path_factory, channels=1)
    config = Config(
        data=Data(source=data, batch_size=16),
        model=Model(name="mlp", widths=(300,)),
        run=Run(epochs=1, progress="none"),
        parallel=Parallel(**parallel),
    )
    device = ShimDevice()
    use_device(device, world)
    setup = open_setup(config, world, device)
    loop = make_loop(config, setup, world, make_progress("none", None, 1))
    data_parallel = loop.run.data_parallel
    longest = max(4 * (b.stop - b.start) for b in data_parallel.sync.buckets)
    data_parallel.free()
    use_device(CPU, world)
    return longest


def record(world, answer, longest):
    cuda_aware._write(cuda_aware.record_path(world, ShimDevice()), cuda_aware.Trial(answer, longest))
    world.barrier()


def notes(world):
    return [note for note in world.job.notes if "kernel messages" in note]


def test_training_says_how_to_find_out(world, tmp_path_factory):
    if world.size == 1:
        pytest.skip("one rank sends nothing")
    longest = train(world, tmp_path_factory)
    assert len(notes(world)) == 1
    assert f"start mpitrain kernel messages --bytes {longest} the way this run was started" in notes(world)[0]
    assert "\n" not in notes(world)[0]


@pytest.mark.parametrize(
    ("answer", "missing", "says"),
    [
        (cuda_aware.WORKS, 0, False),
        (cuda_aware.WORKS, 1, True),  # a bucket is a byte too long
        (cuda_aware.BEGUN, 0, False),  # it was tried, and did not work
        ("rank 0 has wrong sums", 0, False),
    ],
)
def test_training_says_it_only_where_it_is_not_known(world, tmp_path_factory, monkeypatch, answer, missing, says):
    if world.size == 1:
        pytest.skip("one rank sends nothing")
    interface = property(lambda array: {**array.memory.__array_interface__, "version": 3})
    monkeypatch.setattr(Array, "__cuda_array_interface__", interface, raising=False)
    longest = train(world, tmp_path_factory)
    world.job.notes.clear()
    record(world, answer, longest - missing)
    train(world, tmp_path_factory)
    assert bool(notes(world)) == says


@pytest.mark.parametrize("given", [0, LONGEST])
def test_the_command(world, monkeypatch, capsys, given):
    """By default twice the length of a bucket is tried, since the parameter that fills it is not cut."""
    if world.size == 1:
        with pytest.raises(AgreedError, match="messages need two ranks or more"):
            parse([], False).run(world)
        return
    device = Readable()
    monkeypatch.setattr(devices_module, "discover", lambda *args: VisibleGpus(0, ("A",)))
    monkeypatch.setattr(devices, "take_device", lambda config, world: device)
    monkeypatch.setattr(world.group("data"), "choose_bucket_bytes", lambda: 25_000)
    job = parse([f"--bytes={given}"] if given else [], False)
    assert job.run(world) == 0
    assert known(world, device) == (given or 50_000)
    if world.rank == 0:
        said = capsys.readouterr().out
        assert f"in buckets of up to {'39' if given else '49'} KiB, with these ranks, hosts and settings" in said
    device.spoils = True
    assert parse([], False).run(world) == 1
    with pytest.raises(AgreedError, match="--bytes is -1"):
        parse(["--bytes=-1"], False).run(world)
