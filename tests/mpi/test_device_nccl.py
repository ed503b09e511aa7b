"""Messages between GPUs by what stands for NCCL (tests/fake_nccl.py): the bits of messages by MPI, and all waits."""

import dataclasses
import time

import numpy as np
import pytest

from mpitrain.comm.mesh import Mesh
from mpitrain.comm.nccl_channel import BEHIND, NcclChannel, NcclMessage, open_nccl_channel
from mpitrain.comm.schedule.message import Turn
from mpitrain.comm.schedule.staging import HostStaging
from mpitrain.errors import UserError
from mpitrain.parallel.pipeline.forward import PipelineForward
from mpitrain.parallel.pipeline.turns import Turns
from mpitrain.pipelines import find, make_program
from tests.channels import around, values
from tests.device_pipelines import open_channel, program_for
from tests.fake_nccl import Deadlock, give_nccl
from tests.gpu.device import ShimDevice
from tests.gpu.lagging import LaggingDevice
from tests.kernels import cpu
from tests.late import Over
from tests.pipeline_cases import (
    CASES,
    SCHEDULES,
    TIED_STACK,
    differences,
    make_batches,
    make_runner,
    run_steps,
)

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]

SIZES = (5, 4, 0, 4, 1, 5)
GPUS = {  # how late computation and calls are
    "calls are late": (ShimDevice, False),
    "all is late": (LaggingDevice, False),
    "calls are early, computation is late": (LaggingDevice, True),
}


@pytest.fixture(autouse=True)
def _messages(world):
    if world.size == 1:
        pytest.skip("one rank has no messages")


def open_nccl(world, device):
    pipe = Mesh(world, {"pipe": world.size})["pipe"]
    pipe.use_staging(HostStaging(device))
    return open_nccl_channel(world, device, pipe)


def run(world, case, program, device, open_channel=open_nccl):
    """Return the result of two steps, the outputs of an evaluation, and the channel."""
    channel, batches = open_channel(world, device), make_batches(case, SIZES)
    made, arena = make_runner(case, program, world.rank, channel, device=device)
    found = run_steps(made, arena, batches)
    outputs = PipelineForward(made.stages, channel).outputs(SIZES, lambda n: device.from_host(batches[n].x))
    return found, {number: device.to_host(y).copy() for number, y in outputs}, channel


def is_wrong(found, expected):
    """Return whether gradients, states, losses or outputs differ."""
    (mine, outputs, _), (theirs, wanted, _) = found, expected
    pairs = [(mine.totals, theirs.totals), *((outputs[number], wanted[number]) for number in wanted)]
    return bool(differences(mine, theirs)) or not all(np.array_equal(one, two) for one, two in pairs)


EXPECTED = {}


def expected_of(world, case, schedule):
    """Return the result with messages by MPI."""
    key = case.make, schedule
    if key not in EXPECTED:
        EXPECTED[key] = run(world, case, program_for(world, case, schedule, SIZES), ShimDevice(), open_channel)
        EXPECTED[key][-1].free()
    return EXPECTED[key]


EVERY = ("gpipe", "interleaved:chunks=2", "tied")  # on each kind of GPU; the other schedules on the most telling one


@pytest.mark.parametrize(
    ("schedule", "gpu"),
    [*((name, gpu) for name in EVERY for gpu in GPUS), *((n, "all is late") for n in SCHEDULES if n not in EVERY)],
)
def test_the_bits_of_messages_by_mpi(world, monkeypatch, schedule, gpu):
    """Gradients of two steps, losses and outputs, with batches that are not full, and some without samples."""
    case = TIED_STACK if schedule == "tied" else CASES["mlp gelu"]
    schedule = "gpipe" if schedule == "tied" else schedule
    make, is_early = GPUS[gpu]
    give_nccl(monkeypatch, world, is_early=is_early)
    found = run(world, case, program_for(world, case, schedule, SIZES), make())
    wrong = world.all_gather(is_wrong(found, expected_of(world, case, schedule)))
    assert not any(wrong), wrong
    found[-1].free()


def test_a_step_does_not_wait_for_the_gpu(world, monkeypatch):
    give_nccl(monkeypatch, world)
    device, case = ShimDevice(), CASES["mlp gelu"]
    channel, batches = open_nccl(world, device), make_batches(case, SIZES)
    made, arena = make_runner(case, program_for(world, case, "1f1b", SIZES), world.rank, channel, device=device)
    run_steps(made, arena, batches)
    batches = [dataclasses.replace(b, x=device.from_host(b.x), y=device.from_host(b.y)) for b in batches]
    arena.begin_step(len(batches))
    with device.counted() as counts:
        made.run(batches, 2, arena.add_totals)
    assert (counts["syncs"], counts["buffers"], counts["pinned"]) == (0, 0, 0)
    channel.free()


def forget_wait(monkeypatch, text, outgoing):
    """Let the computation not wait for the messages of one direction whose labels contain ``text``."""
    wait_for = NcclChannel.wait_for

    def forgetful(channel, message):
        if text in message.label and message.way.outgoing == outgoing:
            channel._awaited.append(message)
        else:
            wait_for(channel, message)

    monkeypatch.setattr(NcclChannel, "wait_for", forgetful)


def forget_event(monkeypatch, outgoing):
    """Let calls of one direction not wait for the computation."""
    post = NcclMessage.post

    def forgetful(message):
        if message.way.outgoing == outgoing:
            message._after = Over()
        return post(message)

    monkeypatch.setattr(NcclMessage, "post", forgetful)


WAITS = {  # of the computation, each with a part of the labels and the direction of its messages
    "an activation is used before it has come": ("activation of microbatch", False),
    "a gradient is used before it has come": ("gradient of microbatch", False),
    "a tied gradient is added before it has come": ("from place", False),
    "a tied gradient is written over before it is sent": ("to place", True),
    "an output of an evaluation is used before it has come": ("of batch", False),
    "an output of an evaluation is written over before it is sent": ("of batch", True),
}
EVENTS = {"sent before it is computed": True, "received onto what is still read": False}


def shows(world, monkeypatch, gpu, case):
    """Return whether some rank has other bits than with messages by MPI."""
    make, is_early = GPUS[gpu]
    give_nccl(monkeypatch, world, is_early=is_early)
    expected, program = expected_of(world, case, "gpipe"), make_program(find("gpipe"), world.size, len(SIZES))
    return any(world.all_gather(is_wrong(run(world, case, program, make()), expected)))


@pytest.mark.parametrize("broken", WAITS)
def test_a_forgotten_wait_is_found(world, monkeypatch, broken):
    """By a GPU that computes at once what it need not wait for."""
    forget_wait(monkeypatch, *WAITS[broken])
    assert shows(world, monkeypatch, "calls are late", TIED_STACK if "tied" in broken else CASES["mlp gelu"])


@pytest.mark.parametrize("broken", EVENTS)
def test_a_forgotten_event_is_found(world, monkeypatch, broken):
    """By a GPU whose computation is later than its calls."""
    forget_event(monkeypatch, EVENTS[broken])
    assert shows(world, monkeypatch, "all is late", CASES["mlp gelu"])


def swap_turns(monkeypatch, world):
    """Let the last rank call its first gradient before the activation that it is of."""
    of_step = Turns._of_step

    def swapped(turns, sizes):
        found = of_step(turns, sizes)
        if world.rank == world.size - 1:
            one = next(place for place, turn in enumerate(found) if turn.outgoing)
            found[0], found[one] = found[one], found[0]
        return found

    monkeypatch.setattr(Turns, "_of_step", swapped)


def result_of(call):
    try:
        call()
    except (Deadlock, UserError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_a_wrong_order_is_found(world, monkeypatch):
    """By the comparison at the begin of a step; without it, ranks wait for each other, as they would on GPUs."""
    give_nccl(monkeypatch, world, patience=1.0)
    swap_turns(monkeypatch, world)
    case, program = CASES["mlp gelu"], make_program(find("1f1b"), world.size, len(SIZES))
    found = world.all_gather(result_of(lambda: run(world, case, program, ShimDevice())))
    assert set(found) == {found[0]}
    assert f"(rank {world.size - 1}) follow different schedules: where the former has the activation" in found[0]
    assert "the latter has the gradient of microbatch 0 from stage" in found[0]
    monkeypatch.setattr(NcclChannel, "_compare", lambda channel, turns: None)
    found = world.all_gather(result_of(lambda: run(world, case, program, ShimDevice())))
    assert any("Deadlock" in one or "before its turn" in one for one in found), found


def turns_around(world, lengths):
    """Return the turns of messages that go from each rank to the next one, that of rank 0 first."""
    right, left = around(world)
    found = []
    for k, num_bytes in enumerate(lengths):
        both = [Turn(True, right, k, num_bytes, f"activation of microbatch {k} from stage {world.rank}")]
        both.append(Turn(False, left, k, num_bytes, f"activation of microbatch {k} from stage {left}"))
        found += both if world.rank == 0 else both[::-1]
    return found


@pytest.mark.parametrize("gpu", GPUS)
def test_arrays_in_any_order(world, monkeypatch, gpu):
    """Calls are made in their turns, whatever the order in which arrays are given; also of arrays without elements."""
    make, is_early = GPUS[gpu]
    give_nccl(monkeypatch, world, is_early=is_early)
    device, (right, left) = make(), around(world)
    channel, lengths = open_nccl(world, device), (3, 0, 400, 5)
    for step in range(2):
        channel.begin(turns_around(world, [8 * n for n in lengths]))
        into = [device.zeros((n,), np.float64) for n in lengths]
        arrivals = [channel.receive(into[k], left, k) for k in (2, 0, 3, 1)]
        sends = []
        for k in (1, 3, 0, 2):
            mine = device.zeros((lengths[k],), np.float64)
            mine += device.from_host(values(lengths[k], k, step, world.rank))
            sends.append(channel.send(mine, right, k))
            mine *= 1
        for message in (*arrivals, *sends):
            message.wait()
        for x in into:
            x *= 2
        for k, x in enumerate(into):
            np.testing.assert_array_equal(device.to_host(x), 2 * values(lengths[k], k, step, left))
        channel.catch_up()
        assert all(message.done() for message in (*arrivals, *sends))
    channel.free()


def test_lengths_that_differ_are_said_before_any_call(world, monkeypatch):
    give_nccl(monkeypatch, world)
    channel, turns = open_nccl(world, ShimDevice()), turns_around(world, [80, 40])
    channel.begin(turns)
    bad = [turn._replace(num_bytes=24) if turn.tag and not turn.outgoing else turn for turn in turns]
    with pytest.raises(UserError) as error:
        channel.begin(bad if world.rank == 1 else turns)
    assert str(error.value) == (
        "the activation of microbatch 1 from stage 0 (rank 0) has 40 bytes, but 24 are expected on stage 1 (rank 1): "
        "both ends must give the same length"
    )
    with pytest.raises(UserError, match=r"stage 0 \(rank 0\) has \d messages with stage \d \(rank \d\), which has \d"):
        channel.begin(turns[:-1] if world.rank == 0 else turns)
    assert not channel.nccl.stream.queue
    channel.free()


def test_another_length_than_was_told_is_said(world, monkeypatch):
    give_nccl(monkeypatch, world)
    device, (right, left) = ShimDevice(), around(world)
    channel = open_nccl(world, device)
    channel.begin(turns_around(world, [80]))
    first = channel.send if world.rank == 0 else channel.receive
    with pytest.raises(UserError, match=r"the thing \(rank \d\) has 16 bytes, but 80 were told to its other end"):
        first(device.zeros((2,), np.float64), right if world.rank == 0 else left, 0, "thing")
    message = channel.send(device.zeros((2,), np.float64), right, 9, "thing")
    with pytest.raises(UserError, match=r"the thing \(rank \d\) is needed before its turn"):
        message.wait()
    channel.free()


def waits_for(record, before=-1):
    """Return the wait of a rank for a message, once it waits, and no more for the one with the number ``before``."""
    begin, found = time.monotonic(), None
    while found is None or found.peer < 0 or found.seq == before:
        assert time.monotonic() - begin < 60, "it does not wait"
        found = record.wait_for_others()
    return found


def test_waits_are_recorded(world, monkeypatch):
    """The host waits for a message of long before, and at the end of a step for all: a report on a hang names it."""
    give_nccl(monkeypatch, world)
    device, num, label = ShimDevice(), BEHIND + 2, "activation of microbatch"
    monkeypatch.setattr(device.compute, "wait_for", lambda event: None)  # the host runs ahead of it
    channel, x = open_nccl(world, device), device.zeros((num, 1), np.float64)
    turns = [Turn(world.rank == 0, 1 - world.rank, k, 8, f"{label} {k} from stage 0") for k in range(num)]
    channel.begin(turns if world.rank < 2 else [])
    if world.rank == 0:
        other = next(record for record in world.ledger.records if record.rank == 1)
        connects = waits_for(other)
        sends = [channel.send(x[k], 1, k, f"{label} {k} to stage 1") for k in range(num)]
        waits = waits_for(other, before=connects.seq)  # nothing is sent before somebody asks for it
        for seen in (connects, waits):
            assert (seen.text, seen.peer) == (f"for the {label} 0 from stage 0 (rank 0)", 0)
        for message in sends:
            message.wait()
    if world.rank == 1:
        arrivals = [channel.receive(x[k], 0, k, f"{label} {k} from stage 0") for k in range(num)]
        for number, message in enumerate(arrivals):
            entries = [entry.seq for entry in world.ledger.mine.entries() if entry.peer >= 0]
            message.wait()
            later = [entry for entry in world.ledger.mine.entries() if entry.peer >= 0 and entry.seq not in entries]
            if number <= BEHIND:
                expected = [f"for the {label} 0 from stage 0 (rank 0)"] if number == BEHIND else []
                assert [entry.text for entry in later] == expected
        assert not arrivals[-1].over
    channel.catch_up()
    assert not channel._awaited
    channel.free()
