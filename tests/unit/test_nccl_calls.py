"""Calls of NCCL as CuPy takes them (device/nccl.py), with a module that writes them down in place of CuPy's.

Signatures as in CuPy 14: send(buffer, count, datatype, peer, stream), recv the same, allGather(sendbuf, recvbuf, count,
datatype, stream), where count is that of one rank, and for a communicator (number of ranks, identifier, rank).
"""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

from mpitrain.errors import UserError

CALLS = []


class Communicator:
    def __init__(self, ndev, comm_id, rank):
        CALLS.append(("make", ndev, comm_id, rank))

    def send(self, sendbuf, count, datatype, peer, stream):
        CALLS.append(("send", sendbuf, count, datatype, peer, stream))

    def recv(self, recvbuf, count, datatype, peer, stream):
        CALLS.append(("recv", recvbuf, count, datatype, peer, stream))

    def allGather(self, sendbuf, recvbuf, count, datatype, stream):
        CALLS.append(("allGather", sendbuf, recvbuf, count, datatype, stream))

    def destroy(self):
        CALLS.append(("destroy",))


class Stream:
    """A stream that writes down what is queued on it."""

    stream = SimpleNamespace(ptr=77)

    def wait_for(self, event):
        CALLS.append(("wait for", event))

    def record(self):
        CALLS.append(("record",))
        return "the end"


@pytest.fixture
def nccl(monkeypatch):
    """The module under test, over CuPy's names."""
    CALLS.clear()
    names = {"NCCL_FLOAT32": 7, "NCCL_FLOAT64": 8, "NCCL_UINT8": 1, "NCCL_SUM": 0}
    fake = SimpleNamespace(available=True, NcclCommunicator=Communicator, get_unique_id=lambda: b"id", **names)
    fake.groupStart, fake.groupEnd = (lambda name=name: CALLS.append((name,)) for name in ("groupStart", "groupEnd"))
    cuda = ModuleType("cupy.cuda")
    cuda.nccl = fake
    for name, module in (("cupy", ModuleType("cupy")), ("cupy.cuda", cuda)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "mpitrain.device.nccl", raising=False)
    yield importlib.import_module("mpitrain.device.nccl"), fake
    sys.modules.pop("mpitrain.device.nccl", None)


def test_messages_are_bytes_behind_an_event(nccl):
    """On one stream: the wait, the call with address and length in bytes, and the event at its end."""
    module, _ = nccl
    group = module.NcclGroup(SimpleNamespace(stream=Stream), b"id", 3, 2)
    array = SimpleNamespace(data=SimpleNamespace(ptr=4096), nbytes=40, size=10)
    assert group.send(array, 1, "computed") == "the end"
    assert group.receive(array, 0, "free") == "the end"
    group.free()
    assert [
        ("make", 3, b"id", 2),
        *(("wait for", "computed"), ("send", 4096, 40, 1, 1, 77), ("record",)),
        *(("wait for", "free"), ("recv", 4096, 40, 1, 0, 77), ("record",)),
        ("destroy",),
    ] == CALLS


def test_exchanges_are_of_bytes(nccl):
    """An all-to-all is a group of messages with all ranks, this one too; an all-gather is in place."""
    module, _ = nccl
    group = module.NcclGroup(SimpleNamespace(stream=Stream, compute=Stream()), b"id", 2, 1)
    array, result = (SimpleNamespace(data=SimpleNamespace(ptr=ptr), nbytes=80, size=40) for ptr in (4096, 8192))
    assert group.all_to_all(array, result) == "the end"
    assert group.all_gather(array) == "the end"
    begin = [("record",), ("wait for", "the end")]
    assert CALLS[1:] == [
        *begin,
        ("groupStart",),
        *(("send", 4096, 40, 1, 0, 77), ("recv", 8192, 40, 1, 0, 77)),
        *(("send", 4136, 40, 1, 1, 77), ("recv", 8232, 40, 1, 1, 77)),
        *(("groupEnd",), ("record",)),
        *begin,
        *(("allGather", 4136, 4096, 40, 1, 77), ("record",)),
    ]


def test_nccl_is_not_installed(nccl):
    module, fake = nccl
    fake.available = False
    for call in (module.make_id, lambda: module.NcclGroup(None, b"id", 3, 2)):
        with pytest.raises(UserError, match=r"^NCCL is not installed: pip install nvidia-nccl-cu12 \(or cu13\)"):
            call()
