import numpy as np
import pytest

from mpitrain.layers import Linear, ReLU, Residual, Sequential, Tanh
from tests.gradients import check_layer

BODIES = {
    "identity": lambda: Residual(Linear(3, 3)),
    "a body that overwrites dy": lambda: Residual(Sequential(Linear(3, 3), Tanh())),
    "a body that is only in place": lambda: Residual(Tanh()),
    "shortcut": lambda: Residual(Sequential(Linear(3, 4), Tanh()), Linear(3, 4)),
    "shortcut that overwrites dy": lambda: Residual(Linear(3, 4), Sequential(Linear(3, 4), Tanh())),
    "activation": lambda: Residual(Linear(3, 4), Linear(3, 4), activation=Tanh()),
    "nested": lambda: Residual(Residual(Linear(3, 3), activation=Tanh()), activation=ReLU()),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("num_samples", [0, 4])
def test_gradients(body, num_samples):
    check_layer(BODIES[body](), np.random.default_rng(1).standard_normal((num_samples, 3)))


def test_parameters_come_in_the_order_of_forward():
    layer = Residual(Linear(3, 4), Linear(3, 4, bias=False))
    assert [name for name, _ in layer.named_parameters()] == ["body.weight", "body.bias", "shortcut.weight"]
