"""Monitors in whole runs: the examples for MLflow and Weights & Biases without a network, read as these tools do."""

import contextlib
import json
import sqlite3
import struct
from pathlib import Path

import pytest

import mpitrain as mt

EXAMPLES = Path(mt.__file__).parent.parent / "examples"
OFFLINE = {"WANDB_SILENT": "true", "WANDB_MODE": "offline", "MLFLOW_ALLOW_FILE_STORE": "true"}
STEPS = 4  # of an epoch
RUN = (
    "--model",
    "mlp:widths=8",
    "--schedule",
    "constant",
    "--batch-size",
    360,
    "--progress",
    "none",
    "--checkpoint-every",
    5,
    "--out",
    "run",
)

needs_checkout = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are in the checkout only")


@needs_checkout
@pytest.mark.any_mpi
def test_mlflow_and_wandb_beside_the_built_in_ones(mpitrain, tmp_path, monkeypatch):
    """A run, and its continuation from a checkpoint before its last steps."""
    tracking = pytest.importorskip("mlflow.tracking", reason="mlflow-skinny cannot be installed here")
    pytest.importorskip("wandb", reason="wandb cannot be installed here")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = f"{EXAMPLES / 'monitor_mlflow.py'}:MLflow:uri=file:mlruns,experiment=tests"
    wandb = f"{EXAMPLES / 'monitor_wandb.py'}:WandB:mode=offline,every=2,dir=there"
    monitors = ",".join([mlflow, wandb, "tensorboard,sqlite"])
    code, _, err = mpitrain(2, *RUN, "--epochs", 2, "--monitor", monitors, environment=OFFLINE)
    assert (code, err) == (0, "")
    (tmp_path / "run/checkpoints/step-000000008.safetensors").unlink()
    code, _, err = mpitrain(1, "--resume", "run", "--epochs", 3, environment=OFFLINE)  # the monitors are the run's
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = [(line["step"], line["loss"]) for line in lines if line["kind"] == "step"]
    tests = [(line["step"], line["test"]["loss"]) for line in lines if line["kind"] == "epoch"]
    assert [step for step, _ in losses] == list(range(1, 3 * STEPS + 1))
    check_mlflow(tracking.MlflowClient(f"file:{tmp_path / 'mlruns'}"), losses, tests)
    check_wandb(tmp_path / "there", losses, tests)
    check_tensorboard(tmp_path / "run", losses)
    with contextlib.closing(sqlite3.connect(tmp_path / "runs/runs.sqlite")) as database:
        assert database.execute("SELECT name, state, ranks FROM runs").fetchall() == [("run", "finished", 1)]
        assert database.execute("SELECT step, loss FROM steps").fetchall() == losses


def check_mlflow(client, losses, tests):
    (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert run.data.params["batch-size"] == "360"
    for name, expected in (("step/loss", losses), ("test/loss", tests)):
        found = sorted((metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name))
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-5)


def check_wandb(folder, losses, tests):
    paths = sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime)
    assert len({path.name for path in paths}) == 1  # the continuation has the same id
    rows: dict[int, dict[str, float]] = {}
    for path in paths:
        for record in read_wandb(path):
            if record.WhichOneof("record_type") == "history":
                row = {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }
                rows.setdefault(row["_step"], {}).update(row)
    found = {step: row["step/loss"] for step, row in rows.items() if "step/loss" in row}
    assert found == pytest.approx({step: loss for step, loss in losses if step % 2 == 0}, rel=1e-5)
    assert {step: row["test/loss"] for step, row in rows.items() if "test/loss" in row} == pytest.approx(
        dict(tests), rel=1e-5
    )


def read_wandb(path):
    """Yield the records of a file of wandb: its own messages, in LevelDB's log format after 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, block, parts = path.read_bytes(), 7, 32768, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if block - at % block < 7:  # no room for another header in this block
            at += block - at % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


def check_tensorboard(directory, losses):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("step/loss")]
    assert [step for step, _ in found] == [step for step, _ in losses]
    assert [value for _, value in found] == pytest.approx([value for _, value in losses], rel=1e-6)


@pytest.mark.any_mpi
def test_mistakes_end_all_ranks_at_once(mpitrain, tmp_path):
    code, out, err = mpitrain(2, *RUN, "--epochs", 2, "--monitor", "sqlite:file=/dev/null/x,nothing")
    assert (code, out) == (2, "")
    assert err == "mpitrain: there is no monitor 'nothing'; there are tensorboard, sqlite, and FILE.py:FUNC\n"
    assert not (tmp_path / "run").exists()
