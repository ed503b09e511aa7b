"""Folders of small images whose pixels tell their class, as the tests of image sources take them."""

import threading

import numpy as np
from PIL import Image

RNG = np.random.default_rng(6)


def settle():
    """Wait for the threads that wait for the disk."""
    for thread in threading.enumerate():
        if thread.name == "samples-to-disk":
            thread.join()


def write(path, tone=None, size=(8, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (*size, 3)) if tone is None else np.full((*size, 3), tone)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return pixels


def told(dataset):
    """The class of each image as its pixels tell it, and as the dataset does."""
    of_pixels = [
        ["cat", "dog", "Äpfel & Co"][int(x[0, 0, 0]) // 100] for split in dataset.splits.values() for x in split.x
    ]
    return of_pixels, [dataset.class_names[y] for split in dataset.splits.values() for y in split.y]
