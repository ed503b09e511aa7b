"""A network trained on a folder of real images, against the same network in PyTorch and a random forest.

Five skin tones of emoji (64x64 PNG with alpha, by two vendors) at 32x32 pixels; all pictures of an emoji are either to
train on or to test on. Fetch them first:

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    scripts/bench image_folder --packages . [--seeds 0,1,2] [--epochs 20] [--ranks 2] [--json FILE]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

VENDORS = ("google", "twitter")
TONES = {"1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark"}
SIZE, BATCH, RATE, DECAY = 32, 64, 0.05, 5e-4


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench image_folder", description=__doc__.split("\n\n")[0])
    parser.add_argument("--packages", type=Path, default=Path(), help="folder of the two .tgz files")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores there")
    parser.add_argument("--folder", type=Path, help="for images and runs, which are deleted afterwards")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        counts = unpack(options.packages, folder / "emoji")
        print(f"{counts['train']:,} images to train on, {counts['test']:,} to test on, 5 classes")
        arrays = read(folder / "emoji")
        scores: dict[str, list[float]] = {"mpitrain, resnet8": [], "PyTorch, the same": [], "random forest": []}
        for seed in map(int, options.seeds.split(",")):
            scores["mpitrain, resnet8"].append(ours(folder, seed, options))
            scores["PyTorch, the same"].append(pytorch(arrays, seed, options.epochs))
            scores["random forest"].append(forest(arrays, seed))
            print(f"seed {seed}: " + ", ".join(f"{way} {found[-1]:.4f}" for way, found in scores.items()), flush=True)
    print("| way | accuracy of each seed | mean |")
    print("|---|---|---|")
    for way, found in scores.items():
        print(f"| {way} | {', '.join(f'{score:.3f}' for score in found)} | {statistics.mean(found):.3f} |")
    if options.json:
        options.json.write_text(json.dumps(scores, indent=1) + "\n")
    return 0


def unpack(packages: Path, folder: Path) -> dict[str, int]:
    """Write the images as folders of classes, train and test; every fifth emoji, drawn at random, is to test on."""
    counts = {"train": 0, "test": 0}
    for vendor in VENDORS:
        (path,) = packages.glob(f"emoji-datasource-{vendor}-*.tgz")
        with tarfile.open(path) as archive:
            facts = json.load(member(archive, "package/emoji.json"))
            emoji = sorted((one for one in facts if "skin_variations" in one), key=lambda one: one["unified"])
            is_test = np.random.default_rng(0).permutation(len(emoji)) < len(emoji) // 5
            places = {
                f"package/img/{vendor}/64/{found['image']}": (part, TONES[tone])
                for one, tested in zip(emoji, is_test, strict=True)
                for part in ["test" if tested else "train"]
                for tone, found in one["skin_variations"].items()
                if tone in TONES and found[f"has_img_{vendor}"]
            }
            for entry in archive:
                if entry.name in places:
                    part, tone = places[entry.name]
                    out = folder / part / tone / f"{vendor}-{Path(entry.name).name}"
                    out.parent.mkdir(parents=True, exist_ok=True)
                    out.write_bytes(member(archive, entry.name).read())
                    counts[part] += 1
    return counts


def member(archive: tarfile.TarFile, name: str) -> Any:
    return archive.extractfile(name)


def ours(folder: Path, seed: int, options: argparse.Namespace) -> float:
    """Return the test accuracy of a run of mpitrain."""
    data = f"images:{folder}/emoji,size={SIZE}"
    optimizer = f"sgd:lr={RATE},momentum=0.9,weight_decay={DECAY}"
    train = ["--data", data, "--model", "resnet8", "--optimizer", optimizer, "--schedule", "cosine"]
    run = ["--batch-size", str(BATCH), "--epochs", str(options.epochs), "--seed", str(seed)]
    out = folder / f"run-{seed}"
    start = ["mpirun", "-n", str(options.ranks), sys.executable, "-m", "mpitrain"]
    subprocess.run([*start, *train, *run, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    return float(json.loads((out / "report.json").read_text())["test"]["accuracy"])


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def read(folder: Path) -> Arrays:
    """Return the images (n, 32, 32, 3), decoded by Pillow alone, and classes, to train and to test on."""
    from PIL import Image

    found: list[np.ndarray] = []
    for part in ("train", "test"):
        images, classes = [], []
        for code, tone in enumerate(sorted(TONES.values())):
            for path in sorted((folder / part / tone).iterdir()):
                image = Image.open(path).convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                picture = Image.alpha_composite(white, image).convert("RGB")
                images.append(np.array(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
                classes.append(code)
        found += [np.stack(images), np.array(classes)]
    return found[0], found[1], found[2], found[3]


def pytorch(arrays: Arrays, seed: int, epochs: int) -> float:
    """Return the test accuracy of the same network, trained likewise by PyTorch."""
    import torch
    from peer import resnet
    from torch import nn

    torch.set_num_threads(1)  # a second one waits, spinning, for cores that others use
    torch.manual_seed(seed)
    x, y, x_test, y_test = arrays
    mean, std = x.mean((0, 1, 2)), x.std((0, 1, 2))
    inputs, tests = (
        torch.from_numpy(((a - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)).contiguous() for a in (x, x_test)
    )
    targets = torch.from_numpy(y)
    model = resnet(1)
    model[-1] = nn.Linear(64, len(TONES))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=DECAY)
    steps = -(-len(x) // BATCH) * epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        return float((model(tests).argmax(1).numpy() == y_test).mean())


def forest(arrays: Arrays, seed: int) -> float:
    from sklearn.ensemble import RandomForestClassifier

    x, y, x_test, y_test = arrays
    made = RandomForestClassifier(300, random_state=seed).fit(x.reshape(len(x), -1), y)
    return float(made.score(x_test.reshape(len(x_test), -1), y_test))


if __name__ == "__main__":
    sys.exit(main())
