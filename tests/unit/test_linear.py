import numpy as np
import pytest

from mpitrain.layers import Linear
from tests.gradients import check_layer


@pytest.mark.parametrize("shape", [(5, 3), (1, 3), (0, 3), (2, 4, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients(shape, bias):
    check_layer(Linear(3, 4, bias), np.random.default_rng(1).standard_normal(shape))
