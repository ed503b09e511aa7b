"""Waits of a pipeline on a device, each left out on purpose: some device that stands for a GPU must show wrong numbers.

Rules leave open when work is done, so what is forgotten shows where the computation runs ahead of the copies, where
everything is as late as may be, or where copies are as early.
"""

import functools
from typing import NamedTuple

import numpy as np
import pytest

from mpitrain import models
from mpitrain.comm.schedule.message import Receive, Send
from mpitrain.comm.schedule.staging import DirectStaging, HostStaging
from mpitrain.layers import Flatten, Linear, Sequential, Sigmoid
from mpitrain.parallel.pipeline.boxes import Outbox
from mpitrain.parallel.pipeline.forward import PipelineForward, _Turn
from mpitrain.parallel.pipeline.runner import StageRunner
from mpitrain.pipelines import Task, find, make_program
from mpitrain.pipelines.program import from_tasks
from tests.device_pipelines import cut_small, open_channel
from tests.gpu.arrays import Array
from tests.gpu.device import ShimDevice
from tests.gpu.lagging import AheadDevice, HastyStream, LaggingDevice
from tests.kernels import cpu
from tests.late import Over
from tests.late_mpi import LateComm
from tests.pipeline_cases import CASES, TIED_STACK, Case, make_batches, make_runner, run_steps

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]

DEVICES = {
    "all is late": LaggingDevice,
    "the computation runs ahead": AheadDevice,
    "copies up run ahead": functools.partial(LaggingDevice, copies=HastyStream),
}
STAGINGS = {"in pieces": HostStaging, "in place": DirectStaging}
SIZES = (5, 4, 0, 4, 1, 5)
EVENTS = {  # of streams, for messages in pieces
    "copied down before it is computed": ("wait_down", lambda self, event: None),
    "sent before it is copied down": ("copied", lambda self: Over()),
    "copied up onto what is still read": ("wait_up", lambda self, event: None),
    "used before it is copied up": ("end", lambda self: None),
    "received onto what is still copied up": ("added", lambda self: Over()),
}


def views():
    """A model whose first layers have no weights: no gradient tells them that a message has come."""
    layers = [Sigmoid(), Flatten(), *(layer for _ in range(4) for layer in (Linear(12, 12), Sigmoid()))]
    return models.prepare(Sequential(*layers))


VIEWS = Case(views, (4, 3), np.float32, 12)


def forget(monkeypatch, kind, text):
    """Skip waits for messages of a kind whose labels contain ``text``, and report them as over."""
    done, wait = kind.done, kind.wait
    monkeypatch.setattr(kind, "done", lambda self: text in self.label or done(self))
    monkeypatch.setattr(kind, "wait", lambda self: None if text in self.label else wait(self))


def lose_sent(monkeypatch, name, slots):
    """Let a method of StageRunner forget what it has sent from some of its slots."""
    method = getattr(StageRunner, name)

    def forgetful(self, *arguments):
        for slot in slots(self, *arguments):
            slot.sent = None
        return method(self, *arguments)

    monkeypatch.setattr(StageRunner, name, forgetful)


def free_slots(self, *arguments):
    return self._free


def own_slot(self, microbatch):
    return [self._slots[microbatch]]


BREAKS = {
    **{("in pieces", what): functools.partial(lambda patch, at: patch.setattr(HostStaging, *at), at=at)
       for what, at in EVENTS.items()},
    ("in place", "sent before it is computed"): lambda patch: patch.setattr(Send, "_may_use", lambda self, n: True),
    ("in place", "received onto what is still read"):
        lambda patch: patch.setattr(Receive, "_may_use", lambda self, n: True),
    ("in place", "an output is written over before it is sent"):  # in pieces, who has its gradient has sent it
        lambda patch: lose_sent(patch, "_free_slot", free_slots),
}  # fmt: skip
for staging in STAGINGS:
    BREAKS |= {
        (staging, "an activation is used before it has come"): lambda patch: forget(patch, Receive, "activation of"),
        (staging, "a gradient is used before it has come"): lambda patch: forget(patch, Receive, "gradient of micro"),
        (staging, "a view's memory is received into before it is sent"):
            lambda patch: lose_sent(patch, "_release", own_slot),
        (staging, "a copied gradient is written over before it is sent"):
            lambda patch: patch.setattr(Outbox, "_memory", lambda self, n: reuse(self, n)),
        (staging, "an output of an evaluation is written over before it is sent"):
            lambda patch: patch.setattr(_Turn, "end", lose_turn),
        (staging, "a step ends before its activations are sent"): lambda patch: lose_sent(patch, "finish", free_slots),
        (staging, "a step ends before its gradients are sent"): lambda patch: forget(patch, Send, "gradient of micro"),
        (staging, "a tied gradient is added before it has come"): lambda patch: forget(patch, Receive, "from place"),
        (staging, "a tied gradient is overwritten before it is sent"): lambda patch: forget(patch, Send, "to place"),
    }  # fmt: skip


def lose_turn(turn):
    """Do what ``_Turn.end`` does, but for the wait."""
    if turn.item is not None:
        turn.release(turn.item)
    turn.sent = turn.item = None


def reuse(outbox, num_samples):
    """Return memory for a copy, the last one that is long enough, whether it is sent or not."""
    for place, (memory, _) in enumerate(outbox._copies):
        if len(memory) >= num_samples:
            del outbox._copies[place]
            return memory
    return outbox._device.empty((num_samples, *outbox._border.shape), outbox._border.dtype)


def case_and_program(broken):
    """Return the model, the program for two ranks and the cut that a wait is for."""
    if "view" in broken:
        return VIEWS, ahead_program(), [1, 2, 10]
    if "tied" in broken:
        return TIED_STACK, make_program(find("1f1b"), 2, len(SIZES)), None
    schedule = "1f1b" if "an output" in broken or "activations" in broken else "gpipe"
    return CASES["mlp gelu"], make_program(find(schedule), 2, len(SIZES)), None


def ahead_program():
    """Return a program whose second rank has one stage, between those of the first, and releases it early.

    Without weights before it, its B waits for no gradient.
    """
    m = range(len(SIZES))
    first = [*(("F", 0, i) for i in m), *((kind, 2, i) for i in m for kind in "FB"), *(("B", 0, i) for i in m)]
    second = [("F", 1, 0), *(task for i in m[1:] for task in (("F", 1, i), ("B", 1, i - 1))), ("B", 1, m[-1])]
    return from_tasks([[Task(*task) for task in own] for own in (first, second)], len(SIZES), "ahead")


class Run(NamedTuple):
    """Result of a rank: its gradients or outputs by name, and what it has done wrong on the way."""

    values: dict
    left: bool = False  # messages were in flight when all was done
    changed: bool = False  # arrays that MPI was still to read were changed


def run(world, device, staging, broken):
    """Run two steps, or an evaluation, with messages that are as late as may be."""
    case, program, stops = case_and_program(broken)
    channel = open_channel(world, device, STAGINGS[staging])
    channel.comm = late = LateComm(channel.comm)
    made, arena = make_runner(case, program, world.rank, channel, stops, device=device)
    batches = make_batches(case, SIZES)
    values = evaluate(made, channel, batches) if "evaluation" in broken else run_steps(made, arena, batches).gradients
    left = bool(channel._in_flight)
    while channel._in_flight:
        channel.poll()
    world.barrier()
    channel.free()
    return Run(values, left, bool(late.changed))


def evaluate(runner, channel, batches):
    """Return the outputs of each batch on the last rank."""
    device = runner.stages.device
    outputs = PipelineForward(runner.stages, channel).outputs(SIZES, lambda n: device.from_host(batches[n].x))
    return {number: device.to_host(y).copy() for number, y in outputs}


EXPECTED = {}


def expected_of(world, broken):
    """Return the values of a device that does all at once as it is asked to, with no wait left out."""
    case, program, _ = case_and_program(broken)
    key = case.make, program.name, "evaluation" in broken
    if key not in EXPECTED:
        EXPECTED[key] = run(world, ShimDevice(), "in pieces", broken).values
    return EXPECTED[key]


def is_wrong(found, expected):
    values = [np.array_equal(found.values[name], expected[name]) for name in expected]
    return found.left or found.changed or not all(values)


@pytest.fixture(autouse=True)
def _pieces_of_some_bytes(monkeypatch):
    cut_small(monkeypatch)
    interface = property(lambda array: {**array.memory.__array_interface__, "version": 3})
    monkeypatch.setattr(Array, "__cuda_array_interface__", interface, raising=False)


@pytest.fixture(autouse=True)
def _two_ranks(world):
    if world.size != 2:
        pytest.skip("which messages are late on more ranks than cores depends on who comes first")


@pytest.mark.parametrize("staging", STAGINGS)
@pytest.mark.parametrize("case", ["an output", "a gradient", "a tied gradient", "a view", "evaluation"])
def test_with_all_waits(world, staging, case):
    """No fault is found where none is, whatever is late."""
    expected = expected_of(world, case)
    for name, make in DEVICES.items():
        wrong = world.all_gather(is_wrong(run(world, make(), staging, case), expected))
        assert not any(wrong), name


@pytest.mark.parametrize(("staging", "broken"), BREAKS, ids=lambda text: text)
def test_a_forgotten_wait_is_found(world, monkeypatch, staging, broken):
    expected = expected_of(world, broken)
    BREAKS[staging, broken](monkeypatch)
    for make in DEVICES.values():
        if any(world.all_gather(is_wrong(run(world, make(), staging, broken), expected))):
            return
    pytest.fail("no device has shown that this wait is missing")
