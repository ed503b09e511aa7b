import dataclasses
import tempfile
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpitrain.cli.evaluate import EvaluateOptions
from mpitrain.config import Config, Data, Model, Optimizer, Run, option_values
from mpitrain.config_check import check
from mpitrain.config_file import read_config, write_config
from mpitrain.errors import UserError


def test_toml_there_and_back(tmp_path):
    config = Config(
        data=Data(source='csv:a "quoted" \\ name.csv,target=Größe', batch_size=7),
        model=Model(name="mlp", widths=(3, 2)),
        optimizer=Optimizer(lr=0.5, nesterov=True),
    )
    path = tmp_path / "config.toml"
    path.write_text(write_config(config), "utf-8")
    assert read_config(path) == config


@pytest.mark.parametrize(
    "name",
    [
        "del\x7f, control \x01\n\t, a flag \U0001f3f4 and \U00010000",
        "latin-1 caf\udce9 and \udcff\udc80",
        "both é and \udce9",
        "\\u0000e9",
        "#\"'\\",
    ],
)
def test_any_file_name_there_and_back(tmp_path, name):
    config = Config(data=Data(source=f"csv:{name}.csv,target=y"), run=Run(out=name))
    path = tmp_path / "config.toml"
    path.write_bytes(write_config(config).encode())
    assert read_config(path) == config


@settings(max_examples=200, deadline=None)
@given(st.binary())
def test_any_bytes_there_and_back(raw):
    name = raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")
    config = Config(run=Run(out=name))
    text = write_config(config).encode()
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        assert read_config(Path(file.name)) == config


def test_numbers_there_and_back(tmp_path):
    config = Config(optimizer=Optimizer(lr=1e-7, weight_decay=5e-324, clip_norm=1e300), run=Run(seed=2**70))
    path = tmp_path / "config.toml"
    path.write_text(write_config(config), "utf-8")
    assert read_config(path) == config


def floats():
    """Yield each setting that is a float, with its name on the command line."""
    for branch, kind in get_type_hints(Config).items():
        for field in dataclasses.fields(kind):
            if get_type_hints(kind)[field.name] in (float, float | None):
                yield branch, field.name


@pytest.mark.parametrize(("branch", "field"), list(floats()))
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_every_number_is_finite(branch, field, value):
    table = dataclasses.replace(getattr(Config(), branch), **{field: value})
    option = "--" + field.replace("_", "-")
    with pytest.raises(UserError, match=f"^{option} is (inf|-inf|nan), but must be a finite number$"):
        check(dataclasses.replace(Config(), **{branch: table}))


def test_options_by_their_names():
    found = dict(option_values(Config(model=Model(widths=(3, 2)))))
    assert found["--widths"] == (3, 2)
    assert {"--data", "--model", "--optimizer", "--keep-checkpoints", "--checkpoint-every", "--lr"} <= set(found)
    assert not any("_" in name for name in found)
    assert dict(option_values(EvaluateOptions(directories=(Path("r"),))))["RUN"] == (Path("r"),)


def test_whole_numbers_do_for_numbers(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[optimizer]\nlr = 1\n")
    assert read_config(path).optimizer.lr == 1


@pytest.mark.parametrize("beside", ["metrics.jsonl", "model.safetensors", "checkpoints"])
def test_the_draw_of_runs_before_it_was_a_setting(tmp_path, beside):
    """A user's file without the key takes the default; that of a run, which holds all keys there were, what it did."""
    path = tmp_path / "config.toml"
    path.write_text("[data]\nsource = 'csv:a.csv,target=b'\n")
    assert read_config(path).data.split == "stratified"
    (tmp_path / beside).mkdir()
    assert read_config(path).data.split == "random"
    path.write_text(write_config(Config()))
    assert read_config(path).data.split == "stratified"
    other = tmp_path / "other.toml"
    other.write_text("")
    assert read_config(other).data.split == "stratified"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data]\nbatchsize = 3", r"unknown key in \[data\]: batchsize; did you mean 'batch_size'\?"),
        ("[modell]\n", "unknown table: modell; did you mean 'model"),
        ("[data]\nxyz = 3", r"unknown key in \[data\]: xyz; there are source, task"),
        ("data = 3", "data must be a table"),
        ("[run]\nepochs = 1.5", r"epochs in \[run\] is 1.5, but must be a whole number"),
        ("[run]\nepochs = true", "must be a whole number"),
        ("[data]\nflip = 1", "must be true or false"),
        ("[optimizer]\nlr = 'x'", "must be a number"),
        ("[data]\nsplit = 'linear'", "must be one of stratified, random"),
        ("[model]\nwidths = [1, 'x']", "must be a list of whole numbers"),
        ("[model\n", "is not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_config(path)


def test_unreadable(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the config file .*No such file"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read the config file"):
        read_config(tmp_path / "binary")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(run=Run(epochs=0)), "--epochs is 0, but must be at least 1"),
        (Config(data=Data(batch_size=0)), "--batch-size is 0"),
        (Config(optimizer=Optimizer(lr=-1.0)), "--lr is -1.0, but must be positive"),
        (Config(optimizer=Optimizer(lr=float("nan"))), "--lr is nan"),
        (Config(model=Model(widths=(3, 0))), "--widths"),
        (Config(optimizer=Optimizer(warmup=11)), "--warmup is 11, but must be between 0 and the number of epochs, 10"),
    ],
)
def test_ranges(config, message):
    with pytest.raises(UserError, match=message):
        check(config)


def test_every_field_is_documented():
    from tyro._docstrings import get_field_docstring

    for branch in get_type_hints(Config).values():
        for field in dataclasses.fields(branch):
            assert get_field_docstring(branch, field.name, ()), f"{branch.__name__}.{field.name}"


def test_the_old_spelling_of_synchronized_still_works(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[model]\nbatch_norm = 'synchronised'\n")
    assert read_config(path) == Config()
    assert "synchronized" in write_config(read_config(path))
