"""The step as CUDA graphs, on a device that stands for a GPU: the eager step's bits, and what cannot be captured."""

import numpy as np
import pytest

from mpitrain.context import Context
from mpitrain.data.loader import Batch
from mpitrain.layers import Dropout, Recompute, Sequential
from mpitrain.optim import LARS, SGD, AdamW
from mpitrain.optim.schedules import schedule
from mpitrain.training.executors.graphed import StepGraphs
from tests.gpu.device import CaptureRefused, ShimDevice
from tests.gpu.training.job import Job

STEPS = 5
MODELS = [
    ("mlp", {"widths": (16, 16)}),
    ("mlp", {"widths": (17,), "dropout": 0.3, "activation": "gelu"}),
    ("convnet", {"channels": (4, 5), "width": 8}),
    ("lenet", {}),
    ("resnet8", {}),
]


class Stepper:
    """Steps of a job, each with another learning rate, by graphs or as they are written."""

    def __init__(self, job, graphs):
        self.job, self.notes = job, []
        arena = job.arena
        self.graphs = StepGraphs(arena, job.ctx, job.microbatches, [], self.notes.append) if graphs else None
        self.rate = schedule("cosine", lr=0.1, total_steps=10, warmup_steps=2)

    def work(self, batch):
        """Do forward and backward."""
        job = self.job
        outputs = job.model.forward(batch.x, job.ctx)
        job.arena.add_totals(job.loss.forward(outputs, batch.y, job.ctx))
        job.model.backward(job.loss.backward(job.ctx), job.ctx)

    def step(self, size=None):
        """Return the bits of weight and loss after a step on the first ``size`` samples."""
        job, ctx = self.job, self.job.ctx
        job.arena.begin_step(job.microbatches)
        each = (size or len(job.x)) // job.microbatches
        for place in range(job.microbatches):
            ctx.first = place * each
            rows = slice(ctx.first, ctx.first + each)
            batch = Batch(job.x[rows], job.y[rows], ctx.first, np.arange(each))
            if self.graphs is None:
                self.work(batch)
            else:
                self.graphs.run(place, batch, lambda batch=batch: self.work(batch))
        job.arena.end_backward()
        job.arena.put_header()
        job.arena.get_header()
        self.update()
        ctx.step += 1
        return job.arena.header[:2].tobytes()

    def update(self):
        self.job.optimizer.step(self.rate(self.job.ctx.step), 1 / max(1.0, float(self.job.arena.header[0])))

    def weights(self):
        """Return the bits of all that is learnt."""
        arena, device = self.job.arena, self.job.device
        return [device.to_host(array).tobytes() for array in (arena.values, arena.states)]


def pair(name="mlp", kind=Stepper, **options):
    """Return two steppers of the same job, by graphs and eager; one goes all its steps before the other begins."""
    device = ShimDevice()
    return kind(Job(name, device, **options), True), Stepper(Job(name, device, **options), False)


def losses(stepper, steps=STEPS):
    """Return the bits of the losses of some steps."""
    return [stepper.step() for _ in range(steps)]


@pytest.mark.parametrize("optimizer", [SGD, AdamW, LARS])
@pytest.mark.parametrize(("name", "options"), MODELS)
def test_the_bits_of_the_eager_step(name, options, optimizer):
    graphs, eager = pair(name, optimizer=optimizer, **options)
    assert losses(graphs) == losses(eager)
    assert graphs.weights() == eager.weights()
    assert graphs.graphs.launched == STEPS - 2, "one step to take memory, one to capture"
    assert graphs.notes == []


def test_microbatches_add_up():
    graphs, eager = pair("convnet", microbatches=2, channels=(3, 4), width=8, batch=6)
    assert losses(graphs) == losses(eager)
    assert graphs.weights() == eager.weights()
    assert graphs.graphs.launched == 2 * (STEPS - 2)


def test_attention_with_dropout():
    """A captured launch draws new masks in each step, those of the eager steps."""
    graphs, eager = pair("transformer", dropout=0.4)
    found = losses(graphs)
    assert found == losses(eager)
    assert graphs.weights() == eager.weights()
    assert graphs.graphs.launched == STEPS - 2
    assert found != losses(pair("transformer")[1])


@pytest.mark.parametrize(("name", "options"), [("mlp", {"dropout": 0.3}), ("resnet8", {})])
def test_layers_that_are_computed_again(name, options):
    """The second forward of a graph reads the step's number too, and draws the same masks."""
    graphs, eager = pair(name, microbatches=2, **options)
    for stepper, around in ((graphs, Recompute), (eager, lambda part: part)):
        model = stepper.job.model
        stepper.job.model = Sequential(around(model.part(0, 4)), around(model.part(4, len(model))))
    assert losses(graphs) == losses(eager)
    assert graphs.weights() == eager.weights()
    assert graphs.graphs.launched == 2 * (STEPS - 2)


def test_a_ragged_batch_runs_eagerly():
    graphs, eager = pair("mlp", dropout=0.2)
    sizes = (6, 6, 4, 6, 4, 6, 4)
    assert [graphs.step(size) for size in sizes] == [eager.step(size) for size in sizes]
    assert graphs.weights() == eager.weights()
    assert graphs.graphs.launched == 2
    assert len(graphs.graphs._recordings) == 1


def test_a_steady_step_asks_for_one_graph():
    graphs, _ = pair("lenet")
    losses(graphs, 3)
    with graphs.job.device.counted() as counts:
        graphs.step()
    assert sum(counts["launches"].values()) == 1, "the update"
    assert counts["buffers"] == counts["temporaries"] == 0
    assert counts["syncs"] == 1
    assert counts["calls"] == 1, "the header is cleared"


@pytest.mark.parametrize("guarded", [True, False])
def test_a_buffer_that_moves(guarded):
    """A graph writes where gradients lay: it is thrown away in time, and without that the weights are wrong."""
    graphs, eager = pair("mlp")
    for stepper in (graphs, eager):
        losses(stepper, 3)
        device, arena = stepper.job.device, stepper.job.arena
        before = device.allocations
        arena.move(arena.values, device.zeros((arena.size,)))
        stepper.job.optimizer = SGD(arena, momentum=0.9)
        if not guarded:
            device.allocations = before
        losses(stepper, 3)
    assert (graphs.weights() == eager.weights()) == guarded


def test_a_number_by_value_would_stay_what_it_was(monkeypatch):
    """The masks of the step that was captured would come again and again."""
    forward = Dropout.forward

    def by_value(self, x, ctx):
        counters, ctx.counters = ctx.counters, None
        y = forward(self, x, ctx)
        ctx.counters = counters
        return y

    graphs, eager = pair("mlp", dropout=0.3)
    monkeypatch.setattr(Dropout, "forward", by_value)
    same = [a == b for a, b in zip(losses(graphs), losses(eager), strict=True)]
    assert same == [True, True, False, False, False]


class UpdateInside(Stepper):
    """Captures the update too, with the learning rate of that step."""

    def work(self, batch):
        super().work(batch)
        self.job.optimizer.step(self.rate(self.job.ctx.step), 1 / len(batch))

    def update(self):
        pass


def test_a_learning_rate_must_not_be_captured():
    graphs, eager = pair(kind=UpdateInside)
    graphs.graphs._results = lambda: None  # the weights change with each attempt, and so would the gradients
    found = losses(graphs)
    assert graphs.graphs.launched
    assert found[-1] != losses(eager)[-1]


class Reads(Stepper):
    """Looks at a number in the middle of the step."""

    def work(self, batch):
        super().work(batch)
        self.job.device.to_host(self.job.arena.gradients)


class Asks(Stepper):
    """Asks for memory in every step."""

    def work(self, batch):
        super().work(batch)
        self.job.device.empty((3,))


class Differs(Stepper):
    """Adds how often it was called to a gradient."""

    calls = 0

    def work(self, batch):
        super().work(batch)
        self.calls += 1
        np.add(self.job.arena.gradients[-1:], self.calls, out=self.job.arena.gradients[-1:])


@pytest.mark.parametrize(
    ("kind", "why"),
    [(Reads, "reading an array"), (Asks, "asking for memory"), (Differs, "it computes something else")],
)
def test_what_cannot_be_captured_runs_eagerly(kind, why):
    graphs, eager = pair("mlp", kind=kind)
    found = losses(graphs)
    assert kind is Differs or found == losses(eager)
    assert len(graphs.notes) == 1
    assert graphs.notes[0].startswith(f"no CUDA graph of the step: {why}")
    assert graphs.graphs.launched == 0


def test_what_is_refused_while_work_is_captured():
    device = ShimDevice()
    other, array, host = device.stream(), device.zeros((4,)), device.pinned_empty((4,))
    other.copy(host, array)
    copied = other.record()
    refused = [
        device.synchronize,
        lambda: device.empty((3,)),
        lambda: device.pinned_empty((3,)),
        lambda: device.from_host(np.ones(3)),
        lambda: device.to_host(array),
        lambda: device.compute.record().done(),
        lambda: device.compute.wait_for(copied),
        lambda: other.wait_for(device.compute.record()),
        device.begin_capture,
    ]
    for what in refused:
        device.begin_capture()
        with pytest.raises(CaptureRefused):
            what()
        device.end_capture()


def test_captured_work_is_not_done_before_it_is_launched():
    device = ShimDevice()
    array, host = device.zeros((4,)), device.pinned_empty((4,))
    host[:] = 1
    device.begin_capture()
    device.compute.copy(array, host)
    np.add(array, 1, out=array)
    doubled = np.multiply(array, 2)
    array[:2] = doubled[:2]
    graph = device.end_capture()
    assert device.to_host(array).tolist() == [0, 0, 0, 0]
    host[:] = 3
    graph.launch()
    assert device.to_host(array).tolist() == [8, 8, 4, 4]


def test_saved_has_no_counters_of_its_own():
    assert Context().counters is None
