"""Kernels on a GPU, launched by the tests that launch them on the CPU: pytest tests/kernels --gpu.

A test's arrays lie in the host's memory, with guards around them. Before a launch every buffer that holds one goes to
the GPU whole, addresses in records and tensor maps are translated, and after it all bytes come back: so guards
count on a GPU too. ``device`` may also be one that stands for a GPU, which proves the translation.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpitrain.device import Im2colMap, TensorMap, join_maps
from mpitrain.kernels.kernel import kernel, text_of
from mpitrain.kernels.launch import launch
from mpitrain.kernels.plan import Launch
from tests.kernels import cpu
from tests.kernels.products import gemm

# About the shim, or about what compilers make: the same with and without a GPU. How the names of such files begin.
ELSEWHERE = "test_broken", "test_bounds", "test_plans", "test_compile", "test_cpu_sanitizers", "test_lab"
ALIGNMENT = 1024  # what addresses are equal to, modulo this, on both sides


class Buffers:
    """Copies on ``device`` of the buffers that hold ``arrays``."""

    def __init__(self, device: Any, arrays: Sequence[np.ndarray]):
        self._device = device
        self._copies: list[tuple[np.ndarray, Any, int]] = []  # bytes of the host, memory of the device, address in it
        for whole in {root.ctypes.data: root for root in map(_root, arrays) if root.nbytes}.values():
            host = np.frombuffer((ctypes.c_char * whole.nbytes).from_address(whole.ctypes.data), np.uint8)
            memory = device.empty((whole.nbytes + ALIGNMENT,), np.uint8)
            offset = (whole.ctypes.data - memory.data.ptr) % ALIGNMENT
            self._copies.append((host, memory[offset : offset + host.size], memory.data.ptr + offset))
            self._copies[-1][1][...] = device.from_host(host)

    def address(self, of_host: int) -> int:
        """Return where the byte at ``of_host`` is on the device; 0 stays 0."""
        for host, _, address in self._copies:
            if 0 <= of_host - host.ctypes.data < host.size:
                return address + of_host - host.ctypes.data
        assert of_host == 0, "an address in no buffer that the launch was told of"
        return 0

    def come_back(self) -> None:
        """Copy all bytes to the host."""
        for host, memory, _ in self._copies:
            host[...] = self._device.to_host(memory)


class Kernels:
    """The kernels of one file, as ``cpu.Kernels``."""

    def __init__(self, device: Any, file: str, macros: dict[str, int]):
        self._device, self._file, self._macros = device, file, macros

    def macro(self, name: str) -> int:
        """Return a tile size: the one given to build, else the default in the file."""
        return cpu.macro_of(text_of(self._file), self._macros, name)

    def launch(
        self,
        name: str,
        *,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[np.ndarray],
        seed: int = 0,
        shared_bytes: int = 0,
        memory: Sequence[np.ndarray] = (),
    ) -> None:
        """Run a kernel on copies of its arrays, and of those in ``memory``, to which its records point."""
        what = kernel(self._file, self._macros, name=name)
        if not what.fits(self._device.arch):  # Hopper's kernels have instructions that no other GPU knows
            pytest.skip(f"{what} does not run on {self._device.arch}")
        buffers = Buffers(self._device, [*(a for a in arguments if a.ndim), *memory])
        values = [self._value(argument, buffers) for argument in arguments]
        plan = Launch(tuple(grid), tuple(block), shared_bytes)
        launch(self._device, what, plan, values)
        buffers.come_back()

    def _value(self, argument: np.ndarray, buffers: Buffers) -> np.ndarray:
        if argument.ndim:
            return np.array(buffers.address(argument.ctypes.data) if argument.nbytes else 0, np.uint64)
        if argument.dtype.kind == "V" and argument.dtype.names is None:  # several maps
            maps = np.frombuffer(argument.tobytes(), gemm.TENSOR_MAP)
            return join_maps([self._device.tensor_map(self._planned(each, buffers)) for each in maps])
        if argument.dtype == gemm.TENSOR_MAP:
            return self._device.tensor_map(self._planned(argument, buffers))
        return _translated(argument, buffers)

    def _planned(self, shim_map: np.ndarray, buffers: Buffers) -> TensorMap | Im2colMap:
        """Return the map for the device; where there is nothing to read, the driver still requires one element."""
        address, element_bytes = buffers.address(int(shim_map["base"])), int(shim_map["element_bytes"])
        rank = int(shim_map["rank"])
        box = tuple(int(x) for x in shim_map["box"][:rank])
        size = tuple(max(1, int(x)) for x in shim_map["size"][:rank])
        row, matrix, batch = (int(x) for x in shim_map["stride"][1:])
        if not shim_map["im2col"]:
            return TensorMap(address, element_bytes, size, row, matrix, box, batch)
        lower, upper, step = (tuple(map(int, shim_map[name])) for name in ("lower", "upper", "step"))
        return Im2colMap(address, element_bytes, size, (row, matrix, batch), box[:2], lower, upper, step)


def build(device: Any, name: str, folder: Path | None = None, **macros: int) -> Kernels:
    """Return the kernels of a file (``cpu.build``); they are compiled when they are launched."""
    return Kernels(device, str(folder / name) if folder else name, macros)


def _translated(argument: np.ndarray, buffers: Buffers) -> np.ndarray:
    """Return a number as it is, and a record with the device's addresses: its numbers of 64 bits without sign."""
    record = argument.copy()
    for name in argument.dtype.names or ():
        if argument.dtype[name] == np.uint64:
            record[name] = buffers.address(int(record[name]))
        elif argument.dtype[name].names:
            record[name] = _translated(record[name], buffers)
    return record


def _root(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
