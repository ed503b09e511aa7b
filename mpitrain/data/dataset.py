"""Datasets: arrays of samples and targets, in two or three splits.

Shapes: N samples; H, W, C height, width and channels of an image; F features of a table; T tokens of a text; K targets.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .categories import Category, only_codes, sizes_of
from .tables.encoding import Encoding
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .ratings.seen import Hidden

CLASSIFICATION = "classification"
REGRESSION = "regression"
SEGMENTATION = "segmentation"
LANGUAGE_MODELING = "language-modeling"
TASKS = (CLASSIFICATION, REGRESSION, SEGMENTATION, LANGUAGE_MODELING)

UNLABELED = -100
"""The class of a pixel that counts for nothing: ``ignore_index`` of ``SoftmaxCrossEntropy``."""


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their targets, row by row.

    Attributes
    ----------
    x : (N, H, W, C) array of uint8, float32 or float64 for images, (N, F) array of float32 or float64 for tables
        In the precision of the source: values beyond float32 are normalized first, and then rounded to float32.
        C-contiguous; it may be a read-only memory map.
        Or ``LazyRows`` (N, T) of tokens, int64, padded by PAD at their ends. (N, F) int64 if all columns are codes of
        categories; beside columns of numbers, codes are whole numbers.
    y : (N,) array of int64 classes, or (N, K) array of float32 or float64 targets
        (N, 0) where targets are not known (see ``Features``). (N, H, W) array of the class of each pixel in
        segmentation, of the smallest signed integers that hold them; ``UNLABELED`` where there is none. ``LazyRows``
        (N, T) of the next tokens in language modeling.
    hidden : Hidden or None
        Tells outputs that rankings leave out: items that the user of a sample has had before.
    """

    x: Any
    y: Any
    hidden: "Hidden | None" = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split of one source, and a validation split if one was drawn.

    Attributes
    ----------
    name : str
    task : str
        "classification", "regression", "segmentation" or "language-modeling".
    train, test : Split
    num_outputs : int
        Classes, columns of the regression target, or tokens of the vocabulary in language modeling.
    class_names : tuple of str
        One per class; empty for regression.
    feature_names : tuple of str
        One per column of a table; empty for images and for tables without names.
    target_name : str
        Empty if the source has no name for it.
    notes : tuple of str
        Sentences for the user about decisions taken from the data (the task) and about doubtful data.
    validation : Split or None
        Drawn from the training samples (see ``validation.with_validation``).
    vocabulary : int
        Number of different tokens of the samples; 0 where these are no tokens.
    end_of_text : int or None
        The token between documents, if there is one.
    tokenizer : Tokenizer or None
        None where the tokens came without one.
    masked : bool
        Whether hidden tokens are predicted in language modeling, from all others, in place of the next ones.
    categories : tuple of Category or None
        One per column of a table, None for one of numbers; empty where all columns are numbers.
    encoding : Encoding or None
        How the columns of a table in a file have become those of the samples.
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
    vocabulary: int = 0
    end_of_text: int | None = None
    tokenizer: Tokenizer | None = None
    masked: bool = False
    categories: tuple[Category | None, ...] = ()
    encoding: Encoding | None = None

    @property
    def only_codes(self) -> bool:
        """True if all columns hold codes of categories: samples are int64, and not normalized."""
        return only_codes(self.categories)

    @property
    def category_sizes(self) -> tuple[int, ...]:
        """The number of codes of each column, 0 for numbers; empty where all columns are numbers."""
        return sizes_of(self.categories)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name: train, validation if there is one, test."""
        validation = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **validation, "test": self.test}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample: (H, W, C), (F,) or (T,)."""
        return tuple(self.train.x.shape[1:])


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
        """The samples as a split for a ``Loader``, with targets of no columns."""
        return Split(self.x, np.empty((len(self.x), 0), np.float32))
