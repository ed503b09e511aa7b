"""The first steps of a training run, as the command makes them."""

import numpy as np

from mpitrain.training.build import make_loop
from mpitrain.training.control import ControlRequest
from mpitrain.training.display.progress import make_progress
from mpitrain.training.setup import open_setup


def first_steps(world, config, device, steps):
    """Return the losses of the first steps (steps, 2: samples and mean) and the accuracy after them."""
    setup = open_setup(config, world, device)
    losses = []
    loop = make_loop(
        config,
        setup,
        world,
        make_progress("none", None, config.run.epochs),
        control=lambda: ControlRequest(stop=len(losses) == steps - 1),
    )
    step = loop._train_step
    loop._train_step = lambda batches: losses.append(step(batches)) or losses[-1]
    loop.train()
    loop.run.data_parallel.free()
    return np.array(losses), loop.run.results.evaluations[-1].test["accuracy"]
