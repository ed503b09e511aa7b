"""Bodies of requests: arrays, files, rows, texts; refusals in one sentence."""

import base64
import io
import wave

import numpy as np
import orjson
import pytest

from mpitrain.data.categories import Category
from mpitrain.data.matching.signature import Extremes
from mpitrain.data.text import ByteTokenizer
from mpitrain.serving.continuations import read_continuation
from mpitrain.serving.inputs import Inputs, parse_npy
from tests.unit.serving.requests import DIGITS, TABLE, body, npy, refused, run_of


def test_images_as_arrays():
    inputs = Inputs(run_of(**DIGITS))
    image = [[0, 1, 2], [3, 4, 16]]
    for given in (image, [[[v] for v in row] for row in image]):
        x = inputs.read("application/json", body([given, given]))
        assert (x.shape, x.dtype) == ((2, 2, 3, 1), np.uint8)
        assert x[1, ..., 0].tolist() == image
    assert inputs.read("application/json", body([[[0.5, 1, 2], [3, 4, 16]]])).dtype == np.float32
    assert inputs.read("application/json", body([[[-1, 1, 2], [3, 4, 16]]])).dtype == np.float32
    given = np.arange(12, dtype=np.uint8).reshape(2, 2, 3, 1)
    np.testing.assert_array_equal(inputs.read("application/x-npy", npy(given)), given)
    columns = np.asfortranarray(given.astype(">f4"))
    np.testing.assert_array_equal(inputs.read("application/octet-stream", npy(columns)), given)


@pytest.mark.parametrize(
    ("given", "status", "text"),
    [
        (b"{", 400, "the body is no JSON"),
        (b'{"inputs": [NaN]}', 400, "the body is no JSON"),
        (b"\xff\xfe", 400, "the body is no JSON"),
        (b"[" * 100_000, 400, "the body is no JSON"),
        (b"[1]", 422, "the body must be a JSON object"),
        (b'{"input": [1]}', 422, "the body has the key 'input', and there are only inputs"),
        (b'{"inputs": []}', 422, "at least one input"),
        (b'{"inputs": 3}', 422, "at least one input"),
        (body([[1, 2]]), 422, "inputs have the shape (2,), but the model takes (2, 3, 1)"),
        (body([[[1, 2, 3], [4, 5]]]), 422, "each input must be an array of numbers of the shape (2, 3, 1)"),
        (body([[[1, 2, 3], [4, 5, {}]]]), 422, "each input must be an array of numbers"),
        (body([[[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, None]]]), 422, "input 1 has a value that is null"),
        (b'{"inputs": [[[1, 2, 3], [4, 5, 1e999]]]}', 400, "the body is no JSON"),
        (body([[[1, 2, 3], [4, 5, 1e300]]]), 422, "hold NaN, Inf"),
    ],
)
def test_bad_json(given, status, text):
    found = refused(Inputs(run_of(**DIGITS)).read, "application/json", given)
    assert found[0] == status
    assert text in found[1]


def test_npy_is_checked_before_it_takes_memory():
    whole = npy(np.zeros((2, 2, 3, 1), np.float32))
    np.testing.assert_array_equal(parse_npy(whole), np.zeros((2, 2, 3, 1)))
    big = whole.replace(b"(2, 2, 3, 1)", b"(2, 9**9, 3,", 1)
    for wrong in (b"", whole[:7], whole[:-1], whole + b"x", big, whole.replace(b"'<f4'", b"'|O'", 1), b"PK" + whole):
        assert refused(parse_npy, wrong)[0] in (400, 422)
    header = whole.replace(b"(2, 2, 3, 1)", b"(2000000000,)"[:12], 1)
    assert refused(parse_npy, header)[0] == 400
    inputs = Inputs(run_of(**DIGITS))
    assert refused(inputs.read, "application/x-npy", npy(np.full((1, 2, 3, 1), np.nan)))[0] == 422
    assert refused(inputs.read, "application/x-npy", npy(np.zeros((1, 3, 2, 1))))[0] == 422
    assert refused(inputs.read, "text/csv", b"1,2") == (
        415,
        "the Content-Type is text/csv, but must be application/json, application/x-npy, image/png, image/jpeg",
    )


def test_image_files_are_scaled_to_the_training_samples():
    image_of = pytest.importorskip("PIL.Image")
    inputs = Inputs(run_of(**DIGITS))
    pixels = np.array([[0, 255, 51], [102, 153, 204]], np.uint8)
    file = io.BytesIO()
    image_of.fromarray(pixels).save(file, "png")
    x = inputs.read("image/png", file.getvalue())
    assert (x.dtype, x[0, ..., 0].tolist()) == (np.uint8, [[0, 16, 3], [6, 10, 13]])
    text = base64.b64encode(file.getvalue()).decode()
    for given in (text, f"data:image/png;base64,{text}"):
        np.testing.assert_array_equal(inputs.read("application/json", body([given])), x)
    file = io.BytesIO()
    image_of.fromarray(np.full((9, 9, 4), 0, np.uint8), "RGBA").save(file, "png")  # all transparent
    assert (inputs.read("image/png", file.getvalue()) == 16).all()
    usual = Inputs(run_of(dtype="uint8", extremes=Extremes(np.zeros(1), np.full(1, 200.0))))
    assert (usual.read("image/png", file.getvalue()) == 255).all()
    assert refused(inputs.read, "image/png", file.getvalue()[:40])[0] == 400
    assert refused(inputs.read, "image/jpeg", b"no image")[0] == 400
    assert refused(inputs.read, "application/json", body(["%%%"]))[0] == 400
    assert refused(inputs.read, "application/json", body([text, 3]))[0] == 422


def test_sound_files():
    source = "audio:sounds,rate=8000,seconds=0.1,mels=8"
    inputs = Inputs(run_of(shape=(8, 8, 1), dtype="float32", source=source))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes((np.sin(np.arange(800) / 5) * 9000).astype("<i2").tobytes())
    x = inputs.read("audio/wav", file.getvalue())
    assert (x.shape, x.dtype) == ((1, 8, 8, 1), np.float32)
    assert inputs.kind == "sound"
    for wrong in (b"", b"no sound", file.getvalue()[:99]):
        assert refused(inputs.read, "audio/wav", wrong)[0] in (400, 422)
    np.testing.assert_array_equal(inputs.read("application/json", body(x.tolist())), x)


def test_rows_by_names_and_in_order():
    inputs = Inputs(run_of(shape=(2,), **TABLE))
    x = inputs.read("application/json", body([[1, 2.5], {"b": 4, "a": 3, "other": 9}]))
    assert (x.dtype, x.tolist()) == (np.float64, [[1, 2.5], [3, 4]])
    for given, text in (
        ([{"a": 1}], "input 0 lacks column 'b'"),
        ([[1, 2], [1]], "input 1 must be a list of 2 values or an object with columns 'a', 'b'"),
        ([[1, "x"]], "input 0 has 'x' in column 'b', where the model takes a number"),
        ([[1, None]], "input 0 has null in column 'b'"),
        ([3], "input 0 must be a list"),
    ):
        status, found = refused(inputs.read, "application/json", body(given))
        assert status == 422
        assert text in found
    colors, sizes = Category.of(np.array(["red", "blue"])), Category.of(np.array([10, 20]))
    inputs = Inputs(run_of(shape=(2,), categories=(None, colors), **TABLE))
    x = inputs.read("application/json", body([[1, "red"], {"a": 2, "b": "green"}, [3, None]]))
    assert (x.dtype, x.tolist()) == (np.float64, [[1, 2], [2, 0], [3, 0]])
    inputs = Inputs(run_of(shape=(2,), categories=(sizes, colors), **TABLE))
    x = inputs.read("application/json", body([[20, "blue"], [15, "red"], ["10", None]]))
    assert (x.dtype, x.tolist()) == (np.int64, [[2, 1], [0, 2], [1, 0]])


def test_texts():
    inputs = Inputs(run_of(shape=(10,), vocabulary=256, tokenizer=ByteTokenizer()))
    x = inputs.read("application/json", body(["abc", "abcdefghijklmnop"]))
    assert x.tolist() == [[97, 98, 99] + [-1] * 7, list(range(97, 107))]
    assert inputs.read("text/plain", b"ab").tolist() == [[97, 98] + [-1] * 6]
    assert inputs.read("application/json", body([[5, 6]])).tolist() == [[5, 6] + [-1] * 6]
    for given in (["a", " "], ["a", 3], [[300]], [[True]], [[]]):
        assert refused(inputs.read, "application/json", body(given))[0] == 422
    assert refused(inputs.read, "application/x-npy", npy(np.full((1, 2), 300)))[0] == 422
    assert refused(inputs.read, "application/x-npy", npy(np.zeros((1, 2))))[0] == 422


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "must have a prompt"),
        ({"prompt": 3}, "prompt must be a text"),
        ({"prompt": "a", "tokens": "9"}, "tokens must be a whole number"),
        ({"prompt": "a", "tokens": True}, "tokens must be a whole number"),
        ({"prompt": "a", "tokens": 0}, "tokens must be from 1"),
        ({"prompt": "a", "temperature": -1}, "temperature must be 0 or more"),
        ({"prompt": "a", "top_p": 2}, "top-p must be"),
        ({"prompt": "a", "stream": 1}, "stream must be true or false"),
        ({"prompt": "a", "max_tokens": 9}, "the body has the key 'max_tokens'"),
    ],
)
def test_bad_continuations(given, text):
    status, found = refused(read_continuation, orjson.dumps(given))
    assert status == 422
    assert text in found
