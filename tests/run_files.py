"""Run directories as training writes them, made without training, and the live page of one."""

import contextlib
import json
import threading

from mpitrain.config import Config
from mpitrain.config_file import write_config
from mpitrain.pages.run import Run
from mpitrain.pages.serve import LivePage, LiveServer

HOSTS = [
    {"host": "a", "ranks": [0, 1], "cores_per_rank": 4, "processor": "Fast 3"},
    {"host": "b", "ranks": [2], "cores_per_rank": 8, "processor": "Fast 4"},
]
START = {
    "kind": "start",
    "time": 1.7e9,
    "step": 0,
    "command": "mpitrain -n 3 --data 'csv:my file.csv'",
    "folder": "/home/me",
    "ranks": 3,
    "hosts": HOSTS,
    "devices": ["cpu"],
    "job": "Slurm job 17",
    "mpi": "MPICH 5.0.2",
    "versions": {"mpitrain": "0.1.0", "Python": "3.12.1", "NumPy": "2.1"},
    "system": "Linux",
}
NOTE = {"kind": "note", "time": 1.7e9 + 1, "step": 7, "text": "step 7 is skipped: the loss is nan"}
END = {"kind": "end", "time": 1.7e9 + 2, "step": 40, "reason": "all steps are done", "failed": False}
SHARES = {"compute": 0.7, "input": 0.05, "waiting": 0.05, "sync": 0.2}
REPORT = {
    "best": {"epoch": 3, "step": 30, "loss": 0.4, "accuracy": 0.9},
    "class_names": ["cat", "<dog>"],
    "epochs": 4,
    "steps": 40,
    "seconds": 75.2,
    "samples_per_second": 1234.5,
    "ranks": 3,
    "precision": "fp32",
    "losses": [{"ranks": [2], "step": 21, "ranks_left": 2, "seconds": 1.0}],
    "all_reduce": "ring",
    "all_reduce_reason": "ring from 64 KiB",
    "buckets": 2,
    "bytes_per_step": 153600,
    "messages_per_step": 8,
    "exchanges": [
        {"algorithm": "ring", "bytes": 100000, "messages": 4},
        {"algorithm": "tree", "bytes": 53600, "messages": 4},
    ],
    "parameters": 38282,
    "checkpoints": {"written": 2, "failed": 0, "bytes": 4096, "stall_ms": 1.5, "longest_stall_ms": 2.0},
    "slowest": "rank 2, whose own work took 1.4 times as long as the median (compute)",
    "time_share_of_rank": [SHARES, SHARES, {**SHARES, "compute": 0.75, "waiting": 0.0}],
    "balance": {"mode": "auto", "shares": [0.3, 0.3, 0.4], "measured_gain": 0.12},
    "pipeline": {
        "schedule": "1f1b",
        "stages_of_rank": [[0], [1], [2]],
        "idle_of_rank": [0.2, 0.1, None],
        "predicted_idle": 0.18,
    },
}  # fmt: skip
PIXEL = "data:image/png;base64,iVBORw0KGgo="
EXAMPLES = {
    "step": 40,
    "task": "classification",
    "samples": 50,
    "examined": 50,
    "confusion": [[20, 5], [1, 24]],
    "worst": [
        {"row": 3, "loss": 2.5, "class": "cat", "predicted": "<dog>", "probability": 0.9, "image": PIXEL},
        {
            "row": 9,
            "loss": 1.5,
            "class": "<dog>",
            "predicted": "cat",
            "probability": 0.8,
            "image": "https://x.org/a.png",
        },
    ],
}


def metrics(steps=40, every=10):
    """Yield the lines of metrics.jsonl."""
    for step in range(1, steps + 1):
        if step == 7:
            yield {"kind": "skipped", "step": 7, "epoch": 1, "reason": "the loss is nan"}
            continue
        yield {"kind": "step", "step": step, "epoch": -(-step // every), "loss": 2 / step, "lr": 0.1}
        if step == 15:
            yield {"kind": "balance", "step": 15, "epoch": 2, "shares": [0.3, 0.3, 0.4], "expected_gain": 0.1}
        if step % every == 0:
            yield evaluation(step, every)


def evaluation(step, every=10):
    scores = {split: {"loss": factor / step, "accuracy": 1 - factor / step} for split, factor in SPLITS.items()}
    line = {"kind": "epoch", "epoch": step // every, "step": step, "lr": 0.1, **scores}
    return line | {"samples_per_second": 1000.0, "seconds": 0.1, "time_share": SHARES}


SPLITS = {"train": 2, "validation": 3, "test": 4}


def lines(objects):
    return "".join(json.dumps(one) + "\n" for one in objects)


def write_run(path, *, report=REPORT, examples=EXAMPLES, events=(START, NOTE, END), config=None, steps=40):
    """Make a run directory; a file that is None is left out."""
    (path / "checkpoints").mkdir(parents=True)
    (path / "checkpoints" / "step-000000030.safetensors").write_bytes(b"x" * 2048)
    (path / "config.toml").write_text(write_config(config or Config()))
    (path / "metrics.jsonl").write_text(lines(metrics(steps)))
    for name, content in (("report.json", report), ("examples.json", examples)):
        if content is not None:
            (path / name).write_text(json.dumps(content))
    if events:
        (path / "events.jsonl").write_text(lines(events))
    return path


@contextlib.contextmanager
def serving(path, host="127.0.0.1", **options):
    """Serve the live page of a run at any free port, in a thread."""
    with LiveServer(LivePage(Run(path)), host, 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
