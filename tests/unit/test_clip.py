import math

import numpy as np
import pytest

from mpitrain.arena import Arena, Parameter
from mpitrain.layers import init
from mpitrain.optim import clip_factor, global_norm


def test_the_norm_leaves_the_header_out():
    arena = Arena([("a", Parameter((70_001,), init.zeros)), ("b", Parameter((3,), init.zeros))])
    arena.header[:] = 5
    for p in arena.parameters:
        p.grad[...] = 2
    assert global_norm(arena) == pytest.approx(2 * math.sqrt(70_004), rel=1e-6)


def test_clipping():
    assert clip_factor(0.5, 1.0) == 1
    assert clip_factor(0.0, 1.0) == 1
    assert clip_factor(4.0, 1.0) == 0.25
    gradient = np.array([3.0, 4.0])
    assert np.linalg.norm(gradient * clip_factor(5.0, 2.0)) == pytest.approx(2)
