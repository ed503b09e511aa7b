"""A layer whose microbatches run in the order of a pipeline's tasks, and the same without a pipeline."""

import numpy as np

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.device import CPU

PLAIN = "one after the other"
ORDERS = {
    "in flight": "F0 F1 F2 B0 B1 B2",
    "one forward, one backward": "F0 F1 B0 F2 B1 B2",
    "dw at once": "F0 F1 B0 W0 F2 B1 W1 B2 W2",
    "dw of two": "F0 F1 B0 B1 W0 W1 F2 B2 W2",
    "dw at the end": "F0 F1 F2 B0 B1 B2 W0 W1 W2",
    "dw late": "F0 F1 B0 F2 B1 W0 B2 W1 W2",
    "dw of some": "F0 F1 B0 B1 W0 W1 F2 B2",
}
"""Tasks of 3 microbatches: forward, backward, and the writing of gradients that their backward has put off."""


class Microbatches:
    """Runs microbatches through the layer that ``make`` returns, or through several in a row.

    Parameters
    ----------
    make : callable() -> list of Layer
    xs : list of array
        The samples of each microbatch.
    seed : int
        For the arena, the dropout masks and the gradients of the results.
    """

    def __init__(self, make, xs, *, seed=0, device=CPU):
        self.layers, self.seed, self.device = make(), seed, device
        self.xs = [device.from_host(x) for x in xs]
        named = [each for layer in self.layers for each in layer.named_parameters()]
        states = [each for layer in self.layers for each in layer.named_states()]
        self.arena = Arena(named, states, seed=seed, device=device)
        rng = np.random.default_rng(seed)
        for p in self.arena.parameters:
            p.data += device.from_host(0.1 * rng.standard_normal(p.shape).astype(np.float32))
        self.first_states = self.arena.states.copy()

    def context(self, **options):
        return Context(seed=self.seed, device=self.device, **options)

    def run(self, order=PLAIN, *, slots=None, steps=2):
        """Return the bits of y and dx of each microbatch, of gradients and of states, after the last of ``steps``.

        ``slots`` contexts share the memory of backward; microbatch m has context m % slots, so with few of them
        microbatches follow each other in one.
        """
        if order == PLAIN:
            tasks, slots = [(kind, m) for m in range(len(self.xs)) for kind in "FB"], 1
        else:
            tasks = [(task[0], int(task[1:])) for task in ORDERS.get(order, order).split()]
        first = self.context()
        self.contexts = [first, *(self.context(share=first) for _ in range(1, slots or len(self.xs)))]
        off = {m for kind, m in tasks if kind == "W"}
        self.arena.states[...] = self.first_states
        for step in range(steps):
            found = {}
            self.arena.begin_step(len(self.xs))
            for kind, m in tasks:
                ctx = self.contexts[m % len(self.contexts)]
                if kind == "F":
                    ctx.step, ctx.first = step, sum(map(len, self.xs[:m]))
                    found["y", m] = self.take(self.forward(self.xs[m], ctx))
                elif kind == "B":
                    ctx.later = [] if m in off else None
                    found["dx", m] = self.take(self.backward(self.dy(found["y", m], step), ctx))
                else:
                    for write in ctx.later:
                        write()
                    ctx.later = None
            assert [p._writes for p in self.arena.parameters] == [len(self.xs) * p.uses for p in self.arena.parameters]
        found["gradients"], found["states"] = map(self.take, (self.arena.gradients, self.arena.states))
        return found

    def forward(self, x, ctx):
        for layer in self.layers:
            x = layer.forward(x, ctx)
        return x

    def backward(self, dy, ctx):
        for layer in reversed(self.layers):
            dy = layer.backward(dy, ctx)
        return dy

    def dy(self, y, step):
        rng = np.random.default_rng([self.seed, step, y.size])
        return self.device.from_host(rng.standard_normal(y.shape).astype(np.float32))

    def take(self, array):
        return self.device.to_host(array).copy()


def assert_same_bits(found, expected, message=""):
    """Compare results of ``Microbatches.run``, or other arrays by name."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape, f"{name} {message}"
        assert found[name].dtype == array.dtype, f"{name} {message}"
        different = np.count_nonzero(found[name].view(np.uint8) != array.view(np.uint8)) if array.size else 0
        assert not different, f"{different} of {array.nbytes} bytes of {name} differ {message}"
