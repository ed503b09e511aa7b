"""Choice of runs whose updates are queued before the host reads the sums of a step (``optim/queued_update.py``)."""

import numpy as np

from ..optim import QueuedUpdate
from .hooks import Hooks
from .run import TrainingRun


def make_queued_update(run: TrainingRun, hooks: Hooks) -> QueuedUpdate | None:
    """Return the updates of ``run`` on its device; None where the host has a say between the sums and the update.

    That is so on a CPU, where weights or tables are divided among ranks, where ranks make steps of their own, with an
    optimizer of one's own, and with a hook that looks at gradients before weights change. Nor do the paths of updates
    cover weights in fp64: NumPy's functions would run, which know nothing of numbers on a device.
    """
    arena, norm = run.setup.arena, run.data_parallel.queued_norm()
    if arena.on_host or norm is None or hooks.decide() or not run.optimizer.is_queued or arena.dtype != np.float32:
        return None
    captures = arena.device.captures and run.config.compute.cuda_graph != "off"
    return QueuedUpdate(run.optimizer, norm, run.config.optimizer.clip_norm, captures, run.display.note)
