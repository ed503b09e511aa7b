"""Protocol of samples: any object with a length and ``take(indices)`` can be used for training."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import UserError
from .build import build_dataset
from .checks import check_counts
from .dataset import Dataset
from .draw import Draw

ROWS = 4096  # that are taken at once


@runtime_checkable
class Samples(Protocol):
    """Samples with their targets.

    It may have attributes ``name`` (str), ``task`` ("classification", "regression" or "segmentation"), ``class_names``
    and ``feature_names`` (sequences of str), and ``categories`` (see ``Dataset``).
    """

    def __len__(self) -> int:
        """Return the number of samples."""

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return samples and targets by their numbers.

        Parameters
        ----------
        indices : (n,) array of int64

        Returns
        -------
        x : (n, F) or (n, H, W, C) array of uint8, float32 or float64
        y : (n,) array of classes, (n,) or (n, K) array of float, or (n, H, W) integers, the classes of pixels
        """


def read_all(samples: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return all samples and targets of an object with ``take``, or a pair of arrays (x, y), which are not copied.

    Raises
    ------
    UserError
        If it is neither, or gives arrays that do not fit the numbers that were asked for.
    """
    if _is_arrays(samples):
        x, y = map(np.asarray, samples)
        check_counts(x, y, where)
        if not len(x):
            raise UserError(f"{where} has no samples")
        return x, y
    if not isinstance(samples, Samples):
        raise UserError(f"{where} must have a length and a method take(indices), but it is a {type(samples).__name__}")
    parts = list(_parts(samples, where))
    if not parts:
        raise UserError(f"{where} has no samples")
    x, y = (np.concatenate(arrays) if len(arrays) > 1 else arrays[0] for arrays in zip(*parts))
    return x, y


def make_dataset(
    data: Any,
    *,
    task: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    draw: Draw = "stratified",
) -> Dataset:
    """Return a Dataset of an object with ``take``, of a pair of arrays (x, y), or of a pair (train, test) of these.

    All samples are read once, and are kept in memory by every rank.

    Parameters
    ----------
    data
        See ``Samples``. Without test samples a share ``test_fraction`` is drawn by ``seed``.
    task, test_fraction, seed, draw
        As in ``open_dataset``.

    Raises
    ------
    UserError
        If samples and targets do not fit each other or the task, or a value is NaN or infinite.

    >>> rng = np.random.default_rng(0)
    >>> made = make_dataset((rng.standard_normal((50, 3)), rng.integers(0, 2, 50)))
    >>> made.task, len(made.train), len(made.test)
    ('classification', 40, 10)
    """
    if isinstance(data, Dataset):
        return data
    train, test = data, None
    if isinstance(data, tuple) and len(data) == 2 and not _is_arrays(data):
        train, test = data
    name = str(getattr(train, "name", "") or (type(train).__name__ if not isinstance(train, tuple) else "arrays"))
    return build_dataset(
        name,
        name,
        read_all(train, "the data" if test is None else "the training samples"),
        None if test is None else read_all(test, "the test samples"),
        task=task or getattr(train, "task", None),
        test_fraction=test_fraction,
        seed=seed,
        draw=draw,
        feature_names=tuple(map(str, getattr(train, "feature_names", ()))),
        class_names=tuple(map(str, getattr(train, "class_names", ()))),
        categories=tuple(getattr(train, "categories", ())),
    )


def _is_arrays(data: Any) -> bool:
    return isinstance(data, tuple) and len(data) == 2 and all(hasattr(part, "shape") for part in data)


def _parts(samples: Samples, where: str) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(samples), ROWS):
        indices = np.arange(start, min(start + ROWS, len(samples)))
        try:
            found: Any = samples.take(indices)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{where}: take(indices) failed: {type(error).__name__}: {error}") from error
        if not isinstance(found, tuple) or len(found) != 2:
            raise UserError(f"{where}: take(indices) must return a pair (x, y), but it returned {_kind(found)}")
        x, y = np.asarray(found[0]), np.asarray(found[1])
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(indices) or len(y) != len(indices):
            raise UserError(f"{where}: take of {len(indices)} numbers returned samples {x.shape} and targets {y.shape}")
        yield x, y


def _kind(found: Any) -> str:
    return f"{len(found)} items" if isinstance(found, tuple) else f"a {type(found).__name__}"
