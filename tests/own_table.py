"""Data of a user's own: an object with a length and ``take``."""

import numpy as np


class Table:
    """Rows of three numbers; the classes are texts, and their order is that of their names."""

    feature_names = ("a", "b", "c")

    def __init__(self, seed=0, rows=60):
        rng = np.random.default_rng(seed)
        self.x = rng.standard_normal((rows, 3))
        self.y = np.array(["less", "more"])[(self.x.sum(axis=1) > 0).astype(int)]

    def __len__(self):
        return len(self.x)

    def take(self, indices):
        return self.x[indices], self.y[indices]
