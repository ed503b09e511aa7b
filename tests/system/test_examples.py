"""The examples, as their first lines say to run them, and scripts that fail."""

import re
from pathlib import Path

import pytest

import mpitrain as mt

EXAMPLES = Path(mt.__file__).parent.parent / "examples"
OUTPUTS = {
    "own_model": r"accuracy (0\.9\d+), the first test images show \[\d(, \d){4}\]",
    "own_data": r"accuracy (1\.00|0\.9\d), of other samples (1\.00|0\.9\d)",
    "own_hook": r"stopped after ([2-9]) epochs and \d+ steps: \['accuracy', 'loss', 'top5', 'worst_class'\]",
    "own_loop": r"loss (0\.\d+)",
    "own_sync": r"accuracy (0\.9\d)",
    "own_all_reduce": r"sum \d+ on \d ranks, accuracy (0\.\d+)",
    "own_gradient_hook": r"accuracy (0\.9\d)",
    "own_optimizer": r"accuracy (0\.[89]\d)",
    "own_layer": r"backward is right to \de-(09|10|11), accuracy (0\.9\d)",
}

MONITORS = ("monitor_mlflow", "monitor_wandb")  # not programs: see test_monitors.py


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are in the checkout only")
def test_all_examples_are_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*OUTPUTS, *MONITORS}


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are in the checkout only")
@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.any_mpi
def test_an_example(mpitrain, name):
    found = []
    for ranks in (1, 3):
        code, out, err = mpitrain(ranks, program=(str(EXAMPLES / f"{name}.py"),))
        assert code == 0, err
        match = re.fullmatch(OUTPUTS[name], out.strip())
        assert match, out
        found.append([float(number) for number in re.findall(r"\d\.\d+", out)])
    assert found[0] == pytest.approx(found[1], abs=0.02)  # law 1, to rounding


PAGE = 80


def test_an_example_is_a_page():
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= PAGE, path


def script(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(f"import mpitrain as mt\n{text}")
    return (str(path),)


FAILING = """
class Faulty(mt.Hook):
    def step_end(self, info):
        if info.step == 3 and {who}:
            raise KeyError("lost")

mt.Trainer("mlp", "digits", hooks=[Faulty], epochs=50, progress="none").fit()
"""


@pytest.mark.parametrize("who", ["info.rank == 1", "True"])
def test_a_hook_that_fails_ends_all_ranks_of_a_script(mpitrain, tmp_path, who):
    code, out, err = mpitrain(3, program=script(tmp_path, FAILING.format(who=who)), timeout=60)
    assert code != 0
    assert out == ""
    said = re.findall(r"mpitrain: rank \d of 3: the hook Faulty failed in step_end, step 3: KeyError: 'lost'", err)
    assert len(said) == 1
    assert "Traceback" not in err


def test_a_mistake_in_a_script_is_one_sentence(mpitrain, tmp_path):
    program = script(tmp_path, 'mt.Trainer("mlp", "digits", epoch=3)\n')
    code, _, err = mpitrain(3, program=program, timeout=60)
    assert code == 2
    assert err.count("there is no setting epoch; did you mean 'epochs'?") == 1
    assert "Traceback" not in err


def test_an_error_in_a_script_ends_all_ranks(mpitrain, tmp_path):
    text = "world = mt.World()\nif world.rank == 2: 1 / 0\nworld.barrier()\n"
    code, _, err = mpitrain(3, program=script(tmp_path, text), timeout=60)
    assert code != 0
    assert "mpitrain: rank 2 of 3 failed:" in err
    assert "[2] ZeroDivisionError" in err


def test_a_model_of_a_file_is_known_to_the_commands(mpitrain, tmp_path):
    """A run of a program is evaluated and read by the command line, where its model is in a file."""
    path = EXAMPLES / "own_model.py"
    text = f"import sys\nsys.path.insert(0, {str(path.parent)!r})\nfrom own_model import net\n"
    text += 'result = mt.Trainer(net, "digits", epochs=1, out="run", progress="none").fit()\n'
    text += 'print(format(result.test["accuracy"], ".2%"))\n'
    code, out, err = mpitrain(1, program=script(tmp_path, text))
    assert code == 0, err
    code, said, err = mpitrain(2, "evaluate", "run")
    assert code == 0, err
    assert f"accuracy {out.strip()}" in said


HOOK = """
import mpitrain as mt

class Count(mt.Hook):
    ranks = "first"

    def __init__(self, every=1):
        self.every = every

    def step_end(self, info):
        if info.step % self.every == 0:
            info.note(f"loss after step {info.step}: {info.loss:.2f}")

def broken():
    return 3
"""


def test_a_hook_on_the_command_line(mpitrain, tmp_path):
    (tmp_path / "mine.py").write_text(HOOK)
    options = ("--model", "mlp", "--epochs", 1, "--progress", "lines", "--out", "run")
    code, out, err = mpitrain(2, *options, "--hook", "mine.py:Count:every=10")
    assert code == 0, err
    assert re.findall(r"loss after step (\d+): \d\.\d\d", out) == ["10", "20"]
    for hook, text in (
        ("mine.py:Cont", "mine.py has no function 'Cont'; did you mean 'Count'?"),
        ("mine.py:broken", "mine.py:broken must return a Hook, but it returned a int"),
        ("mine.py:Count:each=3", "has no option 'each'"),
    ):
        code, _, err = mpitrain(2, *options[:-1], "other", "--hook", hook)
        assert code == 2
        assert text in err
        assert not (tmp_path / "other").exists()
