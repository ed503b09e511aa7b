"""Samples and labels of a small data set, to be stored in files."""

import numpy as np

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
TABLE = RNG.standard_normal((20, 5))
LABELS = np.arange(20) % 3
