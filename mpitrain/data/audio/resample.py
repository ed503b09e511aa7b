"""Resampling by a rational factor: a polyphase windowed-sinc filter.

Shapes: N samples; U, D factors of the change up and down, without a common divisor; K taps of a phase.

The signal is filled up with U - 1 zeros after each sample, filtered, and every D-th result is taken; zeros are never
multiplied. The filter is a sinc with its cutoff at the lower of both Nyquist frequencies, under a Kaiser window (of
beta 5) of 20 max(U, D) + 1 taps. Source: Crochiere and Rabiner 1983, "Multirate Digital Signal Processing", chapter
4; the length and window are those of ``scipy.signal.resample_poly``.
"""

import functools
import math

import numpy as np

ZEROS, BETA = 10, 5.0  # zeros of the sinc on each side, and the shape of its window
_CHUNK = 1 << 15  # results at a time


def resample(x: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return (N,) samples of ``rate`` as float64 samples of the ``wanted`` rate: ceil(N U / D) of them.

    >>> resample(np.ones(1000), 2, 1)[200:205].round(3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    common = math.gcd(rate, wanted)
    up, down = wanted // common, rate // common
    if up == down:
        return x.astype(np.float64, copy=False)
    phases, before = _phases(up, down)  # (U, K)
    taps = phases.shape[1]
    count = -(-len(x) * up // down)
    padded = np.concatenate([np.zeros(before), x, np.zeros(taps)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps)
    out = np.empty(count)
    for first in range(0, count, _CHUNK):
        places = np.arange(first, min(first + _CHUNK, count)) * down
        np.einsum("nk,nk->n", windows[places // up], phases[places % up], out=out[first : first + len(places)])
    return out


@functools.lru_cache(maxsize=16)
def _phases(up: int, down: int) -> tuple[np.ndarray, int]:
    """Return the taps of each phase (U, K), in the order of the samples, and the samples before that of a result.

    Result m is at m D in the signal that is filled up. It is the sum over samples k of x[k] h[half + m D - k U]; with
    k = (m D) // U + j, the argument is half + phase - j U, phase = (m D) mod U.
    """
    longest = max(up, down)
    half = ZEROS * longest
    t = np.arange(-half, half + 1)
    h = np.sinc(t / longest) * np.kaiser(2 * half + 1, BETA)
    h *= up / h.sum()
    before, after = half // up, (half + up - 1) // up
    j = np.arange(-before, after + 1)
    at = half + np.arange(up)[:, None] - j * up
    inside = (at >= 0) & (at < len(h))
    return np.where(inside, h[np.clip(at, 0, len(h) - 1)], 0.0), before
