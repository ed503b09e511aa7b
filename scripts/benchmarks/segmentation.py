"""Segmentation of real data, against the same network in PyTorch: nuclei of cells in a microscope image.

The image and its labels (512 x 512 pixels) are those in the wheel of stardist 0.9.1, which is downloaded, not
installed: background, inside and border of nuclei, tiles of 64 x 64 pixels. The right quarter is only tested on. Both
train a U-Net with Adam for the same number of steps; the mean IoU of classes over all test pixels is compared.

    scripts/bench segmentation [--ranks N] [--epochs N] [--seeds N] [--wheel FILE]
"""

import argparse
import io
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
from torch import nn

SIDE, STRIDE, CLASSES = 64, 32, 3
BATCH, LR, DEPTH, WIDTH = 16, 0.002, 2, 16
PATIENCE = 1800.0  # seconds for one training


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench segmentation", description=__doc__.split("\n\n")[0])
    parser.add_argument("--ranks", type=int, default=2, metavar="N", help="ranks (2)")
    parser.add_argument("--epochs", type=int, default=40, metavar="N", help="epochs (40)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each (3)")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="the wheel of stardist, if it is here already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_tiles(options.wheel or download(folder), folder / "nuclei.npz")
        scores: dict[str, list[float]] = {"mpitrain": [], "PyTorch": []}
        for seed in range(options.seeds):
            scores["mpitrain"].append(ours(folder, options.ranks, options.epochs, seed))
            scores["PyTorch"].append(theirs(folder / "nuclei.npz", options.epochs, seed))
            print(f"seed {seed}  " + "  ".join(f"{who} {found[-1]:.4f}" for who, found in scores.items()), flush=True)
    for who, found in scores.items():
        print(f"{who}: mean IoU {statistics.mean(found):.4f} +- {statistics.pstdev(found):.4f}")
    return 0


def download(folder: Path) -> Path:
    """Return the wheel with the image."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(folder), "stardist==0.9.1"]
    subprocess.run(command, check=True, timeout=PATIENCE)
    return next(folder.glob("stardist*.whl"))


def make_tiles(wheel: Path, path: Path) -> None:
    """Write tiles of the image and the classes of their pixels."""
    from PIL import Image

    with zipfile.ZipFile(wheel) as archive:
        image, labels = (
            np.array(Image.open(io.BytesIO(archive.read(f"stardist/data/images/{name}2d.tif")))).astype(np.int64)
            for name in ("img", "mask")
        )
    image = np.minimum(image, 255).astype(np.uint8)
    border = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        differs = np.diff(labels, axis=axis) != 0
        border |= np.pad(differs, [(0, 1) if a == axis else (0, 0) for a in (0, 1)])
        border |= np.pad(differs, [(1, 0) if a == axis else (0, 0) for a in (0, 1)])
    y = np.where(labels == 0, 0, np.where(border, 2, 1)).astype(np.int16)
    cut = image.shape[1] * 3 // 4
    parts = {}
    for part, (first, stop, stride) in {"train": (0, cut, STRIDE), "test": (cut, image.shape[1], SIDE)}.items():
        places = [
            (row, column)
            for row in range(0, image.shape[0] - SIDE + 1, stride)
            for column in range(first, stop - SIDE + 1, stride)
        ]
        for key, array in (("x", image), ("y", y)):
            parts[f"{key}_{part}"] = np.stack([array[r : r + SIDE, c : c + SIDE] for r, c in places])
    np.savez(path, **parts)


def ours(folder: Path, ranks: int, epochs: int, seed: int) -> float:
    """Return the mean IoU of a training with mpitrain."""
    words = ["mpirun", "-n", str(ranks), sys.executable, "-m", "mpitrain", "train", "--data", "npz:nuclei.npz"]
    words += ["--model", f"unet:depth={DEPTH},width={WIDTH}", "--optimizer", f"adam:lr={LR}", "--epochs", str(epochs)]
    words += ["--batch-size", str(BATCH), "--seed", str(seed), "--out", f"run{seed}", "--progress", "none"]
    words += ["--schedule", "constant"]
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)
    report = json.loads((folder / f"run{seed}" / "report.json").read_text())
    found: float = report["test"]["miou"]
    return found


class UNet(nn.Module):
    """The network of ``unet:depth=DEPTH,width=WIDTH``."""

    def __init__(self, inputs: int, width: int, below: int):
        super().__init__()
        self.down = block(inputs, width)
        self.below: nn.Module | None = None
        if below:
            self.below = UNet(width, 2 * width, below - 1)
            self.larger = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
            self.up = block(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the images of the block at this height."""
        x = self.down(x)
        if self.below is None:
            return x
        deep = self.larger(self.below(nn.functional.max_pool2d(x, 2)))
        found: torch.Tensor = self.up(torch.cat([x, deep], dim=1))
        return found


def block(inputs: int, width: int) -> nn.Sequential:
    """Return two convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, width):
        conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


def theirs(path: Path, epochs: int, seed: int) -> float:
    """Return the mean IoU of the same training with PyTorch."""
    torch.manual_seed(seed)
    torch.set_num_threads(os.cpu_count() or 1)
    data = np.load(path)
    mean, std = data["x_train"].mean(), data["x_train"].std()
    x, x_test = (
        torch.tensor((data[f"x_{part}"] - mean) / std, dtype=torch.float32)[:, None] for part in ("train", "test")
    )
    y, y_test = (torch.tensor(data[f"y_{part}"].astype(np.int64)) for part in ("train", "test"))
    model = nn.Sequential(UNet(1, WIDTH, DEPTH), nn.Conv2d(WIDTH, CLASSES, 1))
    optimizer = torch.optim.Adam(model.parameters(), LR)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        found = model(x_test).argmax(1)
    shares = [((found == k) & (y_test == k)).sum() / ((found == k) | (y_test == k)).sum() for k in range(CLASSES)]
    return float(sum(shares) / CLASSES)


if __name__ == "__main__":
    raise SystemExit(main())
