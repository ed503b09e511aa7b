"""A graph of ONNX operators under construction."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import UserError
from ...layers import Layer
from ...parameter import Tensor

OPSET = 17
"""Version of the operators: that of ONNX 1.12 (2022), which has LayerNormalization."""
IR_VERSION = 8
"""Version of the file format: that of the same release, so that runtimes of that age read it."""


def import_onnx() -> Any:
    """Return the package onnx.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise UserError("ONNX files need the package onnx: pip install 'mpitrain[onnx]'") from None
    return onnx


@dataclass(frozen=True)
class Value:
    """An array of the graph.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Of one sample, in the layout of the layers here: (H, W, C) of images.
    channels_first : bool
        The graph has it as (N, C, H, W), as its convolutions want it.
    """

    name: str
    shape: tuple[int, ...]
    channels_first: bool = False


@dataclass
class Tokens:
    """Facts about rows of tokens, names of arrays: see ``context.Tokens``.

    Attributes
    ----------
    seen : str
        (N, 1, 1, T) or (N, 1, T, T) bool: the keys that a query sees, but for ``causal``; empty for all.
    positions : str
        (N, T) or (1, T) int64: the place of each token in its sequence.
    length : int
        The most tokens of a row.
    """

    seen: str = ""
    positions: str = ""
    length: int = 0


class Graph:
    """Operators in their order, and the weights that they read.

    Parameters
    ----------
    model : Layer
        The network, for the names of its weights.

    Attributes
    ----------
    tokens : Tokens or None
        Set by the layer that takes tokens, for those above it.
    """

    def __init__(self, model: Layer):
        self._onnx = import_onnx()
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._names = {id(p): name for name, p in (*model.named_parameters(), *model.named_states())}
        self.tokens: Tokens | None = None

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add an operator, and return the name of its output, or a list of several."""
        number = len(self.nodes)
        names = [f"{op.lower()}_{number}{f'_{i}' * (outputs > 1)}" for i in range(outputs)]
        self.nodes.append(self._onnx.helper.make_node(op, list(inputs), names, name=f"{op}_{number}", **attributes))
        return names[0] if outputs == 1 else names

    def rename(self, old: str, new: str) -> None:
        """Give an output of an operator another name: an output of the file."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == old:
                        names[place] = new

    def constant(self, array: Any, dtype: Any = None, name: str = "") -> str:
        """Return the name of an array of the file; equal names stand for equal arrays."""
        made = np.ascontiguousarray(array, dtype)
        name = name or f"constant_{len(self.initializers)}"
        if name not in self.initializers:
            self.initializers[name] = self._onnx.numpy_helper.from_array(made.reshape(np.shape(array)), name)
        return name

    def integers(self, *numbers: int) -> str:
        """Return the name of a vector of int64."""
        return self.constant(np.array(numbers, np.int64), name=f"integers_{'_'.join(map(str, numbers))}")

    def number(self, value: float) -> str:
        """Return the name of a float32 scalar."""
        return self.constant(np.float32(value), name=f"number_{np.float32(value)!r}")

    def weight(self, tensor: Tensor, axes: tuple[int, ...] | None = None) -> str:
        """Return the name of a parameter or state, with its dimensions in the order ``axes``."""
        name = self._names[id(tensor)]
        data = np.asarray(tensor.data, np.float32)
        return self.constant(data if axes is None else data.transpose(axes), name=name)

    def reshape(self, x: str, *shape: int) -> str:
        """Reshape (0: as it is, -1: the rest)."""
        found: str = self.add("Reshape", x, self.integers(*shape))
        return found

    def transpose(self, x: str, *axes: int) -> str:
        """Order the dimensions."""
        found: str = self.add("Transpose", x, perm=list(axes))
        return found

    def to_channels_first(self, x: Value) -> Value:
        """Return images as (N, C, H, W)."""
        if x.channels_first or len(x.shape) != 3:
            return x
        return replace(x, name=self.transpose(x.name, 0, 3, 1, 2), channels_first=True)

    def to_channels_last(self, x: Value) -> Value:
        """Return images as (N, H, W, C)."""
        return replace(x, name=self.transpose(x.name, 0, 2, 3, 1), channels_first=False) if x.channels_first else x
