"""Whatever files of tokens, text or lines of JSON hold: a dataset of what is there, or a UserError of one line."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mpitrain.data import Loader, open_dataset
from mpitrain.errors import UserError

FEW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LINES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.builds(
            lambda t, y: json.dumps({"t": t, "y": y}).encode(),
            st.one_of(st.text(max_size=9), st.integers(), st.none()),
            st.one_of(st.sampled_from(["a", "b", 1, True]), st.floats(), st.none(), st.lists(st.just(1), max_size=2)),
        ),
    ),
    max_size=12,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MPITRAIN_TOKENS", str(tmp_path / "cache"))


def dataset_or_sentence(source):
    """Read all of a source; return the dataset, or None if it was refused in one line."""
    refused = ""
    try:
        data = open_dataset(source, test_fraction=0.4)
    except UserError as error:
        refused = str(error)
    if refused:
        assert "\n" not in refused
        return None
    for split in data.splits.values():
        loader = Loader(split, batch_size=3, rank=0, size=1, seed=0, normalizer=None, prefetch=0)
        for step in loader.epoch(1):
            for batch in step:
                assert batch.x.max(initial=-1) < data.vocabulary
                assert batch.x.min(initial=-1) >= -1
                assert batch.y.max(initial=-100) < data.num_outputs
    return data


@FEW
@given(st.binary(max_size=400), st.sampled_from([1, 3, 300]))
@example(b"\xef\xbb\xbfabc", 3)
def test_text(tmp_path, content, window):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    data = dataset_or_sentence(f"text:{path},window={window}")
    try:
        content.decode()
    except UnicodeDecodeError:
        assert data is None
        return
    assert (data is None) == (len(content) < 2)  # two tokens to predict, in two splits


def header(magic, version, count):
    facts = np.zeros(256, "<i4")
    facts[:3] = magic, version, count
    return facts.tobytes()


@FEW
@given(
    st.sampled_from([b"", header(20240520, 1, 40), header(20240520, 2, 4), header(20240801, 7, 20), header(7, 1, -3)]),
    st.binary(max_size=200),
    st.integers(0, 1024),
    st.sampled_from(["", ",vocabulary=300", ",vocabulary=70000", ",dtype=uint32", ",end_of_text=9"]),
)
@example(header(20240520, 1, -1), b"", 1024, "")
def test_tokens(tmp_path, head, content, kept, options):
    (tmp_path / "train.bin").write_bytes(head[:kept] + content)
    dataset_or_sentence(f"tokens:{tmp_path},window=5{options}")


@FEW
@given(LINES)
def test_lines_of_json(tmp_path, lines):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    dataset_or_sentence(f"jsonl:{path},text=t,target=y,length=6")


@FEW
@given(st.lists(st.binary(max_size=12), max_size=12))
def test_tables(tmp_path, lines):
    path = tmp_path / "a.csv"
    path.write_bytes(b"t,y\n" + b"\n".join(lines))
    dataset_or_sentence(f"csv:{path},text=t,target=y,length=6")


@FEW
@given(st.binary(max_size=60), st.sampled_from(["meta.json", "meta.pkl"]))
def test_facts_beside_tokens(tmp_path, content, name):
    for other in ("meta.json", "meta.pkl"):
        (tmp_path / other).unlink(missing_ok=True)
    np.arange(40, dtype="<u2").tofile(tmp_path / "train.bin")
    (tmp_path / name).write_bytes(content)
    dataset_or_sentence(f"tokens:{tmp_path},window=5")


@pytest.mark.parametrize(
    "facts",
    [[], {}, {"vocabulary": "many"}, {"vocabulary": 30}, {"vocabulary": 50, "end_of_text": [1]}, {"vocabulary": -1}],
)
def test_facts_of_another_kind(tmp_path, facts):
    np.arange(40, dtype="<u2").tofile(tmp_path / "train.bin")
    (tmp_path / "meta.json").write_text(json.dumps(facts))
    assert dataset_or_sentence(f"tokens:{tmp_path},window=5") is None
