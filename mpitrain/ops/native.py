"""Which ops have a kernel in C (kernels/cpu), and how their arguments meet.

Kernels look at types, shapes and layouts themselves and return False where they do not cover them; then NumPy runs.
"""

from .. import native
from . import activations

C = native.library

if C is not None:
    activations.relu.native(C.relu)
    activations.relu_dx.native(C.relu_dx)
