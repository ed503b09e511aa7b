"""A function (image, rng) of the user's as an augmentation."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from ...errors import UserError
from ...user_code import describe
from .base import Augmentation
from .draws import Draws


class FunctionAugmentation(Augmentation):
    """A function that changes one image.

    Parameters
    ----------
    function : callable(image, rng, **options) -> image
        ``image`` is (H, W, C), or a row of a table (F,), as in the dataset; the result has the same shape and type.
        ``rng`` is a ``numpy.random.Generator`` of the sample and the epoch, the only source of random numbers.
        With an argument ``labels`` it moves pixels: in segmentation it is called a second time, with ``labels=True``,
        the same random numbers and the classes of the pixels (H, W, 1); UNLABELED (-100) is no class.
    options : mapping
        Its further keyword arguments.
    name : str
        For messages.
    """

    name: str  # type: ignore[misc]  # one for each function
    moves_pixels: bool  # type: ignore[misc]
    keyword: ClassVar[str] = "labels"

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any], name: str, *, moves_pixels: bool):
        self._function, self._options = function, dict(options)
        self.name, self.moves_pixels = name, moves_pixels

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raise UserError if the function fails, returns something else, or draws from elsewhere than ``rng``."""
        sample = np.zeros(shape, dtype)
        first, second = (self._call(sample.copy(), 1, {}) for _ in range(2))
        if not np.array_equal(first, second, equal_nan=dtype.kind == "f"):
            raise UserError(f"{self.name} gives two results for the same image: draw all random numbers from its rng")

    def images(self, x: np.ndarray, draws: Draws, mean: np.ndarray) -> None:
        """Call the function for each image."""
        self._each(x, draws, {})

    def classes(self, y: np.ndarray, draws: Draws, fill: int) -> None:
        """Call the function for the classes of the pixels of each image."""
        self._each(y, draws, {self.keyword: True})

    def _each(self, x: np.ndarray, draws: Draws, options: dict[str, Any]) -> None:
        for image, bits in zip(x, draws.bits().tolist(), strict=True):
            image[...] = self._call(image.copy(), bits, options)

    def _call(self, image: np.ndarray, key: int, options: dict[str, Any]) -> np.ndarray:
        rng = np.random.Generator(np.random.Philox(key=key))
        shape, dtype = image.shape, image.dtype
        try:
            found = np.asarray(self._function(image, rng, **self._options, **options))
        except Exception as error:
            raise UserError(f"{self.name} failed: {describe(error)}") from error
        if found.shape != shape or found.dtype != dtype:
            raise UserError(
                f"{self.name} must return an image like the one it got, {dtype} {shape}, but it returned "
                f"{found.dtype} {found.shape}"
            )
        return found
