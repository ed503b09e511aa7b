"""An optimizer of your own: a class that updates blocks of the arena.

mpirun -n 4 python own_optimizer.py
mpirun -n 4 python -m mpitrain train --optimizer own_optimizer.py:Lion --lr 0.0003
"""

import numpy as np

import mpitrain as mt
from mpitrain.ops.update import Block


class Lion(mt.Optimizer):
    """Evolved sign momentum (Chen et al. 2023, arXiv 2302.06675): w = w - lr (sign(b1 m + (1 - b1) g) + decay w).

    Each rank updates its share of the weights, where the update is sharded: nothing here depends on it.
    """

    slot_names = ("momentum",)
    default_lr = 0.0003

    def __init__(self, arena: mt.Arena, *, beta1: float = 0.9, beta2: float = 0.99, weight_decay: float = 0.0):
        super().__init__(arena, weight_decay=weight_decay)
        self.beta1, self.beta2 = beta1, beta2

    def update(self, block: Block, lr: float, scale: float) -> None:
        """Update one block; gradients are sums over all samples of the step, and ``scale`` divides them."""
        (m,) = block.slots
        g = scale * block.grad
        step = np.sign(self.beta1 * m + (1 - self.beta1) * g)
        for part in block.decayed:
            step[part] += self.weight_decay * block.w[part]
        block.w[...] -= lr * step
        m += (1 - self.beta2) * (g - m)


if __name__ == "__main__":
    trainer = mt.Trainer("mlp:widths=64", "digits", optimizer=f"{__file__}:Lion", lr=0.003, epochs=3, progress="none")
    result = trainer.fit()
    if trainer.world.rank == 0:
        print(f"accuracy {result.test['accuracy']:.2f}")
