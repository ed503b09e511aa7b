"""Trainings of MPI tests: the losses of their steps, and their weights by name."""

import safetensors.numpy

from mpitrain import Hook


class Losses(Hook):
    """Keep the mean loss of each step."""

    def __init__(self):
        self.values = []

    def step_end(self, info):
        self.values.append(info.loss)


def saved(trainer, path):
    """Return the weights of a trainer by name; all ranks call it together, each for a path that all of them see."""
    trainer.save(path)
    trainer.world.barrier()
    found = safetensors.numpy.load_file(path)
    trainer.world.barrier()
    return found
