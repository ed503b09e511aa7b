"""Printed output reaches a reader in order and complete, or is counted: slow readers, full disks and closed pipes."""

import contextlib
import errno
import os
import random
import re
import threading
import time

import pytest

from mpitrain.cli import async_writer as module
from mpitrain.cli.async_writer import AsyncWriter
from mpitrain.cli.outlet import CHUNK, Outlet, State


@pytest.fixture
def pipe():
    ends = os.pipe()
    inode = os.fstat(ends[0]).st_ino
    yield ends
    for descriptor in ends:  # those that are open still, and not what other threads have opened since
        with contextlib.suppress(OSError):
            if os.fstat(descriptor).st_ino == inode:
                os.close(descriptor)


@pytest.fixture
def start():
    """Return a function that starts a writer; writers end with the test, since descriptors are used again."""
    writers = []

    def make(descriptor):
        said = []
        writers.append(AsyncWriter(Outlet(descriptor), said.append))
        writers[-1].start()
        return writers[-1], said

    yield make
    for writer in writers:
        writer._die("the test is over")
        writer.join(10)


def read_all(descriptor, pause=0.0):
    data = b""
    while block := os.read(descriptor, 8192):
        data += block
        time.sleep(pause)
    return data


@pytest.mark.parametrize("seed", range(5))
def test_all_arrives_in_order(start, pipe, seed):
    rng = random.Random(seed)
    items = [bytes([65 + n % 26]) * rng.choice([1, 10, CHUNK - 1, CHUNK, CHUNK + 1, 20000]) + b"\n" for n in range(60)]
    writer, said = start(pipe[1])
    found = []
    reader = threading.Thread(target=lambda: found.append(read_all(pipe[0], rng.choice([0, 0.005]))))
    reader.start()
    for item in items:
        writer.put(item, rng.random() < 0.2 and len(item) > 10**6)
    writer.drain(20, lambda: None)
    os.close(pipe[1])
    reader.join(30)
    assert found == [b"".join(items)], seed
    assert (writer.lost, writer.left_out, writer.error, said) == (0, 0, "", [])


def test_a_reader_that_pauses_gets_what_is_not_expendable(start, pipe, monkeypatch):
    monkeypatch.setattr(module, "SOFT", 100_000)
    writer, _ = start(pipe[1])
    kept = [b"kept %d\n" % n for n in range(30)]
    for n in range(30):
        writer.put(kept[n], False)
        for k in range(200):
            writer.put(b"expendable %06d %s\n" % (n * 200 + k, b"." * 40), True)
    begin = time.monotonic()
    writer.drain(20, lambda: None)  # the pipe is made large enough for the rest: nobody needs to read for this
    assert time.monotonic() - begin < 10
    os.close(pipe[1])
    text = read_all(pipe[0]).decode()
    assert re.findall(r"^kept \d+$", text, re.M) == [item.decode().rstrip() for item in kept]
    shown = [int(n) for n in re.findall(r"^expendable (\d+) \.{40}$", text, re.M)]
    gaps = [int(n.replace(",", "")) for n in re.findall(r"^\[([\d,]+) lines were left out here", text, re.M)]
    assert shown == sorted(shown)
    assert shown[-1] == 5999
    assert len(shown) + sum(gaps) == 6000
    assert sum(gaps) == writer.left_out > 0
    assert writer.lost == 0


def test_memory_is_bounded(start, pipe, monkeypatch):
    monkeypatch.setattr(module, "HARD", 100_000)
    writer, _ = start(pipe[1])
    for _ in range(5000):
        writer.put(b"x" * 99 + b"\n", False)
    assert writer.lost > 3000
    assert writer._size <= 100_000


def test_a_closed_pipe(start, pipe):
    writer, said = start(pipe[1])
    writer.put(b"one\n", False)
    writer.drain(5, lambda: None)
    os.close(pipe[0])
    for _ in range(3):
        writer.put(b"two\nthree\n", False)
        writer.drain(5, lambda: None)
    assert said == ["its reader has closed it"]
    assert writer.lost == 6


def test_a_disk_that_is_full_for_a_while(start, pipe, monkeypatch):
    full = threading.Event()
    full.set()
    write = os.write

    def limited(descriptor, data):
        if descriptor == pipe[1] and full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", limited)
    writer, said = start(pipe[1])
    writer.put(b"one\n", False)
    writer.put(b"two\n", True)
    time.sleep(0.5)
    full.clear()
    writer.drain(20, lambda: None)
    os.close(pipe[1])
    assert read_all(pipe[0]) == b"one\ntwo\n"
    assert said == ["No space left on device"]
    assert writer.lost == 0


def test_a_disk_that_stays_full_is_given_up_soon(start):
    with open("/dev/full", "wb", buffering=0) as file:
        writer, said = start(file.fileno())
        writer.put(b"one\ntwo\n", False)
        begin = time.monotonic()
        writer.drain(600, lambda: None)
        assert time.monotonic() - begin < 10
        assert writer.lost == 2
        assert said == ["No space left on device"]


def test_waiting_for_a_reader_is_said_and_ends(start, pipe, monkeypatch):
    monkeypatch.setattr(module, "WORD_SECONDS", 0.2)
    monkeypatch.setattr(Outlet, "enlarge", lambda self, num_bytes: None)
    writer, _ = start(pipe[1])
    for _ in range(1000):
        writer.put(b"x" * 99 + b"\n", False)
    words = []
    begin = time.monotonic()
    writer.drain(0.6, lambda: words.append("waits"))
    assert 0.5 < time.monotonic() - begin < 20
    assert words == ["waits"]
    assert writer.lost > 300


class TestOutlet:
    def test_a_pipe(self, pipe):
        outlet = Outlet(pipe[1])
        assert outlet.state() is State.READY
        os.set_blocking(pipe[1], False)
        for _ in range(65536 // CHUNK):
            os.write(pipe[1], b"x" * CHUNK)
        assert outlet.state() is State.FULL
        outlet.enlarge(50_000)
        assert outlet.state() is State.READY
        os.close(pipe[0])
        assert outlet.state() is State.GONE

    def test_what_is_closed(self, pipe):
        outlet = Outlet(pipe[1])
        os.close(pipe[1])
        assert outlet.state() is State.GONE

    def test_behind_a_launcher(self, pipe, tmp_path):
        behind, own = f"/proc/{os.getpid()}/fd/{pipe[1]}", os.open(os.devnull, os.O_WRONLY)
        outlet = Outlet(own, behind)
        try:
            assert outlet.state() is State.READY
            os.write(pipe[1], b"x" * 40_000)  # more than half of what a pipe holds
            assert outlet.state() is State.FULL
            os.read(pipe[0], 20_000)
            assert outlet.state() is State.READY
            os.close(pipe[0])
            assert outlet.state() is State.GONE
            with open("/dev/full", "wb") as full, pytest.raises(OSError, match="No space"):
                Outlet(own, f"/proc/{os.getpid()}/fd/{full.fileno()}").state()
            for mode, state in ((os.O_WRONLY, State.READY), (os.O_RDONLY, State.GONE)):
                for path in (os.devnull, tmp_path / "file"):
                    opened = os.open(path, mode | os.O_CREAT)
                    assert Outlet(own, f"/proc/{os.getpid()}/fd/{opened}").state() is state
                    os.close(opened)
            assert Outlet(own, f"/proc/{os.getpid()}/fd/99999").state() is State.GONE  # closed
        finally:
            os.close(own)


def test_lines_that_are_written_after_a_short_wait_are_not_lost(start, pipe, monkeypatch):
    monkeypatch.setattr(Outlet, "enlarge", lambda self, num_bytes: None)
    writer, _ = start(pipe[1])
    for _ in range(1000):
        writer.put(b"x" * 99 + b"\n", False)
    writer.drain(0.3, lambda: None)
    assert writer.lost > 300
    reader = threading.Thread(target=read_all, args=(pipe[0],), daemon=True)
    reader.start()
    writer.drain(20, lambda: None)
    assert writer.lost == 0
    os.close(pipe[1])
    reader.join(20)
