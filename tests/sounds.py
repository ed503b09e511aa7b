"""Small sets of sounds for tests: WAV files of tones, high and low, in folders of classes."""

import wave
from pathlib import Path

import numpy as np

PITCHES = {"high": 1500.0, "low": 400.0}


def write_tone(path: Path, hertz: float, seed: int, rate: int = 8000, seconds: float = 0.3) -> None:
    """Write a tone with noise, mono, 16 bits."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(rate * seconds)) / rate
    samples = 0.4 * np.sin(2 * np.pi * hertz * rng.uniform(0.9, 1.1) * time) + 0.05 * rng.standard_normal(len(time))
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, len(time), "NONE", ""))
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


def write_tones(root: Path, count: int = 20) -> None:
    """Write ``count`` sounds of each class, a folder each."""
    for name, hertz in PITCHES.items():
        for number in range(count):
            write_tone(root / name / f"{number}.wav", hertz, number)
