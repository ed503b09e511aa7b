"""What a source gives: arrays of samples and targets, in two splits.

Shapes: N samples; H, W, C height, width and channels of an image; F features of a table; K targets.
"""

from dataclasses import dataclass

import numpy as np

CLASSIFICATION = "classification"
REGRESSION = "regression"


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their targets, row by row.

    Attributes
    ----------
    x : (N, H, W, C) array of uint8, float32 or float64 for images, (N, F) array of float32 or float64 for tables
        As wide as the source has it: what float32 cannot hold is normalised first, and rounded to float32 then.
        C-contiguous; it may be a read-only memory map.
    y : (N,) array of int64 classes, or (N, K) array of float32 or float64 targets
        (N, 0) where targets are not known (see ``Features``).
    """

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split of one source, and a validation split if one was drawn.

    Attributes
    ----------
    name : str
    task : str
        "classification" or "regression".
    train, test : Split
    num_outputs : int
        Classes, or columns of the regression target.
    class_names : tuple of str
        One per class; empty for regression.
    feature_names : tuple of str
        One per column of a table; empty for images and for tables without names.
    target_name : str
        Empty where the source has no name for it.
    notes : tuple of str
        Sentences for the user about decisions taken from the data (the task) and about what looks wrong in them.
    validation : Split or None
        Drawn from the training samples (see ``validation.with_validation``).
    """

    name: str
    task: str
    train: Split
    test: Split
    num_outputs: int
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    target_name: str = ""
    notes: tuple[str, ...] = ()
    validation: Split | None = None

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name: train, validation if there is one, test."""
        validation = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **validation, "test": self.test}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample: (H, W, C) or (F,)."""
        return self.train.x.shape[1:]


@dataclass(frozen=True, eq=False)
class Features:
    """Samples without targets, to predict on.

    Attributes
    ----------
    name : str
    x : (N, H, W, C) or (N, F) array, as in ``Split``
    feature_names : tuple of str
    notes : tuple of str, as in ``Dataset``
    """

    name: str
    x: np.ndarray
    feature_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample: (H, W, C) or (F,)."""
        return self.x.shape[1:]

    @property
    def split(self) -> Split:
        """The samples with targets of no columns, as a ``Loader`` takes them."""
        return Split(self.x, np.empty((len(self.x), 0), np.float32))
