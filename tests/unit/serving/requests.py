"""Models and requests as the parts of a service see them."""

import io

import numpy as np
import orjson
import pytest

from mpitrain.data.matching.signature import Extremes, Signature
from mpitrain.data.normalize import Normalizer
from mpitrain.serving.refusal import Refusal
from mpitrain.training.directory.trained_model import TrainedModel

DIGITS = {"extremes": Extremes(np.zeros(1), np.full(1, 16.0)), "dtype": "uint8"}
TABLE = {"feature_names": ("a", "b"), "dtype": "float64"}


def run_of(task="classification", shape=(2, 3, 1), num_outputs=3, tokenizer=None, **facts):
    run = TrainedModel.__new__(TrainedModel)
    run.signature = Signature(task, shape, num_outputs, **facts)
    run.target_normalizer = Normalizer(np.zeros(num_outputs), np.ones(num_outputs)) if task == "regression" else None
    run.__dict__["tokenizer"] = tokenizer
    return run


def body(inputs):
    return orjson.dumps({"inputs": inputs})


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def refused(call, *arguments):
    with pytest.raises(Refusal) as info:
        call(*arguments)
    assert "\n" not in info.value.text
    return int(info.value.status), info.value.text
