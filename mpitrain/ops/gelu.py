"""GELU: y = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2; slope = y' = Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi).

Shapes: x, y, slope the same, any; C-contiguous. The pass goes in blocks that stay in cache.

NumPy has no erf. This one has the form of Hastings 1955 ("Approximations for digital computers"; Abramowitz and
Stegun 7.1.26): erfc(z) = exp(-z^2) (c1 t + ... + c7 t^7), t = 1 / (1 + 0.34 z), z >= 0. Its coefficients were fitted
by Lawson's reweighted least squares on Chebyshev points of t; the largest error is 8e-10, as a test shows.
"""

import math
from collections.abc import Iterator

import numpy as np

from .dispatch import op

BLOCK = 8192
INNER = 0.34
COEFFICIENTS = (
    0.180147656414,
    0.305061452774,
    -0.286042988578,
    1.211197540389,
    -1.250995937784,
    1.087616016446,
    -0.246983740380,
)


def half_erfc(z: np.ndarray, gauss: np.ndarray, out: np.ndarray, t: np.ndarray) -> None:
    """Write erfc(z) / 2 for z >= 0, given ``gauss`` = exp(-z^2); ``t`` is scratch. All (n,)."""
    np.multiply(z, INNER, out=t)
    np.add(t, 1, out=t)
    np.divide(1, t, out=t)
    np.multiply(t, COEFFICIENTS[-1] / 2, out=out)
    for c in COEFFICIENTS[-2::-1]:
        np.add(out, c / 2, out=out)
        np.multiply(out, t, out=out)
    np.multiply(out, gauss, out=out)


@op
def gelu(x: np.ndarray, y: np.ndarray, slope: np.ndarray) -> None:
    """Write y = x Phi(x) and its slope, which may be x itself."""
    scratch = np.empty((3, BLOCK), x.dtype, like=x)
    for block in _blocks(x, y, slope):
        _gelu(*block, *scratch[:, : block[0].size])


@op
def gelu_tanh(x: np.ndarray, y: np.ndarray, slope: np.ndarray) -> None:
    """Write y = x phi and its slope, which may be x itself, with phi = (1 + tanh(a (x + b x^3))) / 2 instead of Phi."""
    scratch = np.empty((2, BLOCK), x.dtype, like=x)
    for block in _blocks(x, y, slope):
        _gelu_tanh(*block, *scratch[:, : block[0].size])


@op
def gelu_dx(slope: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> None:
    """Write dx = dy y'; dx may be dy."""
    np.multiply(dy, slope, out=dx)


def _gelu(
    x: np.ndarray, y: np.ndarray, slope: np.ndarray, gauss: np.ndarray, phi: np.ndarray, scratch: np.ndarray
) -> None:
    np.multiply(x, x, out=gauss)
    np.multiply(gauss, -0.5, out=gauss)
    np.exp(gauss, out=gauss)
    np.abs(x, out=y)
    np.multiply(y, math.sqrt(0.5), out=y)
    half_erfc(y, gauss, phi, scratch)
    np.subtract(x > 0, phi, out=phi)
    np.abs(phi, out=phi)  # Phi(x) = 1 - erfc(|x| / sqrt 2) / 2 for x > 0, else erfc(|x| / sqrt 2) / 2
    np.multiply(x, phi, out=y)
    np.multiply(gauss, 1 / math.sqrt(2 * math.pi), out=gauss)
    np.multiply(gauss, x, out=gauss)
    np.add(phi, gauss, out=slope)


def _gelu_tanh(x: np.ndarray, y: np.ndarray, slope: np.ndarray, square: np.ndarray, phi: np.ndarray) -> None:
    a, b = math.sqrt(2 / math.pi), 0.044715
    np.multiply(x, x, out=square)
    np.multiply(square, a * b, out=phi)
    np.add(phi, a, out=phi)
    np.multiply(phi, x, out=phi)
    np.tanh(phi, out=phi)
    np.add(phi, 1, out=phi)
    np.multiply(phi, 0.5, out=phi)
    np.multiply(x, phi, out=y)
    # slope = phi + y (1 - phi) (2 a + 6 a b x^2), since tanh' = 1 - tanh^2 = 4 phi (1 - phi)
    np.multiply(square, 6 * a * b, out=square)
    np.add(square, 2 * a, out=square)
    np.multiply(square, y, out=square)
    np.subtract(1, phi, out=slope)
    np.multiply(slope, square, out=slope)
    np.add(slope, phi, out=slope)


def _blocks(*arrays: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield corresponding blocks of the arrays."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, BLOCK):
        yield [array[start : start + BLOCK] for array in flat]
