"""Central differences: the judge of every hand-written backward."""

from collections.abc import Callable

import numpy as np

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers.base import Layer

STEP = 1e-6


def numeric_gradient(f: Callable[[], float], array: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return (f(a + h) - f(a - h)) / 2h for each flat index of ``array`` (changed in place and put back)."""
    flat = array.reshape(-1)
    assert array.size == 0 or np.shares_memory(flat, array), "the array to be varied must be contiguous"
    out = np.empty(len(places))
    for k, i in enumerate(places):
        kept = flat[i]
        flat[i] = kept + STEP
        above = f()
        flat[i] = kept - STEP
        below = f()
        flat[i] = kept
        out[k] = (above - below) / (2 * STEP)
    return out


def check_layer(layer: Layer, x: np.ndarray, seed: int = 0, places: int = 40, tolerance: float = 1e-6) -> None:
    """Compare backward of ``layer`` at ``x`` with central differences in float64, twice (the second adds).

    Checks dx and every parameter gradient at up to ``places`` random entries of each.
    """
    rng = np.random.default_rng(seed)
    x = np.array(x, np.float64 if np.issubdtype(np.asarray(x).dtype, np.floating) else None)
    arena = Arena(layer.named_parameters(), layer.named_states(), seed=seed, dtype=np.float64)
    for p in arena.parameters:
        p.data += 0.1 * rng.standard_normal(p.shape)
    states = arena.states.copy()
    ctx = Context(dtype=np.float64, seed=seed)
    dy = rng.standard_normal(layer.forward(x, ctx).shape)

    def objective() -> float:
        arena.states[:] = states
        return float(np.sum(layer.forward(x, ctx) * dy))

    for times in (1, 2):
        arena.begin_step(microbatches=times)
        for _ in range(times):
            objective()
            dx = layer.backward(dy.copy(), ctx).copy()
    checks = [(p.name, p.data, p.grad / 2) for p in arena.parameters]
    if layer.needs_dx and np.issubdtype(x.dtype, np.floating):
        assert dx.shape == x.shape, (dx.shape, x.shape)
        checks.append(("dx", x, dx))
    for name, array, gradient in checks:
        chosen = rng.permutation(array.size)[:places]
        expected = numeric_gradient(objective, array, chosen)
        np.testing.assert_allclose(
            gradient.reshape(-1)[chosen],
            expected,
            rtol=tolerance,
            atol=tolerance * max(1.0, float(np.abs(expected).max(initial=0))),
            err_msg=f"{type(layer).__name__}.{name}, seed {seed}, x {x.shape}",
        )
