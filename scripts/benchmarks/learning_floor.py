"""Scores of plain methods on the tasks of scripts/bench learning: the least that a network should reach."""

from pathlib import Path

import numpy as np
from learning_data import read
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

ORDER = 5  # characters that are counted together: one, and those before it
PIECE = 1 << 18


def words(folder: Path) -> float:
    """Return the accuracy of logistic regression on TF-IDF, of words or also of their pairs, whichever is better."""
    (labels, texts), (test_labels, test_texts) = (zip(*read(folder / f"{part}.csv")) for part in ("train", "test"))
    scores = []
    for longest in (1, 2):
        features = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, longest))
        model = LogisticRegression(C=10, max_iter=1000).fit(features.fit_transform(texts), labels)
        scores.append(model.score(features.transform(test_texts), test_labels))
    return max(scores)


def characters(folder: Path) -> float:
    """Return the bits per character of the test text, each by the 4 before it (Witten and Bell 1991, method C).

    With n(h) and d(h) the number of all and of different characters after h in the training text,
    p(c | h) = (n(h c) + d(h) p(c | h without its first)) / (n(h) + d(h)), and at last p(c) = 1 / symbols.
    """
    train, test = ((folder / f"{part}.txt").read_text("utf-8") for part in ("train", "test"))
    symbols, codes = np.unique(np.frombuffer((train + test).encode("utf-32-le"), np.uint32), return_inverse=True)
    train_codes, test_codes = codes[: len(train)], codes[len(train) - ORDER + 1 :]  # the test text goes on
    p = np.full(len(test), 1 / len(symbols))
    for length in range(ORDER):  # of h
        seen, count = np.unique(_codes(train_codes, length + 1, len(symbols)), return_counts=True)
        before, first, different = np.unique(seen // len(symbols), return_index=True, return_counts=True)
        total = np.add.reduceat(count, first)
        wanted = _codes(test_codes, length + 1, len(symbols))[-len(test) :]
        n_hc, h = _look_up(seen, count, wanted), wanted // len(symbols)
        n_h, d_h = _look_up(before, total, h), _look_up(before, different, h)
        p = np.where(n_h > 0, (n_hc + d_h * p) / np.maximum(n_h + d_h, 1), p)
    return float(-np.log2(p).mean())


def _codes(codes: np.ndarray, length: int, base: int) -> np.ndarray:
    """Return a number for each run of ``length`` characters."""
    count = len(codes) - length + 1
    numbers = np.zeros(count, np.int64)
    for k in range(length):
        numbers = numbers * base + codes[k : k + count]
    return numbers


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the value of each wanted key; 0 where it is not there. ``keys`` are sorted."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
