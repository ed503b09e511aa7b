"""The plain methods of scripts/bench learning."""

from collections import Counter
from math import log2
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "scripts" / "benchmarks"


@pytest.fixture
def floor(monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import learning_floor

    return learning_floor


def witten_bell(train, context, c, symbols):
    """The formula, by counting: c after ``context``, which becomes shorter down to none."""
    h, shorter = context, 1 / symbols
    if h is None:
        return shorter
    lower = witten_bell(train, h[1:] if h else None, c, symbols)
    after = Counter(train[k + len(h)] for k in range(len(train) - len(h)) if train[k : k + len(h)] == h)
    return (after[c] + len(after) * lower) / (after.total() + len(after)) if after else lower


def test_bits_of_characters(floor, tmp_path):
    rng = np.random.default_rng(5)
    words = ["sea ", "salt ", "sail\n", "été ", "sails "]
    text = "".join(rng.choice(words, 60))
    cut = 200
    (tmp_path / "train.txt").write_text(text[:cut], "utf-8", newline="")
    (tmp_path / "test.txt").write_text(text[cut:] + "w", "utf-8", newline="")  # w is in no training text
    text += "w"
    bits = [-log2(witten_bell(text[:cut], text[k - 4 : k], text[k], len(set(text)))) for k in range(cut, len(text))]
    assert floor.characters(tmp_path) == pytest.approx(np.mean(bits), rel=1e-12)


def test_accuracy_of_words(floor, tmp_path):
    import learning_data

    texts = [(kind, f"{word} the {kind} film") for kind in ("good", "bad") for word in ("so", "oh", "well", "yes")]
    for part in ("train", "test"):
        learning_data.write(tmp_path / f"{part}.csv", texts)
    assert learning_data.read(tmp_path / "test.csv") == texts
    assert floor.words(tmp_path) == 1
    learning_data.write(tmp_path / "test.csv", [(kind, "the film, again") for kind, _ in texts])
    assert floor.words(tmp_path) == 0.5  # no word of it tells the classes
