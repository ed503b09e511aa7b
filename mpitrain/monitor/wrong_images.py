"""Test images that the model takes for another class with the most confidence, drawn in one picture."""

import io
from typing import NamedTuple

import numpy as np

from ..data.dataset import Split

TILE, LABEL, GAP = 72, 14, 4
"""Sizes in pixels: the least side of a drawn image, the height of its label, and the space between two."""


class Picture(NamedTuple):
    """A picture as a PNG file."""

    width: int
    height: int
    png: bytes


class WrongImages:
    """Collects the misclassified test images of this rank during an evaluation.

    Parameters
    ----------
    most : int
        Images that are kept: those with the largest margin of the wrong class over the right one.
    class_names : sequence of str
        Empty for the numbers of the classes.
    """

    def __init__(self, most: int, class_names: tuple[str, ...]):
        self._most, self._names = most, class_names
        self.clear()

    def clear(self) -> None:
        """Forget all images, after an evaluation."""
        self._found: list[tuple[float, np.ndarray, int, int]] = []

    def add(self, split: Split, rows: slice, outputs: np.ndarray) -> None:
        """Keep the worst of some rows of ``split``, given their logits (N, K)."""
        targets, taken = split.y[rows], outputs.argmax(axis=1)
        wrong = np.flatnonzero(taken != targets)
        margins = outputs[wrong, taken[wrong]] - outputs[wrong, targets[wrong]]
        for place in np.argsort(-margins)[: self._most]:
            row = wrong[place]
            image = np.array(split.x[rows.start + row])
            self._found.append((float(margins[place]), image, int(targets[row]), int(taken[row])))
        self._found = sorted(self._found, key=lambda found: -found[0])[: self._most]

    def draw(self) -> Picture | None:
        """Return the images in rows, each with its class and the one it was taken for; None if all were right."""
        if not self._found:
            return None
        from PIL import Image, ImageDraw

        images = [image for _, image, _, _ in self._found]
        low, high = min(image.min() for image in images), max(image.max() for image in images)
        tiles = [_enlarge((image.astype(np.float64) - low) / max(high - low, 1e-12)) for image in images]
        height, width = tiles[0].shape[:2]
        columns = min(len(tiles), max(1, round(len(tiles) ** 0.5)))
        rows = -(-len(tiles) // columns)
        sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + LABEL + GAP) + GAP), "white")
        pen = ImageDraw.Draw(sheet)
        for number, (tile, (_, _, target, taken)) in enumerate(zip(tiles, self._found, strict=True)):
            x, y = GAP + number % columns * (width + GAP), GAP + number // columns * (height + LABEL + GAP)
            sheet.paste(Image.fromarray(tile), (x, y))
            pen.text((x, y + height), self._label(target, taken, width), fill="black")
        stream = io.BytesIO()
        sheet.save(stream, format="PNG")
        return Picture(*sheet.size, stream.getvalue())

    def _label(self, target: int, taken: int, width: int) -> str:
        names = [self._names[k] if self._names else str(k) for k in (target, taken)]
        room = max(1, (width // 6 - 4) // 2)  # a character takes about six pixels
        return " as ".join(name[:room] for name in names)


def _enlarge(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, C) of numbers from 0 to 1 as RGB bytes (h, w, 3) with whole pixels repeated."""
    if image.shape[2] != 3:
        image = np.repeat(image[:, :, :1], 3, axis=2)
    times = -(-TILE // max(image.shape[:2]))
    return np.repeat(np.repeat((255 * image).astype(np.uint8), times, axis=0), times, axis=1)
