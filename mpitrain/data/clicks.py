"""The generated set ``clicks``: advertisements that are clicked or not, as numbers and categories by Zipf's law.

    clicks:samples=20000,columns=8,codes=10000,numbers=4,seed=0

Shapes: N samples, C columns of numbers, T columns of categories.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..suggest import did_you_mean
from .categories import MOST, Category
from .dataset import CLASSIFICATION, Dataset, Split
from .rng import CLICKS, random_bits
from .source_options import split_options

KEYS = {
    "samples": "rows, the last tenth of which are to test on (default 20000)",
    "columns": "columns of categories (default 8)",
    "codes": "different values of each of them (default 10000)",
    "numbers": "columns of numbers (default 4)",
    "seed": "another number gives other rows (default 0)",
}
"""The options and their meaning."""


@dataclass(frozen=True)
class ClicksOptions:
    """Options of the set; see ``KEYS``."""

    samples: int = 20_000
    columns: int = 8
    codes: int = 10_000
    numbers: int = 4
    seed: int = 0


def clicks_dataset(place: str, task: str | None) -> Dataset:
    """Return the set, the same on any machine.

    Parameters
    ----------
    place : str
        What follows ``clicks:``.
    task : str or None

    Raises
    ------
    UserError
        For an unknown or impossible option, or another task than classification.

    >>> made = clicks_dataset("samples=50,columns=3,codes=100,numbers=2", None)
    >>> made.train.x.shape, made.test.x.shape, made.category_sizes, made.class_names
    ((45, 5), (5, 5), (0, 0, 100, 100, 100), ('no click', 'click'))
    """
    if task not in (None, CLASSIFICATION):
        raise UserError(f"clicks has two classes as targets: its task is {CLASSIFICATION}, not {task}")
    options = parse_clicks(place)
    x, y = draw_clicks(options)
    count = options.samples - max(1, options.samples // 10)
    names = [f"number{k}" for k in range(options.numbers)] + [f"category{k}" for k in range(options.columns)]
    return Dataset(
        "clicks",
        CLASSIFICATION,
        Split(x[:count], y[:count]),
        Split(x[count:], y[count:]),
        2,
        ("no click", "click"),
        tuple(names),
        "click",
        categories=(None,) * options.numbers + (Category(options.codes),) * options.columns,
    )


def parse_clicks(place: str) -> ClicksOptions:
    """Return the options in what follows ``clicks:``."""
    rest, given = split_options(f",{place}", KEYS)
    if rest.strip(","):
        name = rest.strip(",").partition("=")[0]
        raise UserError(f"clicks has no option {name!r}{did_you_mean(name, KEYS)}, only {', '.join(KEYS)}")
    try:
        options = ClicksOptions(**{key: int(texts[-1]) for key, texts in given.items()})
    except ValueError:
        raise UserError("clicks: the options must be whole numbers") from None
    most = MOST if options.numbers else 1 << 40  # beside numbers, codes are float32
    for key, fits, wanted in (
        ("samples", options.samples >= 2, "at least 2"),
        ("columns", options.columns >= 1, "at least 1"),
        ("codes", 2 <= options.codes <= most, f"from 2 to {most}"),
        ("numbers", options.numbers >= 0, "at least 0"),
    ):
        if not fits:
            raise UserError(f"clicks: {key} must be {wanted}")
    return options


def draw_clicks(options: ClicksOptions) -> tuple[np.ndarray, np.ndarray]:
    """Return samples (N, C + T), float32 or int64 without numbers, and classes (N,) int64.

    Code k of a column has a probability of about 1 / (k + 1), so a few are in most samples and most are rare. The
    logarithm of the odds of a click is a sum of a weight for each number and an effect of each code.
    """
    n, numbers = options.samples, options.numbers
    x = np.empty((n, numbers + options.columns), np.float32 if numbers else np.int64)
    odds = np.full(n, -0.5)
    for column in range(numbers):
        values = _uniform(np.arange(n), options.seed, column) + _uniform(np.arange(n), options.seed, column, 1) - 1
        odds += (1.5 if column % 2 else -1.5) * values
        x[:, column] = values
    for column in range(numbers, x.shape[1]):
        codes = (options.codes ** _uniform(np.arange(n), options.seed, column)).astype(np.int64) - 1
        odds += 2 * (_uniform(codes, options.seed, column, 2) - 0.5)
        x[:, column] = codes
    chance = 1 / (1 + np.exp(-odds))
    return x, (_uniform(np.arange(n), options.seed, x.shape[1]) < chance).astype(np.int64)


def _uniform(counters: np.ndarray, *key: int) -> np.ndarray:
    """Return (n,) draws in [0, 1) by counter."""
    seed, *rest = key
    bits = random_bits(counters, seed, CLICKS, *rest)
    found: np.ndarray = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found
