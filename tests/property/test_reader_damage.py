"""Whatever a config, calibration, trace, weights or checkpoint file holds: data, or a UserError of one line."""

import dataclasses
import json
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpitrain.arena import Arena
from mpitrain.collectives import find
from mpitrain.collectives.draw.trace import parse_trace
from mpitrain.collectives.price import load_calibration
from mpitrain.collectives.price.calibration import DEFAULT
from mpitrain.config import Config
from mpitrain.config_check import check
from mpitrain.config_file import read_config, write_config
from mpitrain.data import open_dataset
from mpitrain.duration import parse_time
from mpitrain.errors import UserError
from mpitrain.model_table import ModelTable
from mpitrain.models import build
from mpitrain.optim import SGD
from mpitrain.training.checkpoint import Checkpoint, State
from mpitrain.training.checkpoint.layout import make_header
from mpitrain.training.checkpoint.parts import tensors_of
from mpitrain.training.directory.resume import history_of, metadata_of
from mpitrain.training.directory.run_directory import _lines_up_to
from mpitrain.training.directory.trained_model import TrainedModel
from mpitrain.training.position import Position
from mpitrain.training.results import EpochResult
from mpitrain.training.step_timer import Times
from mpitrain.training.weights import check_weights, gather_tensors, load_weights, read_metadata, save_weights

SLOW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MLP = Config(model=dataclasses.replace(Config().model, name="mlp", widths=(4,)))
FACTS = {
    "model": "mlp", "input_shape": [3], "num_outputs": 2, "task": "classification", "class_names": ["a", "b"],
    "feature_names": [], "target_name": "", "normalizer": {"mean": [0.0], "std": [1.0]}, "target_normalizer": None,
}  # fmt: skip


def make_state():
    model = build("mlp", (3,), 2, widths=(4,))
    arena = Arena(model.named_parameters(), model.named_states())
    return State(arena, SGD(arena, momentum=0.9))


def run_facts():
    result = EpochResult(1, 5, 0.1, {"loss": 1.0}, {"loss": 2.0}, 10.0, 1.0, Times(1, 1, 1, 1))
    run = SimpleNamespace(
        config=MLP,
        world=SimpleNamespace(size=2),
        setup=SimpleNamespace(metadata=lambda config: FACTS, dataset=SimpleNamespace(train=range(9))),
        step=7,
        loader=range(9),
        optimizer=SimpleNamespace(step_count=7),
        position=Position(2, 2, np.arange(3.0), 0.5),
        results=SimpleNamespace(evaluations=[result], best=1, skipped=0),
    )
    return json.loads(json.dumps(metadata_of(run)))


def checkpoint_bytes(facts):
    state = make_state()
    tensors, text = tensors_of(state), json.dumps(facts)
    flat = {
        prefix + p.name: b[p.start : p.stop] for prefix, b in state.buffers().items() for p in state.arena.parameters
    }
    sums = {t.name: zlib.crc32(flat[t.name].tobytes()) for t in tensors}
    return make_header(tensors, text, sums) + b"".join(flat[t.name].tobytes() for t in tensors)


def sentence(read, *arguments):
    """Return what is said against it, None if nothing is."""
    try:
        read(*arguments)
    except UserError as error:
        said = str(error)
    else:
        return None
    assert said
    assert "\n" not in said
    return said


def read_checkpoint(path):
    checkpoint = Checkpoint(path)
    checkpoint.verify()
    history_of(checkpoint)
    checkpoint.load(make_state())


def read_weights(path):
    read_metadata(path)
    check_weights(path, ModelTable.of(build("mlp", (3,), 2, widths=(4,))))
    load_weights(path, make_state().arena)


def read_run_config(path):
    check(read_config(path))


def put(tree, data):
    """Replace one node of a JSON tree."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    if not keys or data.draw(st.integers(0, 5), "here") == 0:
        return data.draw(JSON, "instead")
    key = data.draw(st.sampled_from(keys), "key")
    if data.draw(st.integers(0, 9), "remove") == 0:
        return {k: v for k, v in tree.items() if k != key} if isinstance(tree, dict) else tree[:key] + tree[key + 1 :]
    copy = tree.copy()
    copy[key] = put(tree[key], data)
    return copy


def weights_bytes(path):
    save_weights(path, gather_tensors(make_state().arena), FACTS)
    return path.read_bytes()


FILES = {
    "config.toml": (lambda path: write_config(MLP).encode(), read_run_config),
    "calibration.json": (lambda path: DEFAULT.read_bytes(), load_calibration),
    "model.safetensors": (weights_bytes, read_weights),
    "step-000000007.safetensors": (lambda path: checkpoint_bytes(run_facts()), read_checkpoint),
    "data_batch_1.bin": (
        lambda path: bytes(range(10)) * 307 + b"123",
        lambda path: open_dataset(f"cifar10:{path.parent}"),
    ),
}


def test_whole_files_are_read(tmp_path):
    for name, (write, read) in list(FILES.items())[:4]:
        (tmp_path / name).write_bytes(write(tmp_path / name))
        assert sentence(read, tmp_path / name) is None


@pytest.mark.parametrize("name", FILES)
@SLOW
@given(data=st.data())
def test_changed_bytes(tmp_path, name, data):
    write, read = FILES[name]
    path = tmp_path / name
    content = bytearray(write(path))
    for _ in range(data.draw(st.integers(0, 4), "changes")):
        content[data.draw(st.integers(0, len(content) - 1), "place")] = data.draw(st.integers(0, 255), "value")
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)), "length")])
    for other in ("data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        if name.endswith(".bin"):
            (tmp_path / f"{other}.bin").write_bytes(FILES[name][0](path))
    said = sentence(read, path)
    assert said is None or str(tmp_path) in said or name in ("config.toml", "data_batch_1.bin")
    if name.startswith("step-") and said is None:  # then it is what was written
        state = make_state()
        state.arena.values.fill(0)
        Checkpoint(path).load(state)
        np.testing.assert_array_equal(state.arena.values, make_state().arena.values)
        assert Checkpoint(path).metadata == run_facts()


@SLOW
@given(data=st.data())
def test_a_checkpoint_with_other_facts(tmp_path, data):
    facts = put(run_facts(), data)
    path = tmp_path / "step-000000001.safetensors"
    path.write_bytes(checkpoint_bytes(facts))
    said = sentence(read_checkpoint, path)
    assert said is None or str(path) in said


@SLOW
@given(data=st.data())
def test_another_safetensors_header(tmp_path, data):
    for name, read in (("step-000000001.safetensors", read_checkpoint), ("model.safetensors", read_weights)):
        path = tmp_path / name
        whole = checkpoint_bytes(run_facts())
        length = int.from_bytes(whole[:8], "little")
        header = json.dumps(put(json.loads(whole[8 : 8 + length]), data)).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + length :])
        said = sentence(read, path)
        assert said is None or str(path) in said


@SLOW
@given(data=st.data())
def test_weights_with_other_facts(tmp_path, data):
    path = tmp_path / "model.safetensors"
    tensors = {name: np.ascontiguousarray(x) for name, x in make_state().arena.named_tensors().items()}
    text = json.dumps(put(FACTS, data)) if data.draw(st.booleans()) else data.draw(st.text(max_size=20))
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"mpitrain": text}))
    sentence(TrainedModel, MLP, path)


@SLOW
@given(data=st.data())
def test_another_calibration(tmp_path, data):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(put(json.loads(DEFAULT.read_text()), data)))
    said = sentence(load_calibration, path)
    assert said is None or str(path) in said


@SLOW
@given(branch=st.sampled_from([f.name for f in dataclasses.fields(Config)]), data=st.data())
def test_another_setting(tmp_path, branch, data):
    keys = [f.name for f in dataclasses.fields(getattr(Config(), branch))]
    lines = [f"[{data.draw(st.just(branch) | st.text(max_size=8))}]"]
    for _ in range(data.draw(st.integers(0, 3))):
        key = data.draw(st.sampled_from(keys) | st.text(max_size=8))
        lines.append(f"{key} = {json.dumps(data.draw(JSON))}")
    path = tmp_path / "config.toml"
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    sentence(read_run_config, path)


@SLOW
@given(lines=st.lists(st.text(max_size=40) | JSON.map(json.dumps), max_size=6))
def test_traces_and_metrics(tmp_path, lines):
    sentence(parse_trace, lines)
    path = tmp_path / "metrics.jsonl"
    good = [json.dumps({"kind": "step", "step": step, "epoch": 1, "loss": 1.0}) for step in (1, 2, 3)]
    path.write_text("\n".join(part.replace("\n", " ") for pair in zip(good, [*lines, "", "", ""]) for part in pair))
    kept = [json.loads(line) for line in _lines_up_to(path, 2, 0).splitlines()]
    assert [line for line in kept if line in map(json.loads, good)] == [json.loads(line) for line in good[:2]]


@SLOW
@given(text=st.text(max_size=30) | st.from_regex(r"[a-z_/]{0,12}(\.py)?(:[a-z_]{0,9}(=[0-9a-z-]{0,5})?,?){0,3}"))
def test_names_of_algorithms_and_times(text):
    sentence(find, text)
    sentence(parse_time, text)
