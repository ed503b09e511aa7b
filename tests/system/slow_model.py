"""A model for tests of services: it sleeps where a sample begins with 1, and hangs on some ranks where that is more."""

import os
import time

from mpitrain.layers import Layer, Linear, Sequential

SECONDS = float(os.environ.get("SLOW_SECONDS", "0"))
HANGS = os.environ.get("SLOW_HANGS", "").split(",")
RANK = os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0"))
MUCH = 3.0  # deviations


class Slow(Layer):
    """Give x on, after some seconds or hours."""

    def forward(self, x, ctx):
        """Return x."""
        if (x[:, 0] > MUCH).any() and RANK in HANGS:
            time.sleep(3600)
        if (x[:, 0] > 0).any():
            time.sleep(SECONDS)
        time.sleep(0.003)  # too long for the event loop
        return x

    def backward(self, dy, ctx):
        """Return dy."""
        return dy


def slow(input_shape, num_outputs):
    """Return a network that sleeps first."""
    return Sequential(Slow(), Linear(input_shape[0], num_outputs))
