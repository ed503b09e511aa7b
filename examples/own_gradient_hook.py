"""An exchange of gradients of your own: half of the elements in each step, the others in the next one.

mpirun -n 4 python own_gradient_hook.py
mpirun -n 4 python -m mpitrain train --gradient-hook own_gradient_hook.py:halves
"""

from typing import Any

import numpy as np

import mpitrain as mt


def halves(group: mt.Group, gradient: np.ndarray, step: int, state: dict[str, Any]) -> None:
    """Leave the sum over the ranks in ``gradient``, for every other element; keep the rest of this rank for later."""
    kept = state.setdefault("kept", np.zeros_like(gradient))
    kept += gradient
    places = slice(step % 2, None, 2)
    gradient.fill(0)
    gradient[places] = group.all_reduce(kept[places].copy(), "ring")
    kept[places] = 0


if __name__ == "__main__":
    trainer = mt.Trainer(
        "mlp:widths=64", "digits", gradient_hook=f"{__file__}:halves", optimizer="adam", epochs=40, progress="none"
    )
    result = trainer.fit()
    if trainer.world.rank == 0:
        print(f"accuracy {result.test['accuracy']:.2f}")
