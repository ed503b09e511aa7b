"""A pytest plugin: the kernels in C are those of another process, which may be another machine's (remote.c).

MPITRAIN_REMOTE is the command that starts it.
"""

import os
import shlex
import struct
import subprocess

import numpy as np

from mpitrain import cpu_kernels

TYPES = {"f": np.float32, "o": np.float32, "s": np.float32, "d": np.float64, "b": np.uint8, "p": np.uint8}
TYPES |= {"l": np.int64, "m": np.int64}


class Remote:
    """Stands for the extension module: the same names, the level "baseline"."""

    BUILD = cpu_kernels.BUILD

    def __init__(self, command):
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._threads = 1
        self._kinds = {}
        while line := self._process.stdout.readline().split():
            self._kinds[line[0].decode()] = len(self._kinds), line[1].decode()

    def __getattr__(self, name):
        try:
            number, kinds = self._kinds[name]
        except KeyError:
            raise AttributeError(name) from None
        return lambda *arguments: self._call(number, kinds, arguments)

    def _call(self, number, kinds, arguments):
        assert len(kinds) == len(arguments)
        pairs = list(zip(kinds, arguments, strict=True))
        if not all(_fits(kind, argument) for kind, argument in pairs):
            return False
        self._send(struct.pack("<q", number) + b"".join(_packed(kind, argument) for kind, argument in pairs))
        (done,) = struct.unpack("<q", self._receive(8))
        for kind, argument in pairs:
            if kind.isupper():
                argument[...] = np.frombuffer(self._receive(argument.nbytes), argument.dtype).reshape(argument.shape)
        return bool(done)

    def _send(self, message):
        self._process.stdin.write(message)
        self._process.stdin.flush()

    def _receive(self, count):
        found = self._process.stdout.read(count)
        assert len(found) == count, "the kernels' process has died"
        return found

    def use_threads(self, count):
        self._threads = count
        self._send(struct.pack("<q", -count))

    def threads(self):
        return self._threads

    def levels(self):
        return ["baseline"]

    def level(self):
        return "baseline"

    def use_level(self, name):
        return name == "baseline"


def _fits(kind, argument):
    if kind in "ix" or (argument is None and kind in "opm"):
        return True
    dtypes = (np.bool_, np.uint8) if kind.lower() in "bp" else (TYPES[kind.lower()],)
    flags = argument.flags
    return (
        argument.dtype in [np.dtype(t) for t in dtypes]
        and (flags.c_contiguous or kind in "sS")  # those arrive there in a row
        and (kind.islower() or flags.writeable)
    )


def _packed(kind, argument):
    if kind == "i":
        return struct.pack("<q", int(argument))
    if kind == "x":
        return struct.pack("<d", argument)
    if argument is None:
        return struct.pack("<q", -1)
    numbers = (argument.nbytes, argument.size, argument.ndim, *argument.shape)
    return struct.pack(f"<{len(numbers)}q", *numbers) + argument.tobytes()


cpu_kernels.C = Remote(shlex.split(os.environ["MPITRAIN_REMOTE"]))
