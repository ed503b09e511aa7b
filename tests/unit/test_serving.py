"""The parts of a service, without sockets: bodies, batches, access, metrics."""

import asyncio
import base64
import io
import math
import wave

import numpy as np
import orjson
import pytest

from mpitrain.data.categories import Category
from mpitrain.data.matching.signature import Extremes, Signature
from mpitrain.data.normalize import Normalizer
from mpitrain.data.text import ByteTokenizer
from mpitrain.serving.access import Access
from mpitrain.serving.answers import Answers
from mpitrain.serving.continuations import read_continuation
from mpitrain.serving.inputs import Inputs, parse_npy
from mpitrain.serving.jobs import END, Cancel, Continuation, Reply
from mpitrain.serving.metrics import Metrics
from mpitrain.serving.refusal import Refusal
from mpitrain.serving.replicas import Replicas
from mpitrain.serving.scheduler import Scheduler
from mpitrain.serving.waiting import Failed, Full
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


def test_answers_hold_the_bits():
    rng = np.random.default_rng(3)
    names = tuple("abc")
    found = rng.random((4, 3), np.float32)
    rows = orjson.loads(Answers(run_of(class_names=names)).json(found))["predictions"]
    again = np.array([list(row["probabilities"].values()) for row in rows]).astype(np.float32)
    np.testing.assert_array_equal(again, found)
    assert [row["class"] for row in rows] == [names[k] for k in found.argmax(axis=1)]
    many = Answers(run_of(num_outputs=30))
    found = rng.random((1, 30), np.float32)
    (row,) = orjson.loads(many.json(found))["predictions"]
    assert list(row["probabilities"]) == [str(k) for k in np.argsort(-found[0])[:5]]
    assert len(orjson.loads(many.json(found, 7))["predictions"][0]["probabilities"]) == 7
    values = rng.random((2, 2))
    rows = orjson.loads(Answers(run_of("regression", num_outputs=2, target_name="u,v")).json(values))["predictions"]
    assert rows == [{"u": u, "v": v} for u, v in values.tolist()]
    nothing = orjson.loads(Answers(run_of("regression", num_outputs=1)).json(np.array([[math.inf]])))
    assert nothing == {"predictions": [{"prediction": None}]}


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


def test_who_may_ask():
    free, closed = Access(""), Access("secret")
    assert not free.refusal({b"host": b"localhost:8000"}, b"")
    assert "localhost only" in free.refusal({b"host": b"evil.example"}, b"")
    assert "localhost only" in free.refusal({}, b"")
    own = {b"host": b"localhost:8000", b"origin": b"http://localhost:8000"}
    assert not free.refusal(own, b"")
    assert "another origin" in free.refusal(own | {b"origin": b"http://evil.example"}, b"")
    assert "another origin" in free.refusal(own | {b"origin": b"null"}, b"")
    for headers, query in (
        ({}, b""),
        ({b"authorization": b"Bearer other"}, b""),
        ({b"authorization": b"Basic secret"}, b""),
        ({}, b"token=secre"),
        ({}, b"token=%ff"),
    ):
        assert "token" in closed.refusal(headers, query)
    assert not closed.refusal({b"authorization": b"Bearer secret"}, b"")
    assert not closed.refusal({}, b"a=1&token=secret")


class Ranks:
    """Rank 0's own loop, as the replicas see it."""

    def __init__(self):
        self.items = []
        self.put = self.items.append

    def send(self, item, rank, *, expects=False):
        self.items.append(item)

    def end(self):
        pass


def scheduled(test, numbers=(0,), **settings):
    """Run ``test(scheduler, items)`` in an event loop, with replicas of one rank each."""
    settings = {"max_batch": 4, "max_delay": 0.0, "max_queue": 10, "patience": 60.0} | settings

    async def main():
        ranks = Ranks()
        scheduler = Scheduler(Replicas([(k,) for k in numbers], numbers, ranks, ranks), Metrics(), **settings)
        scheduler.start()
        await test(scheduler, ranks.items)

    asyncio.run(main())


def rows(count, first=0):
    return np.arange(first, first + count, dtype=np.float64)[:, None]


async def turn():
    for _ in range(3):
        await asyncio.sleep(0)


def test_what_has_come_is_computed_together():
    async def test(scheduler, items):
        waiting = [scheduler.predict(rows(count, 10 * count)) for count in (1, 2, 2, 9)]
        await turn()
        assert [job.x[:, 0].tolist() for job in items] == [[10, 20, 21]]
        assert scheduler.queued == 11
        while len(items) < 5 and not all(one.future.done() for one in waiting):
            scheduler.take_reply(Reply(items[-1].number, -items[-1].x))
            await turn()
        assert [len(job.x) for job in items] == [3, 2, 4, 4, 1]
        scheduler.take_reply(Reply(items[-1].number, -items[-1].x))
        for one, count in zip(waiting, (1, 2, 2, 9), strict=True):
            np.testing.assert_array_equal(await one.future, -rows(count, 10 * count))
        assert scheduler.is_idle
        assert scheduler.queued == 0

    scheduled(test, max_queue=100)


def test_other_dtypes_and_texts_are_computed_apart():
    async def test(scheduler, items):
        scheduler.predict(rows(1))
        scheduler.predict(rows(1).astype(np.uint8))
        scheduler.write(Continuation(prompt="a"))
        scheduler.predict(rows(1))
        for number in range(4):
            await turn()
            assert len(items) == number + 1
            scheduler.take_reply(Reply(items[number].number, np.zeros((1, 1))))
        assert items[2].request.prompt == "a"

    scheduled(test)


def test_a_full_queue_and_a_large_request():
    async def test(scheduler, items):
        scheduler.predict(rows(30))  # the first one is taken however large it is
        with pytest.raises(Full):
            scheduler.predict(rows(1))

    scheduled(test)


def test_what_nobody_waits_for_is_dropped():
    async def test(scheduler, items):
        first, second, third = (scheduler.predict(rows(3, k)) for k in (0, 10, 20))
        await turn()
        scheduler.drop(second)
        scheduler.drop(first)  # which is being computed
        assert scheduler.queued == 3
        scheduler.take_reply(Reply(items[0].number, items[0].x))
        await turn()
        assert [job.x[0, 0] for job in items] == [0, 20]
        text = scheduler.write(Continuation(prompt="a"))
        scheduler.take_reply(Reply(items[1].number, items[1].x))
        np.testing.assert_array_equal(await third.future, rows(3, 20))
        await turn()
        scheduler.drop(text)
        assert items[-1] == Cancel(items[2].number)
        scheduler.replicas.end()
        assert items[-1] == END

    scheduled(test)


def test_a_delay_collects_a_batch():
    async def test(scheduler, items):
        scheduler.predict(rows(1))
        await turn()
        assert not items
        scheduler.predict(rows(3))  # a whole batch
        await turn()
        assert [len(job.x) for job in items] == [4]
        scheduler.take_reply(Reply(items[0].number, items[0].x))
        scheduler.predict(rows(1))
        await turn()
        assert len(items) == 1
        await asyncio.sleep(0.1)
        assert len(items) == 2

    scheduled(test, max_delay=0.05)


def test_a_late_rank_is_replaced_and_comes_back(capsys, monkeypatch):
    monkeypatch.setattr("mpitrain.serving.scheduler.CHECK", 0.01)
    lost = []

    async def test(scheduler, items):
        scheduler.on_lost = lambda: lost.append(1)
        waiting = scheduler.predict(rows(1))
        await asyncio.sleep(0.02)
        first, second = scheduler.replicas.all
        assert (first.job, second.job) == (0, None)
        await asyncio.sleep(0.15)
        assert first.is_late
        assert second.job == 1
        scheduler.take_reply(Reply(1, items[1].x))
        np.testing.assert_array_equal(await waiting.future, rows(1))
        assert not lost
        scheduler.take_reply(Reply(0, items[0].x))
        assert first.is_free
        assert not first.is_late
        waiting = scheduler.predict(rows(1))
        await asyncio.sleep(0.4)
        assert lost
        with pytest.raises(Failed, match="do not reply"):
            await waiting.future

    scheduled(test, [0, 0], patience=0.1)
    said = capsys.readouterr().err
    assert said.startswith("mpitrain: rank 0 has not replied for 0 s (--rank-timeout)")
    assert "mpitrain: rank 0 replied after all" in said


def test_the_work_of_a_lost_rank_is_done_by_another(capsys):
    async def test(scheduler, items):
        waiting = scheduler.predict(rows(1))
        await turn()
        scheduler.lose(frozenset([1]))
        assert [replica.is_free for replica in scheduler.replicas.all] == [False, False]
        assert items[1].number == 1
        scheduler.take_reply(Reply(1, items[1].x))
        np.testing.assert_array_equal(await waiting.future, rows(1))
        scheduler.lose(frozenset([1]))
        assert [replica.is_free for replica in scheduler.replicas.all] == [False, True]

    scheduled(test, [0, 1])
    assert capsys.readouterr().err == "mpitrain: rank 1 is lost; the others continue\n"


def test_an_error_is_that_of_all_requests_of_the_batch():
    async def test(scheduler, items):
        waiting = [scheduler.predict(rows(1)) for _ in range(2)]
        await turn()
        scheduler.take_reply(Reply(items[0].number, error="no memory"))
        for one in waiting:
            with pytest.raises(Failed, match="no memory"):
                await one.future

    scheduled(test)


def test_metrics_are_in_the_format_of_prometheus():
    metrics = Metrics()
    metrics.answered("/predict", 200, 0.003)
    metrics.answered("other", 404, 99.0)
    metrics.batch(3)
    replicas = Replicas([(0, 1), (2, 3)], [0, 2], Ranks(), None)
    text = metrics.text(replicas.all, queued=5, in_flight=2, draining=True)
    assert text.endswith("\n")
    lines = text.splitlines()
    for line in (
        'mpitrain_requests_total{path="/predict",status="200"} 1',
        'mpitrain_request_seconds_bucket{le="0.0025"} 0',
        'mpitrain_request_seconds_bucket{le="0.005"} 1',
        'mpitrain_request_seconds_bucket{le="+Inf"} 2',
        "mpitrain_request_seconds_sum 99.003",
        'mpitrain_batch_samples_bucket{le="4"} 1',
        "mpitrain_queue_samples 5",
        "mpitrain_draining 1",
        'mpitrain_rank_batches_total{ranks="0+1"} 0',
        'mpitrain_rank_late{ranks="2+3"} 0',
    ):
        assert line in lines
    kinds = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    for line in lines:
        if not line.startswith("#"):
            name = line.partition("{")[0].partition(" ")[0]
            assert name in kinds or name.rpartition("_")[0] in kinds
            float(line.rpartition(" ")[2])
