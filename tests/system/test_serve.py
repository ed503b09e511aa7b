"""``mpitrain serve`` as clients meet it: answers, limits, slow and broken clients, its end, lost ranks."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from .conftest import ENVIRONMENT
from .served import Served, until

MPITRAIN = (sys.executable, "-m", "mpitrain")
SLOW = """
import time
from mpitrain.layers import Layer
from mpitrain.models import mlp

class Slow(Layer):
    \"\"\"Takes half a second, and longer where a pixel is 255.\"\"\"

    def forward(self, x, ctx):
        time.sleep(0.5 if x.max() < 50 else 3600)
        return x
"""


def mpitrain(directory, *arguments):
    command = [*MPITRAIN, *map(str, arguments)]
    ran = subprocess.run(command, cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A directory with a run on images, samples and what predict says of them."""
    directory = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (60, 4, 5, 1)).astype(np.uint8)
    np.savez(directory / "images.npz", x=x, y=x.reshape(60, -1).argmax(axis=1) % 3)
    np.savez(directory / "new.npz", x=x[:20])
    train = ("train", "--data", "npz:images.npz", "--model", "mlp:widths=16", "--epochs", "2", "--out", "run")
    mpitrain(directory, *train, "--progress", "none")
    mpitrain(directory, "predict", "run", "--data", "npz:new.npz", "--out", "new-outputs.npz")
    return directory


@pytest.fixture(scope="module")
def predicted(images):
    """Samples, and the probabilities that ``mpitrain predict`` has written."""
    outputs = np.load(images / "new-outputs.npz")
    return np.load(images / "new.npz")["x"], np.stack([outputs[f"p({k})"] for k in range(3)], axis=1)


@pytest.fixture(scope="module")
def service(images):
    """A service on one rank, which all tests have broken together if it does not end as it should."""
    with Served(images, "--read-timeout", "0.5", "--max-body", "0.1", "--max-queue", "50") as served:
        yield served
        assert served.end() == (0, "", "")


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def probabilities(content):
    return np.array([list(row["probabilities"].values()) for row in content["predictions"]]).astype(np.float32)


def test_bits_of_predict(service, predicted):
    x, expected = predicted
    for count in (1, 3, 20):
        status, _, content = service.ask("/predict", {"inputs": x[:count, :, :, 0].tolist()})
        assert status == 200
        np.testing.assert_array_equal(probabilities(content), expected[:count])
    kind = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    status, _, content = service.ask("/predict", npy(x), kind)
    np.testing.assert_array_equal(np.load(io.BytesIO(content)), expected)
    assert [
        row["class"]
        for row in service.ask("/predict?top=1", npy(x), {"Content-Type": "application/x-npy"})[2]["predictions"]
    ] == [str(k) for k in expected.argmax(axis=1)]


def test_bits_of_predict_in_any_batch(service, predicted):
    x, expected = predicted
    before = service.count("batch_samples_count")
    wrong = []

    def client(seed):
        rng = np.random.default_rng(seed)
        for _ in range(10):
            rows = rng.integers(0, 20, rng.integers(1, 4))
            status, _, content = service.ask("/predict", {"inputs": x[rows, :, :, 0].tolist()})
            if status != 200 or (probabilities(content) != expected[rows]).any():
                wrong.append((seed, status, content))

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(16)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(60)
    assert not wrong
    assert 0 < service.count("batch_samples_count") - before <= 160


def test_other_addresses(service):
    assert service.ask("/health")[2] == {"live": True, "ready": True, "replicas": [{"ranks": [0], "late": False}]}
    facts = service.ask("/model")[2]
    assert (facts["run"], facts["kind"], facts["input_shape"], facts["classes"]) == (
        "run",
        "image",
        [4, 5, 1],
        ["0", "1", "2"],
    )
    status, headers, page = service.ask("/")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'nonce-")
    assert b"<h1>run</h1>" in page
    assert service.ask("/", method="HEAD")[2] == b""
    assert service.ask("/nothing")[0] == 404
    assert service.ask("/generate", {"prompt": "a"})[2]["error"].startswith("this model is asked by /predict")
    status, headers, _ = service.ask("/predict")
    assert (status, headers["Allow"]) == (405, "POST")
    assert service.ask("/health", headers={"Host": "evil.example"})[0] == 403
    assert service.ask("/health", headers={"Origin": "http://evil.example"})[0] == 403


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"inputs": [[1]]}', "application/json", 422),
        (b"\x93NUMPY\x01\x00\xff\xff", "application/x-npy", 400),
        (b"x", "text/html", 415),
        (b"x", "", 415),
        (os.urandom(1000), "image/png", 400),
        (b" " * 100_001, "application/json", 413),
    ],
)
def test_bad_bodies(service, body, kind, status):
    pytest.importorskip("PIL")
    found, headers, content = service.ask("/predict", body, {"Content-Type": kind})
    assert found == status
    assert list(content) == ["error"]
    assert headers["Content-Type"] == "application/json"


def connect(service):
    sock = socket.create_connection(("127.0.0.1", service.port), timeout=20)
    return sock


def receive_all(sock):
    parts = []
    try:
        while part := sock.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_a_body_of_100_megabytes_takes_no_memory(service):
    pid = service.process.pid

    def memory():
        with open(f"/proc/{pid}/status") as file:
            return int(next(line for line in file if line.startswith("VmHWM")).split()[1])

    before = memory()
    for told in (b"Content-Length: 100000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
        with connect(service) as sock:
            sock.sendall(HEAD + told)
            part = b"0" * 1_000_000 if b"Length" in told else b"f4240\r\n" + b"0" * 1_000_000 + b"\r\n"
            try:
                for _ in range(100):
                    sock.sendall(part)
            except OSError:
                pass
            sock.shutdown(socket.SHUT_WR)
            answer = receive_all(sock)
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert answer.endswith(b'{"error":"the body has more than 100,000 bytes (--max-body)"}')
    assert memory() - before < 20_000  # kB
    assert service.ask("/health")[0] == 200


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", True),
        (b"POST /pre", True),
        (HEAD, True),
        (HEAD + b"Content-Length: 50\r\n\r\n{", True),
        (HEAD + b"Content-Length: 100000000\r\n\r\n{", False),  # refused already
    ],
)
def test_slow_clients_are_cut_off(service, sent, answered):
    with connect(service) as sock:
        began = time.monotonic()
        sock.sendall(sent)
        answer = receive_all(sock)
        assert 0.4 < time.monotonic() - began < 10
        assert answer.startswith(b"HTTP/1.1 408 " if answered else b"HTTP/1.1 413 ")
        assert answer.count(b"HTTP/1.1") == 1


def test_garbage_is_refused(service):
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9,
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n" * 9 + b"x\x00\r\n\r\n",
    ):
        with connect(service) as sock:
            sock.sendall(sent)
            assert receive_all(sock)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 408", b"")
    assert service.ask("/health")[0] == 200


def test_one_connection_serves_many_requests(service, predicted):
    body = json.dumps({"inputs": predicted[0][:1, :, :, 0].tolist()}).encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connect(service) as sock:
        sock.sendall(request * 20)  # pipelined
        found = b""
        while found.count(b"predictions") < 20:
            part = sock.recv(65536)
            assert part, found
            found += part
    assert found.count(b"HTTP/1.1 200 OK") == 20


def test_clients_that_go_away(service, predicted):
    body = json.dumps({"inputs": np.repeat(predicted[0][:1, :, :, 0], 40, axis=0).tolist()}).encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for cut in (len(request), len(request) - 1, 60):
        for _ in range(20):
            with connect(service) as sock:
                sock.sendall(request[:cut])
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST
    until(lambda: service.count("queue_samples") == 0 and service.count("in_flight") == 0)
    assert service.ask("/health")[0] == 200


def test_rows_of_a_table_have_the_bits_of_predict(tmp_path):
    rng = np.random.default_rng(8)
    rows = []
    for k in range(80):
        age = "" if k % 9 == 0 else f"{rng.normal(40, 9):.3f}"
        day = "" if k % 11 == 0 else f"2024-{1 + k % 12:02}-{1 + k % 28:02} {k % 24:02}:30"
        rows.append([age, ["Bonn", "Köln", "3"][k % 3], day, str(k % 4), "yes" if k % 3 else "no"])
    lines = ["age,city,day,kind,class", *(",".join(row) for row in rows), ""]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    new = [["", "Bonn", "2025-01-02", "3"], ["41.5", "Ulm", "", "0"], ["7", "3", "2024-12-31 23:59", "2"]]
    (tmp_path / "new.csv").write_text("\n".join(["age,city,day,kind", *(",".join(row) for row in new), ""]))
    source = "csv:table.csv,target=class,categories=kind"
    mpitrain(tmp_path, "train", "--data", source, "--model", "mlp:widths=8", "--epochs", "1", "--out", "run")
    mpitrain(tmp_path, "predict", "run", "--data", "csv:new.csv", "--out", "new-outputs.npz")
    outputs = np.load(tmp_path / "new-outputs.npz")
    expected = np.stack([outputs["p(no)"], outputs["p(yes)"]], axis=1)
    given = [
        [None, "Bonn", "2025-01-02", 3],
        {"kind": "0", "age": "41.5", "city": "Ulm", "day": None, "more": 1},
        [7, 3, "2024-12-31 23:59", 2],
    ]
    with Served(tmp_path) as served:
        status, _, content = served.ask("/predict", {"inputs": given})
        assert status == 200, content
        np.testing.assert_array_equal(probabilities(content), expected)
        columns = {column["name"]: column for column in served.ask("/model")[2]["columns"]}
        assert columns["city"]["values"] == ["3", "Bonn", "Köln"]
        assert columns["day"] == {"name": "day", "date": True, "may_miss": True}
        assert columns["age"]["may_miss"]
        for wrong, text in (
            ([["x", "Bonn", None, 1]], "input 0 has 'x' in column 'age', where the model takes a number or null"),
            ([[1, "Bonn", "soon", 1]], "input 0 has 'soon' in column 'day', where the model takes a date or null"),
        ):
            assert served.ask("/predict", {"inputs": wrong})[::2] == (422, {"error": text})
        assert served.end() == (0, "", "")


def test_image_files_have_the_bits_of_predict(tmp_path):
    image_of = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(9)
    for k in range(24):
        folder = tmp_path / "photos" / "ab"[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20 + k, 30, 3)).astype(np.uint8)
        image_of.fromarray(pixels).save(folder / f"{k}.png")
    source = "images:photos,size=8,resize=10"
    mpitrain(tmp_path, "train", "--data", source, "--model", "mlp:widths=8", "--epochs", "1", "--out", "run")
    new = tmp_path / "new" / "a"
    new.mkdir(parents=True)
    image_of.fromarray(rng.integers(0, 256, (31, 17, 3)).astype(np.uint8)).save(new / "1.png")
    image_of.fromarray(rng.integers(0, 256, (99, 50), dtype=np.uint8)).save(new / "2.jpg")
    mpitrain(tmp_path, "predict", "run", "--data", "images:new", "--out", "new-outputs.npz")
    outputs = np.load(tmp_path / "new-outputs.npz")
    expected = np.stack([outputs["p(a)"], outputs["p(b)"]], axis=1)
    with Served(tmp_path) as served:
        for k, name in enumerate(("1.png", "2.jpg")):
            kind = {"Content-Type": "image/png"}
            status, _, content = served.ask("/predict", (new / name).read_bytes(), kind)
            assert status == 200, content
            np.testing.assert_array_equal(probabilities(content), expected[k : k + 1])
        assert served.end() == (0, "", "")


def test_mistakes_are_one_sentence(images):
    def says(*arguments):
        command = [*MPITRAIN, "serve", *arguments]
        ran = subprocess.run(command, cwd=images, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 2
        assert ran.stderr.startswith("mpitrain: ")
        assert ran.stderr.count("\n") == 1
        return ran.stderr

    assert "no run directory" in says(".")
    assert "must be from 0 to 65535" in says("run", "--port", "99999")
    assert "--max-batch must be at least 1" in says("run", "--max-batch", "0")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        assert "--port 0 takes a free one" in says("run", "--port", str(busy.getsockname()[1]))
    program = "import sys; sys.modules['uvloop'] = None; from mpitrain.cli.main import main; sys.exit(main())"
    ran = subprocess.run(
        [sys.executable, "-c", program, "serve", "run"], cwd=images, env=ENVIRONMENT, capture_output=True, text=True
    )
    said = "mpitrain: serve needs the package uvloop: pip install 'mpitrain[serve]'\n"
    assert (ran.returncode, ran.stderr) == (2, said)


def test_a_token(images):
    with Served(images, "--token") as served:
        token = served.url.partition("?token=")[2]
        assert served.ask("/health")[0] == 403
        assert served.ask(f"/health?token={token}")[0] == 200
        assert served.ask("/health", headers={"Authorization": f"Bearer {token}"})[0] == 200
        assert served.end(signal.SIGINT) == (0, "", "")


@pytest.mark.parametrize("options", [(), ("--mesh", "tensor=2"), ("--mesh", "pipe=2")], ids=lambda o: "-".join(o))
def test_several_ranks(images, predicted, options):
    x, expected = predicted
    with Served(images, *options, ranks=4) as served:
        found = []

        def client():
            for _ in range(8):
                found.append(probabilities(served.ask("/predict", {"inputs": x[:, :, :, 0].tolist()})[2]))

        clients = [threading.Thread(target=client) for _ in range(8)]
        for one in clients:
            one.start()
        for one in clients:
            one.join(60)
        assert len(found) == 64
        for one in found:
            if "tensor=2" in options:  # sums in another order
                np.testing.assert_allclose(one, expected, rtol=1e-5)
            else:
                np.testing.assert_array_equal(one, expected)
        replicas = [row["ranks"] for row in served.ask("/health")[2]["replicas"]]
        assert replicas == ([[2, 3], [0, 1]] if options else [[1], [2], [3], [0]])
        assert served.end() == (0, "", "")
