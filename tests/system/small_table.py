"""A small table, the options to train on it, and mpitrain's one sentence about an error."""

import random

TABLE = ("--model", "mlp", "--widths", 8, "--epochs", 2, "--progress", "none")
SOURCE = "csv:train.csv,target=y"


def write_table(path, columns=("a", "b"), classes=("n", "p"), rows=60, seed=5, swapped=()):
    """Write a table of two columns and a class that follows from them."""
    rng = random.Random(seed)
    with path.open("w") as file:
        file.write(",".join([*columns, "y"]) + "\n")
        for row in range(rows):
            values = {name: round(rng.gauss(0, 1), 3) for name in ("a", "b")}
            y = (values["a"] - values["b"] > 0) ^ (row in swapped)
            file.write(",".join(str(values.get(name, 7)) for name in columns) + f",{classes[y]}\n")
    return path


def one_sentence(err):
    """Return the only line that mpitrain has printed."""
    assert "Traceback" not in err
    assert "collective number" not in err
    (line,) = [line for line in err.splitlines() if line.startswith("mpitrain: ")]
    return line.removeprefix("mpitrain: ")
