"""Data of your own: any object with a length and ``take(indices)``.

mpirun -n 4 python own_data.py
"""

import numpy as np

import mpitrain as mt


class Spirals:
    """Points of two spirals; which one is the class."""

    class_names = ("left", "right")

    def __init__(self, count: int, seed: int):
        rng = np.random.default_rng(seed)
        self.arm = rng.integers(0, 2, count)
        angle = rng.uniform(0.5, 3 * np.pi, count)
        turned = angle + np.pi * self.arm
        self.points = np.stack([angle * np.cos(turned), angle * np.sin(turned)], axis=1)

    def __len__(self) -> int:
        return len(self.arm)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return samples (n, 2) and classes (n,); this could read a file or a database."""
        return self.points[indices], self.arm[indices]


if __name__ == "__main__":
    trainer = mt.Trainer(
        "mlp:widths=64+64",
        (Spirals(2000, seed=1), Spirals(500, seed=2)),  # to train on and to test on
        optimizer="adam:lr=0.01",
        epochs=12,
        progress="none",
    )
    result = trainer.fit()
    others = trainer.evaluate(Spirals(300, seed=3))
    if trainer.world.rank == 0:
        print(f"accuracy {result.test['accuracy']:.2f}, of other samples {others['accuracy']:.2f}")
