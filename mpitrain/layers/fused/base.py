"""The base of fused layers."""

from collections.abc import Iterator

from ..base import Layer


class Fused(Layer):
    """A layer that computes several neighbors in one pass.

    Parameters
    ----------
    *layers : Layer
        The layers it stands for.
    """

    def __init__(self, *layers: Layer):
        self.layers_fused = layers

    @property
    def kind(self) -> str:
        """The kinds of the layers it stands for."""
        return "+".join(layer.kind for layer in self.layers_fused)

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield itself: the layers it stands for do not run."""
        yield prefix.rstrip("."), self
