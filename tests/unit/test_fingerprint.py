import dataclasses

import numpy as np
import pytest

from mpitrain.data import Dataset, Split
from mpitrain.data.blocks import BLOCK, NUM_BLOCKS, WHOLE
from mpitrain.data.matching.fingerprint import contents, digest_array, digest_file, fingerprint


def dataset(**changed):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((20, 3)).astype(np.float32)
    y = rng.integers(0, 2, 20)
    made = Dataset(
        "t", "classification", Split(x[:15], y[:15]), Split(x[15:], y[15:]), 2, ("n", "p"), ("a", "b", "c"), "y"
    )
    return dataclasses.replace(made, **changed)


def test_equal_data_have_equal_fingerprints():
    assert fingerprint(dataset()) == fingerprint(dataset(name="another", notes=("any",)))


def changed_parts(other):
    then, now = fingerprint(dataset()), fingerprint(other)
    assert list(then) == list(now)
    return [part for part in then if then[part] != now[part]]


def test_each_part_by_its_name():
    here = dataset()
    x = here.train.x.copy()
    x[7, 1] = np.nextafter(x[7, 1], np.inf)  # the last bit of one value
    assert changed_parts(dataset(train=Split(x, here.train.y))) == ["training samples"]
    y = here.test.y.copy()
    y[-1] = 1 - y[-1]
    assert changed_parts(dataset(test=Split(here.test.x, y))) == ["test targets"]
    assert changed_parts(dataset(class_names=("p", "n"))) == ["classes"]
    assert changed_parts(dataset(feature_names=("b", "a", "c"))) == ["columns"]
    assert changed_parts(dataset(target_name="z")) == ["target"]
    assert list(contents(here)) == ["training samples", "training targets", "test samples", "test targets"]


@pytest.mark.parametrize("array", [np.arange(12), np.arange(12.0), np.zeros((0, 3)), np.zeros((3, 0), np.uint8)])
def test_shape_and_dtype_count(array):
    assert digest_array(array).startswith(f"{array.shape} {array.dtype} ")
    assert digest_array(array) != digest_array(array.reshape((*array.shape[::-1], 1)))
    assert digest_array(array) != digest_array(array.astype(np.float16))


def test_the_layout_in_memory_does_not_count():
    x = np.random.default_rng(2).standard_normal((6, 4))
    assert digest_array(np.asfortranarray(x)) == digest_array(x) == digest_array(np.repeat(x, 2, axis=0)[::2])


@pytest.mark.slow
def test_large_arrays_by_blocks(tmp_path):
    size = WHOLE + 12345
    x = np.random.default_rng(3).integers(0, 256, size, dtype=np.uint8)
    digest = digest_array(x)
    x.tofile(tmp_path / "x")
    assert digest_array(np.memmap(tmp_path / "x", np.uint8, "r")) == digest
    assert digest_file(tmp_path / "x") == f"({size} bytes) {digest.split()[-1]}"
    covered = 0
    for place in (0, size - 1):
        x[place] ^= 1
        assert digest_array(x) != digest, "the first and the last byte are always looked at"
        x[place] ^= 1
    for start in range(0, size, size // 50):  # what is longer than two stretches cannot hide
        kept = x[start : start + 2 * size // NUM_BLOCKS + BLOCK].copy()
        x[start : start + len(kept)] ^= 1
        covered += digest_array(x) != digest
        x[start : start + len(kept)] = kept
    assert covered == len(range(0, size, size // 50))
    assert digest_array(x) == digest
    assert digest_array(x[::-1]) != digest
    assert digest_array(np.roll(x, 1)) != digest


def test_a_file_of_no_bytes(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert digest_file(tmp_path / "empty") == f"(0 bytes) {digest_array(np.empty(0)).split()[-1]}"
    with pytest.raises(OSError, match="No such file"):
        digest_file(tmp_path / "none")
