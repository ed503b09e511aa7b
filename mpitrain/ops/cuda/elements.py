"""Types of elements on a GPU: activations and their gradients are fp32 or bf16, all else is fp32.

A kernel over activations is built twice from one file, with ``Element`` float or bf16 (kernels/common/elements.cuh).
A path looks at its arrays, not at the device: it launches what was built for their type. Where types are mixed it
returns False, and the NumPy function runs, which CuPy converts as NumPy does.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ...device import bfloat16, device_of, is_bf16
from ...kernels.kernel import Kernel, kernel
from ..convert import convert
from ..workspace import workspace

__all__ = [
    "ElementKernel",
    "bf16_of",
    "element_kernel",
    "elements_fit",
    "fitting",
    "in_layout_of",
    "is_bf16",
    "macros_of",
]


def macros_of(array: Any, macro: str = "ELEMENT_BF16") -> dict[str, int]:
    """Return the macro that builds a kernel for elements of the type of ``array``; none for fp32, its default.

    Parameters
    ----------
    macro : str
        ELEMENT_BF16, or of a product INPUT_BF16 or OUTPUT_BF16.
    """
    return {macro: 1} if is_bf16(array) else {}


class ElementKernel(NamedTuple):
    """A kernel over activations, built for each of their types."""

    fp32: Kernel
    bf16: Kernel

    def of(self, array: Any) -> Kernel:
        """Return the one for the type of ``array``."""
        return self.bf16 if is_bf16(array) else self.fp32


def element_kernel(file: str, macros: Mapping[str, int] | None = None, *, name: str = "") -> ElementKernel:
    """Return the kernel ``name`` of ``file``, with other ``macros``, for each type."""
    plain = dict(macros or {})
    return ElementKernel(kernel(file, plain, name=name), kernel(file, plain | {"ELEMENT_BF16": 1}, name=name))


def elements_fit(*arrays: Any) -> bool:
    """Return whether all ``arrays`` are C-contiguous and of one type, fp32 or bf16."""
    dtype = arrays[0].dtype
    if not (dtype == np.float32 or is_bf16(arrays[0])):
        return False
    return all(a.dtype == dtype and a.flags.c_contiguous for a in arrays)


def in_layout_of(out: Any, x: Any) -> Any:
    """Return ``x`` where it has the type and layout of ``out``, C-contiguous; else ``out``, with ``x`` written there.

    A kernel that writes ``out`` for each element of x may read what is returned.
    """
    if elements_fit(x, out):
        return x
    np.copyto(out, x, casting="same_kind")
    return out


def fitting(x: Any, like: Any, name: str) -> Any:
    """Return ``x`` where it has the type and layout of ``like``, C-contiguous; else a copy that has them.

    A layer of one's own may return fp32 where activations are bf16. The copy lies in the working memory ``name``, which
    is valid until the calling op returns.
    """
    return x if elements_fit(x, like) else in_layout_of(workspace(like, name, x.shape), x)


def bf16_of(weights: Any, name: str) -> Any:
    """Return fp32 ``weights`` in bf16, for a product: the arena's copy of them, else rounded into working memory.

    What is bf16 already is returned as it is. Other factors may be given, too: samples in fp32.

    Parameters
    ----------
    weights : array
        The copy is read where they are C-contiguous.
    name : str
        Of the working memory, which is valid until the calling op returns.
    """
    if is_bf16(weights):
        return weights
    copy = device_of(weights).weight_copies.find(weights) if weights.flags.c_contiguous else None
    if copy is not None:
        return copy.view_of(weights)
    rounded = workspace(weights, f"bf16 {name}", weights.shape, bfloat16())
    convert(weights, rounded)
    return rounded
