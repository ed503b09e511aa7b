"""The CUDA kernels of the package: built here, planned here, launched from ``ops/``.

Their sources are kernels/ of the checkout. ``sources`` here is a link to it, which packaging replaces by the files, so
that they are found at one place whether the package is installed, installed in editable form, or imported as it lies.
"""

from .kernel import SOURCES, Kernel
from .plan import Launch

__all__ = ["SOURCES", "Kernel", "Launch"]
