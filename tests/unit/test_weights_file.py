"""Files of weights, written part by part, as the safetensors library reads them."""

import numpy as np
import pytest
import safetensors.numpy

from mpitrain.training.weights import serialized


@pytest.mark.parametrize("seed", range(5))
def test_the_library_reads_them(tmp_path, seed):
    rng = np.random.default_rng(seed)
    dtypes = [np.float64, np.float32, np.uint8]
    shapes = [tuple(rng.integers(0, 5, rng.integers(0, 4)).tolist()) for _ in range(9)]
    tensors = {f"{i}.weißt": np.array(rng.integers(0, 99, s), dtypes[i % 3]) for i, s in enumerate(shapes)}
    metadata = {"mpitrain": '{"name": "é\\n\\u2028"}'}
    (tmp_path / "weights").write_bytes(b"".join(bytes(part) for part in serialized(tensors, metadata)))
    found = safetensors.numpy.load_file(tmp_path / "weights")
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array, name, strict=True)
    with safetensors.safe_open(tmp_path / "weights", "numpy") as file:
        assert file.metadata() == metadata
