"""The completion scripts, in the shells that there are."""

import os
import shutil
import subprocess

import pytest

from mpitrain.cli.main import main

CASES = [
    ("mpitrain ", {"train", "collective", "kernel", "completion", "doctor"}, {"--epochs"}),
    ("mpitrain coll", {"collective"}, {"train"}),
    ("mpitrain --epo", {"--epochs"}, {"--seed"}),
    ("mpitrain train --dry", {"--dry-run"}, set()),
    ("mpitrain -n 4 doc", {"doctor"}, {"train"}),
    ("mpitrain -n4 ev", {"evaluate"}, {"train"}),
    ("mpitrain help coll", {"collective"}, set()),
    ("mpitrain --optimizer ad", {"adam", "adamw"}, {"sgd"}),
    ("mpitrain -n 2 train --model resnet", {"resnet8", "resnet20"}, {"mlp"}),
    ("mpitrain collective pri", {"price"}, {"list"}),
    ("mpitrain collective ", {"list", "show", "bench"}, {"--epochs", "train"}),
    ("mpitrain collective price --cal", {"--calibration"}, {"--bytes"}),
    ("mpitrain collective price ring ri", {"ring"}, {"tree"}),
    ("mpitrain pipeline pri", {"price"}, {"list"}),
    ("mpitrain pipeline price gpipe 1", {"1f1b"}, {"gpipe"}),
    ("mpitrain pipeline trace me", {"measured.json"}, {"1f1b"}),
    ("mpitrain kernel b", {"build", "bench"}, {"list"}),
    ("mpitrain collective price --calibration me", {"measured.json"}, {"ring"}),
    ("mpitrain evaluate ru", {"runs"}, {"measured.json"}),
    ("mpitrain evaluate runs --weights ", {"last", "best"}, set()),
    ("mpitrain completion ", {"bash", "zsh", "fish"}, set()),
    ("mpitrain --data csv:me", {"measured.json"}, set()),
]
BASH = """
. ./script
complete -p mpitrain | grep -q -- '-F _mpitrain' || exit 9
COMP_LINE=$1
# the words as bash splits them: a colon is one of COMP_WORDBREAKS
COMP_WORDS=() COMP_CWORD=0
for word in ${COMP_LINE//:/ : }; do COMP_WORDS+=("$word"); done
case $COMP_LINE in *' ') COMP_WORDS+=("") ;; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_mpitrain
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("completion")
    (found / "measured.json").touch()
    (found / "runs").mkdir()
    return found


def script(capsys, shell):
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def shell(folder, *command):
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, env=os.environ | {"HOME": str(folder)}
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def check(found, wanted, unwanted):
    words = {line.split("\t")[0].rstrip("/").removeprefix("csv:") for line in found.splitlines()}
    assert wanted <= words
    assert not unwanted & words


@pytest.mark.parametrize(("line", "wanted", "unwanted"), CASES, ids=[case[0] for case in CASES])
def test_bash(capsys, folder, line, wanted, unwanted):
    (folder / "script").write_text(script(capsys, "bash"))
    check(shell(folder, "bash", "--norc", "-c", BASH, "bash", line), wanted, unwanted)


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
@pytest.mark.parametrize(("line", "wanted", "unwanted"), CASES, ids=[case[0] for case in CASES])
def test_fish(capsys, folder, line, wanted, unwanted):
    (folder / "script").write_text(script(capsys, "fish"))
    command = f"source script; complete -C '{line}'"
    check(shell(folder, "fish", "--no-config", "-c", command), wanted, unwanted)


def test_bash_at_a_prompt(capsys, folder):
    """A tab in an interactive bash completes the word before it."""
    (folder / "script").write_text(script(capsys, "bash"))
    # readline asks for a terminal; script(1) gives it one
    if not shutil.which("script"):
        pytest.skip("no script(1) here")
    typed = '. ./script; mpitrain() { echo got: "$@"; }\nmpitrain coll\tpri\tring --calib\tmeas\t\nexit\n'
    done = subprocess.run(
        ["script", "-qec", "bash --norc -i", "/dev/null"],
        cwd=folder, input=typed, capture_output=True, text=True, timeout=60,
        env=os.environ | {"TERM": "dumb", "PS1": "> "},
    )  # fmt: skip
    assert "got: collective price ring --calibration measured.json" in done.stdout, done.stdout


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")
def test_zsh_reads_its_script(capsys, folder):
    (folder / "script").write_text(script(capsys, "zsh"))
    shell(folder, "zsh", "-n", "script")
    tried = 'compdef() { }; . ./script; _mpitrain_words "$(_mpitrain_command -n 4 collective)" collective pr'
    assert "price" in shell(folder, "zsh", "-f", "-c", tried).split()
