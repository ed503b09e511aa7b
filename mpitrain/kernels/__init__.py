"""The CUDA kernels of the package: building, planning and launching; the callers are in ``ops/``.

Their sources are in kernels/ of the checkout. ``sources`` is a link to that folder, which packaging replaces by the
files, so that they are in one place whether the package is installed, installed in editable form, or imported from a
checkout.
"""

from .kernel import SOURCES, Kernel
from .plan import Launch

__all__ = ["SOURCES", "Kernel", "Launch"]
