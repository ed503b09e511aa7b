"""A layer on a device against the same layer in float64 on the CPU, and against central differences of that."""

import numpy as np

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.device import CPU, bfloat16, is_bf16
from mpitrain.layers import as_activations

STEP = 1e-6


class Run:
    """A layer with its arena on a device; its weights are the same wherever it runs: drawn, or the layer's own."""

    def __init__(self, make, device, dtype, training, drawn=True):
        self.layer, self.device = make(), device
        self.arena = Arena(self.layer.named_parameters(), self.layer.named_states(), dtype=dtype, device=device)
        rng = np.random.default_rng(5)
        for p in self.arena.parameters if drawn else ():
            p.data[...] = device.from_host((1 + 0.3 * rng.standard_normal(p.shape)).astype(np.float32).astype(dtype))
        self.arena.values_changed()
        wide = dtype if dtype == np.float64 else None
        self.ctx = Context(training=training, dtype=wide, device=device)

    def forward(self, x):
        return self.layer.forward(as_activations(self.layer, x, self.ctx), self.ctx)

    def backward(self, x, dy, times=2):
        """Return dx, gradients and states after as many passes, whose gradients add up."""
        self.arena.begin_step(times)
        for _ in range(times):
            self.forward(x)
            dx = self.layer.backward(self.device.from_host(dy.astype(self.ctx.dtype)), self.ctx)
        to_host = self.device.to_host
        gradients = [to_host(p.grad).reshape(-1) / times for p in self.arena.parameters]
        return to_host(dx), np.concatenate([*gradients, []]), to_host(self.arena.states)


def check_layer(device, make, x, *, training=True, seed=0, tolerance=2e-5, others=0):
    """Compare, and see that nothing is allocated or waited for in a steady pass, nor runs but our kernels.

    ``others`` is the number of CuPy's functions that may run all the same. Returns the launches of that pass.
    """
    ours, on_device, shape = compare_layer(device, make, x, training=training, seed=seed, tolerance=tolerance)
    return steady(device, ours, on_device, shape, training, others)


def compare_layer(device, make, x, *, training=True, seed=0, tolerance=2e-5):
    """Compare forward, backward and states; return the layer on the device, its input and the shape of its output."""
    rng = np.random.default_rng(seed)
    exact = Run(make, CPU, np.float64, training)
    ours = Run(make, device, np.float32, training)
    inexact = np.issubdtype(x.dtype, np.floating)
    wide, on_device = x.astype(np.float64) if inexact else x, device.from_host(x)
    y = exact.forward(wide).copy()
    near(device.to_host(ours.forward(on_device)), y, tolerance, seed)
    if training:
        dy = rng.standard_normal(y.shape).astype(np.float32)
        found = ours.backward(on_device, dy)
        for mine, expected in zip(found, exact.backward(wide, dy.astype(np.float64)), strict=True):
            near(mine, expected, tolerance * np.sqrt(max(1, len(x))), seed)
        if inexact and x.size:
            along_a_line(exact, wide, dy, found[0], rng, 50 * tolerance)
    return ours, on_device, y.shape


def compare_in_bf16(device, make, x, bound, seed=0):
    """Compare a layer whose activations are bf16, with its own first values; return it and the shape of its output.

    ``bound`` is that of the root mean square of the error, relative to that of the results.
    """
    exact, ours = Run(make, CPU, np.float64, True, False), Run(make, device, np.float32, True, False)
    inexact = np.issubdtype(x.dtype, np.floating)
    x, on_device = (in_bf16(x), device.from_host(x)) if inexact else (x, device.from_host(x))
    y = exact.forward(x).copy()
    result = ours.forward(on_device)
    assert is_bf16(result)
    dy = in_bf16(np.random.default_rng(seed).standard_normal(y.shape))
    found, wanted = (device.to_host(result), *ours.backward(on_device, dy)), (y, *exact.backward(x, dy))
    for name, mine, expected in zip(("y", "dx", "gradients", "states"), found, wanted, strict=True):
        assert mine.shape == expected.shape
        error = relative_error(mine, expected)
        assert error <= bound, f"{name} has an error of {error:.1e}, seed {seed}"
    return ours, on_device, y.shape


def in_bf16(x):
    """Return float64 numbers rounded to bf16."""
    return x.astype(np.float32).astype(bfloat16()).astype(np.float64)


def relative_error(found, expected):
    square = np.square(expected).mean() if expected.size else 0
    return float(np.sqrt(np.square(found - expected).mean() / square)) if square else float(np.abs(found).sum())


def near(found, expected, tolerance, seed):
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale, err_msg=f"seed {seed}")


def along_a_line(exact, x, dy, dx, rng, tolerance):
    """Compare dx with the central difference of sum(y dy) in a random direction."""
    direction = rng.standard_normal(x.shape)
    above, below = (float((exact.forward(x + h * direction) * dy).sum()) for h in (STEP, -STEP))
    slope, scale = float((dx * direction).sum()), float(np.abs(dx * direction).sum())
    assert abs((above - below) / (2 * STEP) - slope) <= tolerance * max(1.0, scale)


def steady(device, run, x, shape, training, others):
    dy = device.from_host(np.ones(shape, run.ctx.dtype))
    if training:
        run.arena.begin_step()
    with device.counted() as counts:
        run.layer.forward(x, run.ctx)
        if training:
            run.layer.backward(dy, run.ctx)
    assert counts["buffers"] == counts["temporaries"] == counts["copies"] == counts["syncs"] == 0, counts
    assert counts["calls"] == others, "something ran that is not a kernel of ours"
    return counts["launches"]
