"""Examples of a run: pictures that any reader reads, and who was taken for whom."""

import base64
import struct
import zlib

import numpy as np
import pytest

from mpitrain.data.lazy import LazyRows, PickedRows
from mpitrain.metrics.base import IGNORED
from mpitrain.training.environment import command_line
from mpitrain.training.scoring.examples import confusion, judge, spread
from mpitrain.training.scoring.pictures import LARGEST, as_png, ends


def read_png(text):
    """Return the pixels of a picture, (H, W, C); checks its sums."""
    data = base64.b64decode(text.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + content)
        chunks[kind], at = content, at + 12 + length
    width, height, depth, color, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, rest) == (8, [0, 0, 0])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, {0: 1, 2: 3}[color])


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 7, 3), (1, 1, 1), (64, 3, 3)])
def test_bytes_are_shown_as_they_are(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert np.array_equal(read_png(as_png(image)), image)


def test_other_numbers_go_from_black_to_white():
    images = np.array([[-1.5, 0.0], [1.5, np.nan]])[None, :, :, None]
    assert ends(images) == (-1.5, 1.5)
    assert read_png(as_png(images[0], *ends(images)))[..., 0].tolist() == [[0, 128], [255, 0]]
    assert ends(np.array([0, 16], np.uint8)) == (0.0, 16.0)
    assert ends(np.array([np.nan, np.inf])) == (0.0, 0.0)
    assert not read_png(as_png(np.full((2, 2, 1), 7.0), 7.0, 7.0)).any()
    assert read_png(as_png(np.ones((2, 2, 5)), 0.0, 1.0)).shape == (2, 2, 1)


@pytest.mark.parametrize("shape", [(224, 224, 3), (100, 65, 1), (65, 1, 1), (1000, 8, 3)])
def test_large_images_are_means_of_blocks(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    shown, factor = read_png(as_png(image)), -(-max(shape[:2]) // LARGEST)
    assert max(shown.shape[:2]) <= LARGEST
    rows, columns = (min(factor, size) for size in shape[:2])
    block = image[:rows, :columns].astype(float).mean(axis=(0, 1))
    assert np.array_equal(shown[0, 0], np.rint(block))


def test_few_classes_are_a_matrix_and_many_are_pairs():
    rng = np.random.default_rng(2)
    targets, predicted = rng.integers(0, 4, 500), rng.integers(0, 4, 500)
    matrix = np.zeros((4, 4), int)
    np.add.at(matrix, (targets, predicted), 1)
    assert confusion(targets, predicted, (), 4) == {"confusion": matrix.tolist()}
    targets[::7] = IGNORED
    assert np.sum(confusion(targets, predicted, (), 4)["confusion"]) == (targets != IGNORED).sum()
    names = tuple(f"class {k}" for k in range(60))
    wrong = confusion(np.array([5, 5, 5, 59, 7]), np.array([6, 6, 5, 0, 7]), names, 60)
    first, second = wrong["pairs"]
    assert first == {"class": "class 5", "predicted": "class 6", "count": 2}
    assert second == {"class": "class 59", "predicted": "class 0", "count": 1}
    assert confusion(np.empty(0, np.int64), np.empty(0, np.int64), names, 60) == {"pairs": []}


@pytest.mark.filterwarnings("error")
def test_samples_are_judged_in_float64_whatever_the_outputs_are():
    outputs = np.array([[1e30, -1e30, 0], [0.5, 0.25, 0], [np.nan, 1, 2], [np.inf, 0, -np.inf]], np.float32)
    found = judge(outputs, np.array([1, 2, 0, IGNORED]))
    assert found.dtype == np.float64
    assert found[:2, 0].tolist() == pytest.approx([2e30, np.log(np.exp([0.5, 0.25, 0]).sum())])
    assert np.isnan(found[2, 0])
    assert found[3, 0] == 0
    assert found[:, 1].tolist() == [0, 0, 0, 0]
    assert found[:2, 2].tolist() == pytest.approx([1, np.exp(0.5) / np.exp([0.5, 0.25, 0]).sum()])
    assert judge(np.empty((0, 3), np.float32), np.empty(0, np.int64)).shape == (0, 3)


@pytest.mark.parametrize(("count", "most"), [(0, 4), (4, 4), (5, 4), (1000, 64), (64, 1000)])
def test_rows_are_spread_evenly(count, most):
    rows = spread(count, most)
    assert len(rows) == min(count, most)
    assert len(set(rows.tolist())) == len(rows)
    if count > most:
        assert set(np.diff(rows)) <= {count // most, count // most + 1}
        assert rows[-1] >= count - count / most - 1


class Squares(LazyRows):
    def take(self, indices, width=None):
        return np.stack([indices, indices**2], axis=1)

    def digest(self):
        return "squares"


def test_picked_rows_are_those_of_the_others():
    rows = PickedRows(Squares(10, 2), np.array([1, 5, 9]))
    assert rows.shape == (3, 2)
    assert rows[1:].tolist() == [[5, 25], [9, 81]]
    assert rows.digest() == "squares rows [1, 5, 9]"
    assert rows.width(np.array([0])) == 2


def test_the_command_is_one_that_can_be_given_again():
    main = "/usr/lib/python3/mpitrain/__main__.py"
    assert command_line([main, "train", "--out", "a b"], 3) == "mpitrain -n 3 train --out 'a b'"
    assert command_line(["/usr/bin/mpitrain"], 1) == "mpitrain -n 1"
    assert command_line(["my_mpitrain.py"], 2) == "mpirun -n 2 python my_mpitrain.py"
    assert command_line([], 2) == "mpirun -n 2 python ''"
