"""Log-mel features of sounds.

Shapes: S samples of a sound, T frames of W samples, F frequencies, M bands.

    power[t, f] = |sum over w of hann[w] x[t hop + w] exp(-2 pi i f w / L)|^2,     L the next power of two from W on
    y[t, m]     = log max(sum over f of triangle[m, f] power[t, f], 1e-6)

Triangles have their corners at M + 2 frequencies that are evenly spaced on the mel scale from 0 to half the rate, where
mel(f) = 2595 log10(1 + f / 700), and a height of 1. Sources: Davis and Mermelstein 1980, "Comparison of parametric
representations for monosyllabic word recognition"; O'Shaughnessy 1987, "Speech Communication", page 150 (the scale);
Young et al. 2006, "The HTK Book", section 5.4 (the triangles).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

FLOOR = 1e-6  # of the power of a band: what is below is silence


@dataclass(frozen=True)
class LogMel:
    """Log-mel features of sounds of one length.

    Attributes
    ----------
    rate : int
        Samples per second.
    num_samples : int
        S.
    window, hop : int
        W, and the samples from one frame to the next.
    mels : int
        M.
    """

    rate: int
    num_samples: int
    window: int
    hop: int
    mels: int

    @property
    def num_frames(self) -> int:
        """T: frames that lie inside of the sound."""
        return 1 + (self.num_samples - self.window) // self.hop

    @property
    def fft(self) -> int:
        """L."""
        return 1 << (self.window - 1).bit_length()

    @cached_property
    def _hann(self) -> np.ndarray:
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)

    @cached_property
    def _triangles(self) -> np.ndarray:
        return triangles(self.rate, self.fft, self.mels)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return (T, M) features of (S,) samples, as float64."""
        frames = np.lib.stride_tricks.sliding_window_view(samples, self.window)[:: self.hop]
        spectrum = np.fft.rfft(frames * self._hann, self.fft, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        found: np.ndarray = np.log(np.maximum(power @ self._triangles, FLOOR))
        return found

    def empty_bands(self) -> int:
        """Return the number of bands in which no frequency lies: they are narrower than the FFT tells apart."""
        return int((self._triangles.sum(axis=0) == 0).sum())


def triangles(rate: int, fft: int, mels: int) -> np.ndarray:
    """Return the weights of frequencies in bands, (F, M), F = fft // 2 + 1."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1)
    frequencies = np.arange(fft // 2 + 1)[:, None] * (rate / fft)
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    up, down = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return np.maximum(np.minimum(up, down), 0)


def fit_length(samples: np.ndarray, wanted: int) -> np.ndarray:
    """Return ``wanted`` samples: the middle of a longer sound, a shorter one between silence.

    >>> fit_length(np.array([1.0, 2.0, 3.0]), 5).tolist(), fit_length(np.array([1.0, 2.0, 3.0]), 1).tolist()
    ([0.0, 1.0, 2.0, 3.0, 0.0], [2.0])
    """
    missing = wanted - len(samples)
    if missing <= 0:
        return samples[-missing // 2 : -missing // 2 + wanted]
    return np.pad(samples, (missing // 2, missing - missing // 2))
