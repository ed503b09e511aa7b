"""Tasks of scripts/bench learning: their data, and the options of mpitrain train."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import learning_data
import learning_floor


class Task(NamedTuple):
    """A task.

    Attributes
    ----------
    prepare : callable(folder, packages)
        Writes the data into ``folder``, from what is downloaded into ``packages``.
    floor : callable(folder) -> float
        The score of a plain method, called ``method``.
    score : str
        Of the test: accuracy, or bits_per_byte.
    options : dict of str to str
        Of mpitrain train; {folder} and {minilm} stand for paths.
    """

    prepare: Callable[[Path, Path], None]
    floor: Callable[[Path], float]
    method: str
    score: str
    options: dict[str, str]

    def command(self, folder: Path, minilm: Path, *, steps: int = 0, epochs: int = 0) -> list[str]:
        """Return the options with paths, and with ``steps`` (without a warm-up) or ``epochs`` in place of its own."""
        options = dict(self.options)
        if steps:
            del options["epochs"]
            options |= {"steps": str(steps), "warmup": "0"}
        elif epochs:
            options["epochs"] = str(epochs)
        places = {"folder": folder, "minilm": minilm}
        return [part.format(**places) for name, value in options.items() for part in (f"--{name}", value)]


_TEXTS = {
    "data": "csv:{folder}/train.csv,text=text,target=label,test={folder}/test.csv,length=128",
    "weights": "hf:{minilm}",
    "model": "bert",
    "optimizer": "adamw:weight_decay=0.01",
    "lr": "5e-5",
    "warmup": "0.1",
    "clip-norm": "1",
    "batch-size": "16",
}
_DICTIONARY = {
    "data": "text:{folder}/train.txt,test={folder}/test.txt,tokenizer={folder}/tokenizer.json,window=256,"
    "end_of_text=none",
    "model": "gpt:depth=4,width=256,heads=4",
    "optimizer": "adamw:beta2=0.95,weight_decay=0.1",
    "lr": "0.0015",
    "schedule": "cosine:min_lr=0.00015",
    "warmup": "0.1",
    "clip-norm": "1",
    "batch-size": "8",
    "epochs": "1",
    "evaluate-every": "0.5e",
}
TF_IDF, WITTEN_BELL = "TF-IDF, logistic regression", "Witten-Bell, 5 characters"
TASKS = {
    "snippets": Task(learning_data.snippets, learning_floor.words, TF_IDF, "accuracy", _TEXTS | {"epochs": "2"}),
    "reuters": Task(
        learning_data.reuters, learning_floor.words, TF_IDF, "accuracy", _TEXTS | {"batch-size": "8", "epochs": "1"}
    ),
    "dictionary": Task(learning_data.dictionary, learning_floor.characters, WITTEN_BELL, "bits_per_byte", _DICTIONARY),
}
