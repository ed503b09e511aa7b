"""Write mpitrain/data/digits/digits.npz, the dataset of the source `digits`, from scikit-learn's load_digits.

Every fifth sample of the samples sorted by class is for testing: 1,437 to train, 360 to test, each class alike.

    python scripts/make_digits.py
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

FILE = Path(__file__).parents[1] / "mpitrain" / "data" / "digits" / "digits.npz"


def main() -> None:
    digits = load_digits()
    x = digits.images.astype(np.uint8)[..., None]  # (1797, 8, 8, 1), 0 to 16
    y = digits.target.astype(np.uint8)
    test = np.zeros(len(y), bool)
    test[np.argsort(y, kind="stable")[::5]] = True
    np.savez_compressed(FILE, x_train=x[~test], y_train=y[~test], x_test=x[test], y_test=y[test])
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, {sum(~test)} to train, {sum(test)} to test")


if __name__ == "__main__":
    main()
