"""A layer of your own: forward, and a backward that is checked against differences.

mpirun -n 4 python own_layer.py
"""

import numpy as np

import mpitrain as mt


class Gate(mt.Layer):
    """y = x tanh(s * x) with a trained s (F,) for each feature.

    With t = tanh(s x): dx = dy (t + s x (1 - t^2)), ds = sum over samples of dy x^2 (1 - t^2).
    """

    def __init__(self, features: int):
        self.scale = mt.Parameter((features,), lambda rng, shape: np.ones(shape), decay=False)

    def forward(self, x: np.ndarray, ctx: mt.Context) -> np.ndarray:  # (N, F)
        """Return y; ``ctx[self]`` keeps what backward needs; other memory of ``ctx.lend`` is used again."""
        t = np.tanh(self.scale.data * x, out=ctx.lend(self, "t", x.shape))
        ctx[self] = x, t
        y: np.ndarray = np.multiply(x, t, out=ctx.lend(self, "y", x.shape))
        return y

    def backward(self, dy: np.ndarray, ctx: mt.Context) -> np.ndarray:
        """Add ds to its gradient and return dx."""
        x, t = ctx[self]
        slope, s = 1 - t * t, self.scale
        ds = (dy * x * x * slope).sum(axis=0)
        s.grad[...] = s.grad + ds if s.accumulate else ds
        s.written()  # the sum over the ranks may begin
        dx: np.ndarray = dy * (t + s.data * x * slope)
        return dx


def largest_error(layer: mt.Layer, x: np.ndarray, eps: float = 1e-6) -> float:
    """Return by how much dx differs from central differences of sum(y^2) / 2, in float64."""
    mt.Arena(layer, dtype=np.float64).begin_step()
    ctx = mt.Context(dtype=np.float64)
    dx = layer.backward(layer.forward(x, ctx).copy(), ctx)
    expected = np.empty_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += eps
        down[i] -= eps
        expected[i] = (np.square(layer.forward(up, ctx)).sum() - np.square(layer.forward(down, ctx)).sum()) / (4 * eps)
    return float(np.abs(dx - expected).max())


def net(input_shape: tuple[int, ...], num_outputs: int) -> mt.Layer:
    """Return a network with gates."""
    return mt.Sequential(mt.Flatten(), mt.Linear(64, 48), Gate(48), mt.Linear(48, num_outputs))


if __name__ == "__main__":
    error = largest_error(Gate(5), np.random.default_rng(0).standard_normal((3, 5)))
    trainer = mt.Trainer(net, "digits", epochs=3, progress="none")
    result = trainer.fit()
    if trainer.world.rank == 0:
        print(f"backward is right to {error:.0e}, accuracy {result.test['accuracy']:.2f}")
