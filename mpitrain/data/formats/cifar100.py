"""CIFAR-100, binary and Python versions: 100 fine classes in 20 coarse ones.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from pathlib import Path

import numpy as np

from ...errors import UserError
from ..build import Arrays, image_dataset
from ..dataset import Dataset
from ..files import folder
from ..source_options import SET_KEYS, check_place, given_once, one_of, split_options
from .cifar10 import join_images, read_binary, read_python

COARSE_CLASSES = (
    *("aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables"),
    *("household_electrical_devices", "household_furniture", "insects", "large_carnivores"),
    *("large_man-made_outdoor_things", "large_natural_outdoor_scenes", "large_omnivores_and_herbivores"),
    *("medium_mammals", "non-insect_invertebrates", "people", "reptiles", "small_mammals", "trees"),
    *("vehicles_1", "vehicles_2"),
)
_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
FINE_CLASSES = tuple(_FINE.split())

NAME = "CIFAR-100"
CLASSES = {"fine": FINE_CLASSES, "coarse": COARSE_CLASSES}
_FOLDERS = ("", "cifar-100-binary", "cifar-100-python")
_PARTS = ("train", "test")


def cifar100_dataset(place: str, task: str | None) -> Dataset:
    """Open ``cifar100:place`` as a dataset; see ``data.open_dataset``."""
    path, given = split_options(place, SET_KEYS["cifar100"])
    check_place("cifar100", path, SET_KEYS["cifar100"])
    labels = one_of("cifar100", given_once("cifar100", place, given), "labels", ("fine", "coarse"))
    return image_dataset("cifar100", *read_cifar100(folder(path, "cifar100"), labels), CLASSES[labels], task)


def read_cifar100(directory: Path, labels: str = "fine") -> tuple[Arrays, Arrays]:
    """Return the training and the test images and labels.

    Parameters
    ----------
    directory : Path
        The folder of the files train and test (or train.bin and test.bin), or the one in which the archive was
        unpacked.
    labels : str
        "fine" or "coarse".

    Returns
    -------
    (x, labels), (x_test, labels_test)
        (N, 32, 32, 3) uint8 and (N,) int64.

    Raises
    ------
    UserError
        If a file is missing, cut off or holds something else.
    """
    train, test = (_read(path, labels) for path in _find(directory))
    return train, test


def _read(path: Path, labels: str) -> Arrays:
    if path.suffix:
        pixels, y = read_binary(path, num_labels=2, which=1 if labels == "fine" else 0, name=NAME)
        wrong = np.flatnonzero(y >= len(CLASSES[labels]))
        if wrong.size:
            raise UserError(f"{path}: expected labels from 0 to {len(CLASSES[labels]) - 1} and found {y[wrong[0]]}")
    else:
        pixels, y = read_python(path, f"{labels}_labels", len(CLASSES[labels]), NAME)
    return join_images([pixels]), y


def _find(directory: Path) -> list[Path]:
    for name in _FOLDERS:
        for suffix in (".bin", ""):
            paths = [directory / name / (part + suffix) for part in _PARTS]
            if all(path.is_file() for path in paths):
                return paths
    raise UserError(
        f"{directory} holds no {NAME}: looked for train.bin and test.bin, and train and test, in it and in its folders "
        f"{' and '.join(_FOLDERS[1:])}"
    )
