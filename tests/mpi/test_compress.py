"""Compressed gradients: the same sums on all ranks, nothing lost over the steps, errors that survive a checkpoint."""

import re
import textwrap
import zlib
from dataclasses import replace

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import HEADER, Arena
from mpitrain.collectives.price import Calibration, save_calibration
from mpitrain.errors import AgreedError
from mpitrain.optim import SGD
from mpitrain.parallel.compress.registry import CODECS
from mpitrain.parallel.data import DataParallel

pytestmark = pytest.mark.mpi

# each codec, and the error of one step relative to the largest sum
LOSSY = {
    "bf16": 0.01,
    "fp16": 1e-3,
    "int8": 0.02,
    "int8:block=64": 0.02,
    "sign": 2.0,
    "topk:fraction=0.1": 1.01,
    "randomk:fraction=0.1": 1.01,
    "powersgd:rank=2": 1.01,
}
EXACT = ["topk:fraction=1", "randomk:fraction=1", "powersgd:rank=1000", "identity"]
LINEAR = ["identity", "randomk:fraction=0.2", "powersgd:rank=2"]


@pytest.fixture(autouse=True)
def few_on_many_ranks(world, request):
    """A few cases on many ranks, which outnumber cores, so that a message takes long."""
    if world.size > 4 and zlib.crc32(request.node.name.encode()) % 4:
        pytest.skip("runs on fewer ranks")


class Run:
    """An arena whose gradients are written by hand, and their sums."""

    def __init__(self, world, compress="none", bucket_bytes=1500, **options):
        self.world = world
        model = models.build("mlp", (23,), 3, widths=(40, 7))
        self.arena = Arena(model, dtype=np.float32)
        options = {"shard": "none", "all_reduce": "auto"} | options
        self.parallel = DataParallel(model, self.arena, world, compress=compress, bucket_bytes=bucket_bytes, **options)

    @property
    def sync(self):
        return self.parallel.sync

    def gradients(self, seed, rank=None):
        """Return the gradients that a rank writes in step ``seed``."""
        rng = np.random.default_rng([seed, self.world.rank if rank is None else rank])
        return [rng.standard_normal(p.shape).astype(np.float32) for p in self.arena.parameters]

    def step(self, seed, weight=4.0, gradients=None):
        """Sum gradients over the ranks, and return them."""
        self.parallel.begin()
        self.arena.header[:3] = weight, self.world.rank, 1
        for p, gradient in zip(self.arena.parameters, gradients or self.gradients(seed), strict=True):
            p.grad[...] = gradient
            p.written()
        self.parallel.finish()
        return self.arena.gradients[HEADER:].copy()

    def flat(self, gradients):
        """Return gradients at their places in the arena."""
        found = np.zeros(self.arena.size)
        for p, gradient in zip(self.arena.parameters, gradients, strict=True):
            found[p.start : p.stop] = gradient.reshape(-1)
        return found[HEADER:]

    def expected(self, seed):
        """Return the sum over all ranks in float64."""
        return sum(self.flat(self.gradients(seed, rank)) for rank in range(self.world.size))


def same_on_all_ranks(world, array):
    return len(set(world.all_gather(array.tobytes()))) == 1


@pytest.mark.parametrize("compress", [*LOSSY, *EXACT])
@pytest.mark.parametrize("bucket_bytes", [300, 1 << 20])
def test_sums_are_near_and_the_same_on_all_ranks(world, compress, bucket_bytes):
    run = Run(world, compress, bucket_bytes)
    for seed in range(2):
        found, expected = run.step(seed), run.expected(seed)
        if seed == 0:  # later ones hold errors of earlier ones
            tolerance = 1e-6 if world.size == 1 else LOSSY.get(compress, 1e-6)
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
        assert same_on_all_ranks(world, found)
        header = run.arena.header[:3]
        np.testing.assert_array_equal(header, [4 * world.size, sum(range(world.size)), world.size])
        gaps = np.ones(run.arena.size, bool)
        for p in run.arena.parameters:
            gaps[p.start : p.stop] = False
        assert not found[gaps[HEADER:]].any()
    run.parallel.free()


@pytest.mark.parametrize("all_reduce", ["auto", "ring", "halving_doubling", "double_tree", "native"])
@pytest.mark.parametrize("bucket_bytes", [300, 1 << 20])
def test_identity_gives_the_bits_of_no_codec(world, all_reduce, bucket_bytes):
    runs = [Run(world, text, bucket_bytes, all_reduce=all_reduce) for text in ("none", "identity")]
    for seed in range(2):
        np.testing.assert_array_equal(*(run.step(seed) for run in runs))
        np.testing.assert_array_equal(*(run.arena.header for run in runs))
    assert len({(run.parallel.bytes_per_step, run.parallel.messages_per_step) for run in runs}) == 1
    for run in runs:
        run.parallel.free()


@pytest.mark.parametrize("compress", [*LOSSY, "randomk:fraction=0.1,feedback=false", "powersgd:rank=2,feedback=false"])
def test_a_codec_is_what_it_claims_to_be(world, compress):
    """Linear codecs give the sums of any all-reduce, and of any other split of the same sum over the ranks."""
    options = {"all_reduce": "ring"}
    linear = getattr(CODECS.find(compress)[0], "linear", False)
    if not linear:
        with pytest.raises(AgreedError, match=r"--compress \w+.* does not go with --all-reduce ring: its messages are"):
            Run(world, compress, **options)
        return
    if world.size == 1:
        return
    first, second = Run(world, compress, **options), Run(world, compress, all_reduce="double_tree")
    whole = [sum(parts) for parts in zip(*(first.gradients(5, rank) for rank in range(world.size)), strict=True)]
    zeros = [np.zeros_like(part) for part in whole]
    split, at_once = first.step(5), second.step(5, gradients=whole if world.rank == 0 else zeros)
    np.testing.assert_allclose(split, at_once, rtol=0, atol=1e-4)
    for run in (first, second):
        run.parallel.free()


def test_an_all_reduce_of_the_user_carries_linear_codecs(world, directory):
    file = directory / "mine.py"
    if world.rank == 0:
        file.write_text(
            textwrap.dedent("""
            from mpitrain.collectives import Step
            def flat(rank, size):
                everything = range(size)
                for k in range(1, size):
                    if rank == 0:
                        yield Step(recv_from=k, recv=everything, reduce=True)
                    elif rank == k:
                        yield Step(send_to=0, send=everything)
                for k in range(1, size):
                    if rank == 0:
                        yield Step(send_to=k, send=everything)
                    elif rank == k:
                        yield Step(recv_from=0, recv=everything)
            """)
        )
    world.barrier()
    for compress in LINEAR:
        mine, ring = Run(world, compress, all_reduce=f"{file}:flat"), Run(world, compress, all_reduce="ring")
        for seed in range(3):
            np.testing.assert_allclose(mine.step(seed), ring.step(seed), rtol=0, atol=1e-3)
        mine.parallel.free()
        ring.parallel.free()


def missing(run, weight=4.0):
    """Return the gradients that are kept as errors, over all ranks."""
    error = run.sync.slots["error"][HEADER:].astype(np.float64) * weight
    return run.world.sum(error)


@pytest.mark.parametrize("compress", LOSSY)
def test_nothing_is_lost_over_a_hundred_steps(world, compress):
    run = Run(world, compress)
    sent, written = 0.0, 0.0
    for seed in range(100 if world.size <= 3 else 10):
        sent = sent + run.step(seed).astype(np.float64)
        written = written + run.expected(seed)
        if seed == 5:
            run.sync.settle()
            assert same_on_all_ranks(world, run.sync.slots["error"])
    left = missing(run)
    np.testing.assert_allclose(sent + left, written, rtol=0, atol=1e-4 * np.abs(written).max())
    if world.size > 1:
        assert np.abs(left).max() > 1e-3, "no error was kept: the test says nothing"
    run.parallel.free()


@pytest.mark.parametrize("compress", LOSSY)
def test_a_resumed_run_has_the_bits_of_one_that_went_on(world, compress):
    one, two = Run(world, compress), Run(world, compress)
    for seed in range(3):
        one.step(seed)
    one.sync.settle()
    for name, slot in one.sync.slots.items():
        assert same_on_all_ranks(world, slot)
        two.sync.slots[name][...] = slot
    two.parallel._num_steps = 3
    for seed in range(3, 6):
        np.testing.assert_array_equal(one.step(seed), two.step(seed))
    for run in (one, two):
        run.parallel.free()


@pytest.mark.parametrize("compress", ["int8", "topk:fraction=0.1", "powersgd:rank=2"])
def test_errors_go_on_to_another_number_of_ranks(world, alone, compress):
    many, one = Run(world, compress), Run(alone, compress)
    for seed in range(3):
        many.step(seed)
    left = missing(many)
    many.sync.settle()
    for name, slot in many.sync.slots.items():
        one.sync.slots[name][...] = slot
    weight = 4.0 * world.size  # the batch is the same
    found = one.step(7, weight=weight) - one.flat(one.gradients(7))
    np.testing.assert_allclose(found, left, rtol=0, atol=1e-5 * max(1.0, np.abs(left).max()))
    assert not one.sync.slots["error"].any()
    many.parallel.free()


@pytest.mark.parametrize("compress", ["bf16", "sign", "topk:fraction=0.1", "randomk:fraction=0.1", "powersgd:rank=2"])
def test_a_short_batch_gets_its_share_of_the_error(world, compress):
    """The error of a step of many samples is scaled to the few of the next, and kept by a rank that has none."""
    if world.size == 1:
        pytest.skip("one rank has no error")
    run = Run(world, compress)
    run.step(0, weight=64.0)
    before = run.sync.slots["error"].copy()
    zeros = [np.zeros(p.shape, np.float32) for p in run.arena.parameters]
    last = world.rank == world.size - 1
    found = run.step(1, weight=0.0 if last else 1.0, gradients=zeros)
    if last:
        np.testing.assert_array_equal(run.sync.slots["error"], before)
    errors = world.sum(np.zeros_like(before, np.float64) if last else before.astype(np.float64))[HEADER:]
    left = world.sum(np.zeros_like(errors) if last else run.sync.slots["error"][HEADER:].astype(np.float64))
    owners = compress in ("bf16", "sign")  # the last rank rounds the sums of its chunks without keeping the rest
    np.testing.assert_allclose(found + left, errors, rtol=0, atol=(1.0 if owners else 1e-5) * np.abs(errors).max())
    run.parallel.free()


@pytest.mark.parametrize("compress", [*LOSSY, *EXACT])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_seen_on_all_ranks(world, compress, value):
    run = Run(world, compress)
    bad = run.gradients(0)
    if world.rank == world.size - 1:
        bad[1].flat[2] = value
    run.step(0, gradients=bad)
    assert not np.isfinite(run.parallel.norm())
    for seed in (1, 2):
        assert np.isfinite(run.step(seed)).all()
    assert all(np.isfinite(slot).all() for slot in run.sync.slots.values())
    run.parallel.free()


def test_weights_stay_equal(world):
    run = Run(world, "powersgd:rank=2")
    optimizer = SGD(run.arena, momentum=0.9)
    for seed in range(5):
        run.step(seed)
        run.parallel.update(optimizer, 0.01, 1 / (4 * world.size))
    run.parallel.verify("now")
    run.parallel.free()


def test_messages_are_short_and_counted(world):
    sent = {}
    for compress in ("none", "bf16", "int8", "sign", "topk:fraction=0.01", "randomk:fraction=0.01"):
        by = "ring" if compress in ("none", "randomk:fraction=0.01") else "auto"
        run = Run(world, compress, bucket_bytes=1 << 20, all_reduce=by)
        sent[compress] = world.sum(np.array([run.parallel.bytes_per_step], float))[0]
        if world.size > 1:
            assert compress in run.sync.describe() or compress == "none"
            assert run.parallel.messages_per_step > 0
        run.parallel.free()
    assert sent["bf16"] <= 0.62 * sent["none"]
    assert sent["sign"] <= sent["int8"] <= sent["bf16"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compress": "int9"}, "there is no codec 'int9'; did you mean 'int8'"),
        ({"compress": "int8:block=7"}, "block is 7, but must be a multiple of 16 up to 4096"),
        ({"compress": "topk:fraction=0"}, "the codec 'topk': fraction is 0, but must be above 0 and at most 1"),
        ({"compress": "powersgd:rank=0"}, "rank is 0, but must be 1 or more"),
        ({"compress": "int8", "shard": "optimizer"}, "--shard optimizer does not go with --compress"),
    ],
)
def test_what_does_not_fit_is_refused(world, options, message):
    with pytest.raises(AgreedError, match=message):
        Run(world, **options)


@pytest.mark.parametrize(("seconds_per_byte", "taken"), [(1e-6, "int8"), (1e-12, "none"), (None, "none")])
def test_auto_compresses_where_it_pays(world, monkeypatch, tmp_path, seconds_per_byte, taken):
    """On slow links, by the measurements of messages there; without any it says so."""
    if world.size == 1:
        return
    path = tmp_path / "calibration.json"
    monkeypatch.setattr(world.group("data")._planner._auto, "path", path)
    monkeypatch.setattr(world.group("data")._planner._auto, "_why_not_shared", lambda num_bytes: "another node")
    if seconds_per_byte is not None:
        save_calibration(replace(Calibration.line(1e-9, seconds_per_byte, 1e-12), ranks=world.size), path)
    run = Run(world, "auto", shard="auto")
    (reason, *_), error = run.sync.reasons, "error" in run.sync.slots
    assert error == (taken != "none")
    assert same_on_all_ranks(world, np.array([reason]))
    if taken == "none":
        measured = r"(int8|bf16) .* predicted, whole" if seconds_per_byte else "messages are not measured here"
        assert re.match(f"no compression: {measured}", reason), reason
    else:
        assert re.match(r"int8: .* predicted, whole gradients .*", reason), reason
    if not run.sync.sharded:
        found, expected = run.step(0), run.expected(0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.02 * np.abs(expected).max())
    run.parallel.free()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "(the ranks share the memory of one node|messages are not measured)"),
        ({"all_reduce": "ring"}, "--all-reduce says how gradients are exchanged"),
        ({"shard": "optimizer"}, "--shard says how gradients are exchanged"),
    ],
)
def test_auto_says_why_it_does_not_compress(world, options, why):
    run = Run(world, "auto", **options)
    reason = "one rank sends nothing" if world.size == 1 and not options else why
    assert re.match(f"no compression: {reason}", run.sync.reasons[0])
    run.parallel.free()


def test_auto_takes_none_for_gradients_of_a_device(world, monkeypatch):
    monkeypatch.setattr(world.group("data")._planner, "has_devices", True)
    run = Run(world, "auto", shard="auto")
    known = "auto knows the times of gradients of float32 in the memory of CPUs only"
    assert run.sync.reasons[0] == f"no compression: {known}"
    run.parallel.free()
