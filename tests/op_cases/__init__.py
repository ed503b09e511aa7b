"""A case for every op: arguments and results by which each of its paths is compared with its NumPy function.

A case is a function of (draw, run), called by ``tests/op_paths.py``. ``draw`` makes arrays on a device, ``run(name,
*arguments)`` runs an op by the path that is tested; the case returns the results to compare.
"""

from . import compression, elementwise, images, losses, norms, products, tokens, updates
from .registry import CASES

__all__ = ["CASES", "compression", "elementwise", "images", "losses", "norms", "products", "tokens", "updates"]
