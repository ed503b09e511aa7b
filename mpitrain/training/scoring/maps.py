"""Examples of segmentation: losses of single images, confusion of pixels, and pictures of classes.

Shapes: n images of H x W pixels and C channels; K classes.
"""

from typing import Any

import numpy as np

from ...data.dataset import UNLABELED, Split
from .evaluation import Evaluator
from .pictures import LARGEST, as_png, ends, shrink

MOST_CLASSES = 50
"""Classes of a confusion matrix."""

_GAP = 2  # pixels between the parts of a picture
_WHITE = (224, 224, 192)  # of pixels without a label


def judge_images(evaluator: Evaluator, part: Split, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean loss of each image (n,), its accuracy (n,), and the confusion of all pixels (K, K) (collective).

    The confusion is (0, 0) for more than ``MOST_CLASSES`` classes. An image without labels has loss 0 and accuracy NaN.
    """
    size = num_classes if num_classes <= MOST_CLASSES else 0

    def judge(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return np.stack([_judge(*pair, size) for pair in zip(outputs, targets, strict=True)])

    found = evaluator.of_rows(part, 3 + size * size, judge)
    weight = found[:, 0]
    losses, accuracy = found[:, 1] / np.maximum(weight, 1), np.full(len(found), np.nan)
    np.divide(found[:, 2], weight, out=accuracy, where=weight > 0)
    return losses, accuracy, found[:, 3:].sum(axis=0).astype(np.int64).reshape(size, size)


def _judge(logits: np.ndarray, targets: np.ndarray, size: int) -> np.ndarray:
    """Return the number of pixels with a label, the sum of their losses, that of right ones, and their confusion."""
    counted = targets != UNLABELED
    rows, classes = logits[counted], targets[counted]
    predicted = rows.argmax(axis=1)
    with np.errstate(invalid="ignore"):  # outputs that are infinite
        shifted = rows.astype(np.float64) - rows.max(axis=1, keepdims=True, initial=-np.inf)
        loss = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(classes)), classes]
    sums = np.array([len(classes), loss.sum(), np.count_nonzero(predicted == classes)])
    return np.append(sums, np.bincount(classes * size + predicted, minlength=size * size)) if size else sums


def predicted_maps(evaluator: Evaluator, part: Split) -> np.ndarray:
    """Return the predicted class of each pixel (n, H, W) int64, the same on every rank (collective)."""
    height, width = part.x.shape[1:3]
    flat = evaluator.of_rows(part, height * width, lambda outputs, _: outputs.argmax(axis=-1).reshape(len(outputs), -1))
    return flat.astype(np.int64).reshape(-1, height, width)


def pictures(images: np.ndarray, targets: np.ndarray, predicted: np.ndarray) -> list[dict[str, Any]]:
    """Return a picture of each image: the image itself, its classes, and the predicted ones, side by side."""
    black, white = ends(images) if len(images) else (0.0, 0.0)
    scale = 255 / (white - black) if white > black else 0.0
    found = []
    for image, true, guess in zip(images, targets, predicted, strict=True):
        shown = shrink(image if image.shape[2] == 3 else image[..., :1])
        gray = np.clip((np.nan_to_num(shown, nan=black) - black) * scale, 0, 255)
        first = np.broadcast_to(gray, (*gray.shape[:2], 3))
        step = -(-max(image.shape[:2]) // LARGEST)
        maps = [colors(classes)[step // 2 :: step, step // 2 :: step] for classes in (true, guess)]
        height = min(len(part) for part in (first, *maps))
        gap = np.full((height, _GAP, 3), 255.0)
        row = [first[:height], gap, maps[0][:height], gap, maps[1][:height]]
        found.append({"image": as_png(np.concatenate(row, axis=1), largest=4 * LARGEST)})
    return found


def colors(classes: np.ndarray) -> np.ndarray:
    """Return the colors (H, W, 3) uint8 of classes (H, W), those of PASCAL VOC (Everingham et al. 2010).

    >>> colors(np.array([[0, 1, 2, UNLABELED]]))[0].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]]
    """
    rest, found = np.maximum(classes, 0), np.zeros((*classes.shape, 3), np.uint8)
    for shift in range(7, -1, -1):  # the bits of a class go to red, green and blue in turn, the lowest to the highest
        for channel in range(3):
            found[..., channel] |= (((rest >> channel) & 1) << shift).astype(np.uint8)
        rest = rest >> 3
    found[classes < 0] = _WHITE
    return found
