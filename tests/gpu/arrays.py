"""Arrays that stand for CuPy's: what NumPy functions they answer, CuPy's answer too, and by the same arguments.

What CuPy has not, or takes other arguments for, is refused (cupy.json: read off CuPy 14).
Mixing with NumPy's arrays is refused, as by CuPy. So is every conversion to a number, a truth value or a NumPy
array: CuPy would wait for the GPU there, and a training step must not wait where nobody sees it.
matmul, dot and their kin are cuBLAS's in CuPy. The extras cuda12 and cuda13 do not install it, so they are refused as
CuPy refuses them then: products are our kernels' work. ``device.cublas`` says that it is installed; while work is
captured CuPy refuses them all the same.
"""

import json
from pathlib import Path

import numpy as np

CUPY = json.loads(Path(__file__).with_name("cupy.json").read_text())
SCALARS = (bool, int, float, complex, np.generic)
REDUCTIONS = {"add": "sum", "multiply": "prod"}  # CuPy's ufuncs have no other reduce
CUBLAS = {"matmul", "dot", "vdot", "inner", "tensordot", "einsum", "cov", "corrcoef", "asfortranarray"}
MISSING = 'Failure finding "libcublas.so": No such file: libcublas.so*'  # of CuPy 14's ImportError
CAPTURED = "calling cuBLAS API during stream capture is currently unsupported"  # of its NotImplementedError


class HiddenSync(AssertionError):
    """The GPU would be waited for in a place that does not say so."""


class NotOnCuPy(TypeError):
    """CuPy cannot do this."""


def refuse_number(self, *args):
    raise HiddenSync("an array of the device was turned into a number")


class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """An array of a device.

    Parameters
    ----------
    memory : np.ndarray
    device : CountingDevice
    """

    def __init__(self, memory, device):
        self.memory, self.device = memory, device

    shape = property(lambda self: self.memory.shape)
    ndim = property(lambda self: self.memory.ndim)
    size = property(lambda self: self.memory.size)
    dtype = property(lambda self: self.memory.dtype)
    itemsize = property(lambda self: self.memory.itemsize)
    nbytes = property(lambda self: self.memory.nbytes)
    strides = property(lambda self: self.memory.strides)
    flags = property(lambda self: self.memory.flags)
    T = property(lambda self: self._view(self.memory.T))
    data = property(lambda self: Pointer(self.memory.ctypes.data))

    __float__ = __int__ = __bool__ = __index__ = __complex__ = item = tolist = get = refuse_number

    def __array__(self, *args, **kwargs):
        raise HiddenSync("an array of the device was turned into one of NumPy")

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return len(self.memory)

    def __getitem__(self, key):
        found = self.memory[unwrap_key(key)]
        basic = isinstance(found, np.ndarray) and np.shares_memory(found, self.memory)
        if basic or not np.size(found):
            return self._view(found)
        if np.ndim(found) == 0:  # a scalar of NumPy's is a view of no dimensions of CuPy's
            return self._view(self.memory[(*np.atleast_1d(unwrap_key(key)), ...)] if self.ndim == 1 else found)
        return self.device.made(lambda: self.memory[unwrap_key(key)])

    def __setitem__(self, key, value):
        key, value = unwrap_key(key), unwrap(value)
        self.device.do(lambda: self.memory.__setitem__(key, value))

    def _view(self, memory):
        return Array(np.asarray(memory), self.device)

    def reshape(self, *shape):
        found = self.memory.reshape(*shape)
        if np.shares_memory(found, self.memory) or not found.size:
            return self._view(found)
        return self.device.made(lambda: self.memory.reshape(*shape))

    def transpose(self, *axes):
        return self._view(self.memory.transpose(*axes))

    def swapaxes(self, a, b):
        return self._view(self.memory.swapaxes(a, b))

    def view(self, dtype):
        return self._view(self.memory.view(dtype))

    def fill(self, value):
        value = unwrap(value)
        self.device.do(lambda: self.memory.fill(value))

    def copy(self):
        return self.device.made(self.memory.copy)

    def astype(self, dtype, copy=True):
        if not copy and self.dtype == dtype:
            return self
        return self.device.made(lambda: self.memory.astype(dtype))

    def dot(self, other, out=None):
        return np.dot(self, other, out=out)

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        return self.device.run(np.sum, (self,), {"axis": axis, "dtype": dtype, "out": out, "keepdims": keepdims})

    def max(self, axis=None, out=None, keepdims=False):
        return self.device.run(np.max, (self,), {"axis": axis, "out": out, "keepdims": keepdims})

    def min(self, axis=None, out=None, keepdims=False):
        return self.device.run(np.min, (self,), {"axis": axis, "out": out, "keepdims": keepdims})

    def argmax(self, axis=None, dtype=None, out=None, keepdims=False):
        return self.device.run(np.argmax, (self,), {"axis": axis, "out": out, "keepdims": keepdims})

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        name = ufunc.__name__
        if name in CUBLAS:
            self.device.call_cublas()
        if name not in CUPY["ufuncs"]:
            raise NotOnCuPy(f"CuPy has no ufunc {name}")
        if method == "reduce" and name not in REDUCTIONS:
            raise NotOnCuPy(f"CuPy has no {name}.reduce")
        allowed = {"__call__": {"out", "casting", "dtype", "where"}, "reduce": {"axis", "dtype", "out", "keepdims"}}
        if method not in allowed or not set(kwargs) <= allowed[method]:
            raise NotOnCuPy(f"CuPy's {name}.{method} does not take {', '.join(kwargs) or 'that'}")
        out = kwargs.get("out", (None,))
        if isinstance(out, tuple):
            kwargs = {**kwargs, "out": out[0]}
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        return self.device.run(function, inputs, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        name = function.__name__
        if name in CUBLAS or function.__module__ == "numpy.linalg":  # whose functions call cuSOLVER too
            self.device.call_cublas()
        if name not in CUPY["functions"]:
            raise NotOnCuPy(f"CuPy has no {name}")
        parameters = CUPY["functions"][name]
        if parameters is not None and not (set(kwargs) <= set(parameters) and len(args) <= len(parameters)):
            raise NotOnCuPy(f"CuPy's {name} takes {parameters}, not {list(kwargs)}")
        return self.device.run(function, args, kwargs)


class Pointer:
    """The address of an array, in the form of CuPy's ``ndarray.data``."""

    def __init__(self, ptr):
        self.ptr = ptr


def unwrap(value):
    """Return the memory behind an argument; NumPy's arrays are refused."""
    if isinstance(value, Array):
        return value.memory
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(item) for item in value)
    if isinstance(value, np.ndarray):
        raise NotOnCuPy("a NumPy array was mixed with one of the device")
    return value


def unwrap_key(key):
    """Return an index; one that looks at values (a mask) would make the GPU be waited for."""
    keys = key if isinstance(key, tuple) else (key,)
    if any(isinstance(k, Array) and k.dtype == bool for k in keys):
        raise HiddenSync("a mask was used as an index")
    return unwrap(key)
