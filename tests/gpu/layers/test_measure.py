"""Units measured on a device that stands for a GPU: the memory of the CPU's, and the clock of the device."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.parallel.pipeline.measure import measure_units, medians
from tests.gpu.layers.test_later import plain, tokens
from tests.microbatches import Microbatches, assert_same_bits

CASES = {
    "resnet8": ((8, 8, 3), np.float32, lambda: models.build("resnet8", (8, 8, 3), 4)),
    "mlp": ((6,), np.float32, lambda: models.build("mlp:widths=8+7,dropout=0.2", (6,), 4)),
    "tokens": ((5,), np.int64, lambda: tokens(plain)),
}


@pytest.mark.parametrize("num_samples", [0, 1, 3])
@pytest.mark.parametrize("name", CASES)
def test_every_unit(anywhere, name, num_samples):
    shape, dtype, make = CASES[name]
    loss = None if name == "tokens" else (SoftmaxCrossEntropy(), np.zeros(num_samples, np.int64))
    options = {"dtype": dtype, "seconds": 0, "loss": loss}
    found = measure_units(make(), shape, num_samples, device=anywhere, **options)
    expected = measure_units(make(), shape, num_samples, **options)
    for name_of in ("name", "output_shape", "num_parameters", "output_bytes", "is_block"):
        assert [getattr(cost, name_of) for cost in found] == [getattr(cost, name_of) for cost in expected]
    assert all(cost.forward > 0 for cost in found if cost.num_parameters)
    assert [cost.dw > 0 for cost in found] == [cost.dw > 0 for cost in expected]
    first = next(cost for cost in found if cost.num_parameters)
    assert first.dx == 0 or first is found[-1]


@pytest.mark.parametrize("name", CASES)
def test_a_later_arena_has_the_same_bits(device, name):
    shape, dtype, make = CASES[name]
    rng = np.random.default_rng(0)
    xs = [rng.integers(0, 9, (n, *shape)) if name == "tokens" else rng.standard_normal((n, *shape)) for n in (3, 2)]
    xs = [x.astype(dtype) for x in xs]

    def measured():
        model = make()
        measure_units(model, shape, 2, dtype=dtype, device=device, seconds=0)
        return [model]

    expected = Microbatches(lambda: [make()], xs, device=device).run()
    assert_same_bits(Microbatches(measured, xs, device=device).run(), expected)


def test_the_device_is_waited_for(device):
    """Once for each run, at the end of all its phases."""
    with device.counted() as counts:
        medians((lambda: None, lambda: None), lambda: None, device, 0)
    assert counts["syncs"] == 2


def test_a_timed_run_allocates_nothing(device):
    """Two runs of each unit and many more ask for the same memory."""
    shape, _, make = CASES["mlp"]
    counts = {}
    for seconds in (0, 0.5):
        with device.counted() as counts[seconds]:
            measure_units(make(), shape, 2, device=device, seconds=seconds)
    few, many = counts.values()
    assert many["calls"] > few["calls"]
    assert (many["buffers"], many["temporaries"]) == (few["buffers"], few["temporaries"])
