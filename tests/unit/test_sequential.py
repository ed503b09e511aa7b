import numpy as np
import pytest

from mpitrain.layers import Flatten, Layer, Linear, ReLU, Residual, Sequential, Tanh
from tests.gradients import check_layer


@pytest.mark.parametrize("num_samples", [0, 1, 5])
def test_gradients(num_samples):
    x = np.random.default_rng(1).standard_normal((num_samples, 2, 3, 1))
    check_layer(Sequential(Flatten(), Linear(6, 4), Tanh(), Sequential(Linear(4, 3), ReLU())), x)


def test_gradients_without_dx():
    model = Sequential(Sequential(Flatten(), Tanh(), Linear(6, 4)), Tanh(), Linear(4, 2))
    model.ask_dx(False)
    check_layer(model, np.random.default_rng(1).standard_normal((3, 2, 3, 1)))


def test_names_are_places():
    model = Sequential(Flatten(), Linear(6, 4), Sequential(ReLU(), Residual(Linear(4, 4, bias=False))))
    assert [name for name, _ in model.named_parameters()] == ["1.weight", "1.bias", "2.1.body.weight"]


def test_it_reads_like_a_list():
    layers = [Flatten(), Linear(6, 4), ReLU()]
    model = Sequential(*layers)
    assert len(model) == 3
    assert list(model) == layers
    assert model[1] is layers[1]
    assert model[1:] == (layers[1], layers[2])
    assert list(model.layers()) == [model, *layers]


def test_layers_in_lists_and_tuples_are_children():
    class Both(Layer):
        def __init__(self):
            self.left, self.right = (Linear(2, 2), Linear(2, 2)), [Linear(2, 2)]

        def forward(self, x, ctx):
            return x

        backward = forward

    names = [name for name, _ in Both().named_parameters()]
    assert names == [f"{name}.{kind}" for name in ("left.0", "left.1", "right.0") for kind in ("weight", "bias")]
