"""Sounds as numbers: decoding, resampling and log-mel features, against other implementations."""

import math
import struct
import wave

import numpy as np
import pytest

from mpitrain.data.audio.features import FLOOR, LogMel, fit_length, triangles
from mpitrain.data.audio.resample import resample
from mpitrain.data.audio.waveform import read_waveform
from mpitrain.data.media.form import Undecodable
from mpitrain.errors import UserError

SEED = int(np.random.SeedSequence().generate_state(1)[0])
RNG = np.random.default_rng(SEED)


@pytest.fixture(autouse=True)
def print_seed():
    print(f"seed {SEED}")


def tone(rate, hertz, seconds=0.5):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def write_wave(path, samples, rate=8000, width=2):
    """Write (N,) or (N, channels) numbers from -1 to 1 as a WAV file of whole numbers."""
    samples = np.atleast_2d(samples.T).T
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], width, rate, len(samples), "NONE", ""))
        if width == 1:
            data = (np.rint(samples * 127) + 128).astype(np.uint8).tobytes()
        else:
            whole = np.rint(samples * (2 ** (8 * width - 1) - 1)).astype("<i4")
            data = whole.reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
        file.writeframes(data)
    return str(path)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_wave_files(tmp_path, width, channels):
    samples = RNG.uniform(-1, 1, (301, channels))
    sound = read_waveform(write_wave(tmp_path / "a.wav", samples, 11025, width))
    assert sound.rate == 11025
    assert sound.kind.startswith(f"WAV {8 * width} bits")
    np.testing.assert_allclose(sound.samples, samples.mean(axis=1), atol=1.6 * 2.0 ** (1 - 8 * width))
    soundfile = pytest.importorskip("soundfile")
    expected, _ = soundfile.read(tmp_path / "a.wav", always_2d=True)
    np.testing.assert_allclose(sound.samples, expected.mean(axis=1), atol=1e-12)


@pytest.mark.parametrize(("name", "subtype"), [("a.flac", "PCM_16"), ("a.ogg", "VORBIS"), ("a.wav", "FLOAT")])
def test_other_files(tmp_path, name, subtype):
    soundfile = pytest.importorskip("soundfile")
    samples = np.stack([tone(16000, 440), tone(16000, 440)], axis=1)
    soundfile.write(tmp_path / name, samples, 16000, subtype=subtype)
    sound = read_waveform(str(tmp_path / name))
    assert sound.rate == 16000
    assert sound.kind.endswith("stereo")
    np.testing.assert_allclose(sound.samples, samples.mean(axis=1), atol=0.1 if name == "a.ogg" else 1e-4)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.6, 0.99])
def test_truncated_files(tmp_path, name, share):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / name
    soundfile.write(path, RNG.uniform(-1, 1, 20_000), 16000)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(Undecodable):
        read_waveform(str(path))


@pytest.mark.parametrize("bad", ["text", "nothing inside", "nan", "no file", "folder"])
def test_bad_files(tmp_path, bad):
    path = tmp_path / "a.wav"
    if bad == "text":
        path.write_text("no sound, but text that is longer than a header")
    elif bad == "nothing inside":
        write_wave(path, np.zeros(0))
    elif bad == "nan":
        pytest.importorskip("soundfile").write(path, np.array([0.1, np.nan]), 8000, subtype="FLOAT")
    elif bad == "folder":
        path.mkdir()
    with pytest.raises(UserError if bad in ("no file", "folder") else Undecodable) as error:
        read_waveform(str(path))
    assert "\n" not in str(error.value)


def test_a_stream_of_unknown_length(tmp_path):
    """As programs write that do not go back to the header."""
    path = tmp_path / "a.wav"
    write_wave(path, tone(8000, 440))
    data = bytearray(path.read_bytes())
    data[40:44] = struct.pack("<I", 0xFFFFFFFE)
    path.write_bytes(data)
    np.testing.assert_allclose(read_waveform(str(path)).samples, tone(8000, 440), atol=1e-4)


def test_soundfile_is_not_installed(tmp_path, monkeypatch):
    (tmp_path / "a.flac").write_bytes(b"fLaC")
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(UserError, match=r"needs soundfile, .*pip install 'mpitrain\[audio\]'"):
        read_waveform(str(tmp_path / "a.flac"))
    assert read_waveform(write_wave(tmp_path / "a.wav", tone(8000, 440))).samples.size == 4000


@pytest.mark.parametrize(
    ("rate", "wanted"), [(8000, 16000), (44100, 16000), (22050, 16000), (16000, 8000), (3, 7), (5, 2)]
)
@pytest.mark.parametrize("count", [1, 2, 50, 777])
def test_resampling_is_that_of_scipy(rate, wanted, count):
    signal = pytest.importorskip("scipy.signal")
    x = RNG.standard_normal(count)
    common = math.gcd(rate, wanted)
    expected = signal.resample_poly(x, wanted // common, rate // common)
    found = resample(x, rate, wanted)
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        found, expected, atol=1e-3 * np.abs(x).max()
    )  # the sum of the taps is another by a little


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 16000), (44100, 16000), (48000, 8000)])
def test_tones_keep_their_pitch(rate, wanted):
    found, expected = resample(tone(rate, 440), rate, wanted), tone(wanted, 440)
    middle = slice(500, -500)
    np.testing.assert_allclose(found[middle], expected[middle], atol=2e-3)
    too_high = resample(tone(44100, 9000), 44100, 16000)
    assert np.abs(too_high[500:-500]).max() < 0.02  # it would be an alias at 7 kHz


def plain_features(x, rate, window, hop, fft, mels):
    """The formula in plain loops, by a discrete Fourier transform as a matrix."""
    hann = np.array([0.5 - 0.5 * math.cos(2 * math.pi * w / window) for w in range(window)])
    matrix = np.exp(-2j * np.pi * np.outer(np.arange(fft // 2 + 1), np.arange(window)) / fft)
    mel = lambda f: 2595 * math.log10(1 + f / 700)  # noqa: E731
    corners = [700 * (10 ** (mel(rate / 2) * k / (mels + 1) / 2595) - 1) for k in range(mels + 2)]
    rows = []
    for start in range(0, len(x) - window + 1, hop):
        power = np.abs(matrix @ (hann * x[start : start + window])) ** 2
        row = []
        for low, middle, high in zip(corners, corners[1:], corners[2:]):
            total = 0.0
            for k, p in enumerate(power):
                f = k * rate / fft
                if low < f < high:
                    total += p * ((f - low) / (middle - low) if f <= middle else (high - f) / (high - middle))
            row.append(math.log(max(total, 1e-6)))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(
    ("window", "hop", "mels", "fft"), [(200, 80, 20, 256), (256, 100, 23, 256), (129, 129, 12, 256)]
)
def test_features_follow_the_formula(window, hop, mels, fft):
    x = RNG.standard_normal(1000) * 0.1
    features = LogMel(8000, 1000, window, hop, mels)
    assert features.fft == fft
    found = features(x)
    assert found.shape == (features.num_frames, mels)
    np.testing.assert_allclose(found, plain_features(x, 8000, window, hop, fft, mels), rtol=1e-9)


def test_a_tone_is_in_its_band_and_silence_is_the_floor():
    features = LogMel(16000, 16000, 400, 160, 40)
    found = features(tone(16000, 1000, 1.0))
    band = np.argmax(triangles(16000, 512, 40)[32])  # 1000 Hz of 31.25 Hz each
    assert (found.argmax(axis=1) == band).all()
    assert found.shape == (98, 40)
    np.testing.assert_array_equal(features(np.zeros(16000)), np.log(FLOOR))


def test_bands_without_a_frequency_are_counted():
    assert LogMel(16000, 16000, 400, 160, 40).empty_bands() == 0
    assert LogMel(16000, 16000, 100, 160, 80).empty_bands() > 0


@pytest.mark.parametrize(("count", "wanted"), [(5, 5), (5, 8), (5, 9), (8, 5), (9, 5), (1, 2)])
def test_lengths(count, wanted):
    x = np.arange(1.0, count + 1)
    found = fit_length(x, wanted)
    assert len(found) == wanted
    kept = found[found > 0]
    assert len(kept) == min(count, wanted)
    assert abs(kept.mean() - x.mean()) <= 0.5
    before, after = np.argmax(found > 0), np.argmax(found[::-1] > 0)
    assert after - before in (0, 1)
