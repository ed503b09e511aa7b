"""Files of weights: the bytes of the safetensors library, written part by part."""

import numpy as np
import pytest
import safetensors.numpy

from mpitrain.training.weights import serialized


@pytest.mark.parametrize("seed", range(5))
def test_the_bytes_of_the_library(seed):
    rng = np.random.default_rng(seed)
    dtype = [np.float64, np.float32, np.uint8][seed % 3]
    shapes = [tuple(rng.integers(0, 5, rng.integers(0, 4)).tolist()) for _ in range(9)]
    tensors = {f"{i}.weißt": np.array(rng.integers(0, 99, s), dtype) for i, s in enumerate(shapes)}
    metadata = {"mpitrain": '{"name": "é\\n\\u2028"}'}
    found = b"".join(bytes(part) for part in serialized(tensors, metadata))
    assert found == safetensors.numpy.save(tensors, metadata=metadata)
