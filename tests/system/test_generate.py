"""``mpitrain generate`` as a user runs it: any number of ranks, pipes, a terminal, mistakes."""

import json
import os
import pty
import select
import subprocess
import sys
import time

import numpy as np
import pytest

from .conftest import ENVIRONMENT
from .small_table import SOURCE, TABLE, one_sentence

WORDS = ("one fish", "two fish", "red fish", "blue Fisch für 3 €")
MODEL = ("--model", "gpt:depth=1,width=16,heads=2", "--optimizer", "adam:lr=0.01", "--batch-tokens", "256")
TEXT = ("--data", "text:novel.txt,window=16", *MODEL, "--epochs", "1", "--out", "run", "--progress", "none")
MPITRAIN = (sys.executable, "-m", "mpitrain")


@pytest.fixture
def novel(tmp_path, mpitrain):
    """Train on a small text; return the directory that has the run."""
    rng = np.random.default_rng(4)
    (tmp_path / "novel.txt").write_text(", ".join(WORDS[k] for k in rng.integers(0, 4, 400)))
    code, _, err = mpitrain(1, "train", *TEXT)
    assert code == 0, err
    return tmp_path


def begin(directory, *arguments, **pipes):
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | pipes
    return subprocess.Popen([*MPITRAIN, "generate", *arguments], cwd=directory, env=ENVIRONMENT, **pipes)


def end(process, text=None):
    """Return the exit code, the output and the errors."""
    try:
        out, err = process.communicate(text, timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"generate hung\n{process.communicate()}")
    return process.returncode, out.decode(), err.decode()


def test_the_same_texts_on_any_number_of_ranks(mpitrain, novel):
    prompts = ["one", "two fish, ", "€", "red"]
    (novel / "prompts.txt").write_text("\r\n".join(prompts))
    told = ("generate", "run", "--tokens", "40", "--seed", "3", "--top-k", "9", "--top-p", "0.9")
    given = [word for prompt in prompts for word in ("--prompt", prompt)]
    code, out, err = mpitrain(1, *told, *given, "--json")
    assert code == 0, err
    facts = [json.loads(line) for line in out.splitlines()]
    assert [one["prompt"] for one in facts] == prompts
    assert [one["tokens"] < 40 for one in facts] == [one["ended"] for one in facts]
    assert len({one["text"] for one in facts}) == len(prompts)
    for ranks, how in ((3, given), (3, ("--prompts", "prompts.txt")), (2, given)):
        code, again, err = mpitrain(ranks, *told, *how, "--json")
        assert (code, again) == (0, out), err
    code, text, err = mpitrain(3, *told, *given)
    assert (code, err) == (0, "")
    assert text == "\n".join(f"{one['prompt']}{one['text']}\n" for one in facts)
    code, text, err = end(begin(novel, *told[1:], stdin=subprocess.PIPE), b"one\ntwo fish, \n")
    assert (code, text) == (0, "\n".join(f"{one['prompt']}{one['text']}\n" for one in facts[:2])), err
    _, other, _ = mpitrain(1, *told[:4], "--seed", "4", *given, "--json")
    assert other != out


def test_tokens_come_one_by_one_in_a_pipe(novel):
    """The text begins long before it is complete, and its characters are whole; a reader that leaves ends the job."""
    process = begin(novel, "run", "--prompt", "für 3 €", "--tokens", "10000000", "--temperature", "2")
    found, until = b"", time.monotonic() + 60
    try:
        while len(found) < 300 and time.monotonic() < until:
            if select.select([process.stdout], [], [], 1)[0]:
                piece = os.read(process.stdout.fileno(), 1 << 16)
                piece.decode()  # whole characters
                found += piece
        assert len(found) >= 300
        assert found.decode().startswith("für 3 €")
        assert process.poll() is None
        process.stdout.close()
        assert process.wait(timeout=30) == 141
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_control_characters_do_not_reach_the_terminal(novel):
    code, out, err = end(begin(novel, "run", "--prompt", "a\x1b[2J\tb", "--tokens", "300", "--temperature", "50"))
    assert code == 0, err
    assert out.startswith("a\\x1b[2J\tb")
    assert not set(out) & {chr(k) for k in range(32)} - {"\n", "\t"}
    assert "\\x" in out.removeprefix("a\\x1b[2J\tb"), "the model has drawn no control character"


def test_prompts_are_asked_for_on_a_terminal(novel):
    ours, theirs = pty.openpty()
    process = begin(novel, "run", "--tokens", "20", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""

    def wait_for(text):
        nonlocal shown
        until = time.monotonic() + 60
        while text not in shown:
            assert time.monotonic() < until, shown
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 1 << 16)
        before, _, shown = shown.partition(text)
        return before.decode()

    try:
        assert "Ctrl-D ends" in wait_for(b"> ")
        os.write(ours, b"one fish\n")
        wait_for(b"one fish\r\n")  # the echo
        answer = wait_for(b"> ")
        assert answer.startswith("one fish")
        assert len(answer.strip()) > len("one fish")
        os.write(ours, b"\n")  # nothing: asked again
        wait_for(b"> ")
        os.write(ours, b"two\n")
        wait_for(b"two\r\n")
        assert wait_for(b"> ").startswith("two")
        os.write(ours, b"\x04")
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_mistakes(mpitrain, novel, table):
    one = ("run", "--prompt", "a")
    (novel / "latin.txt").write_bytes("one\nfür".encode("latin-1"))
    (novel / "gap.txt").write_text("one\n\ntwo\n")
    for arguments, message in (
        (("nowhere", "--prompt", "a"), "nowhere is no run directory: it has no config.toml"),
        (("run", "--prompt", ""), "the prompt is empty: the model continues text of at least one token"),
        (("run", "--prompts", "gap.txt"), "the prompt in line 2 of gap.txt is empty"),
        (("run", "--prompts", "latin.txt"), "latin.txt is not UTF-8 in line 2"),
        (("run", "--prompts", "nowhere.txt"), "nowhere.txt: no such file, expected prompts, one a line"),
        (("run",), "there is no prompt in the standard input, expected one a line (or name it: --prompt TEXT)"),
        ((*one, "--prompts", "gap.txt"), "--prompt and --prompts exclude each other"),
        ((*one, "--temperature", "-0.1"), "the temperature must be 0 or more, but it is -0.1"),
        ((*one, "--top-p", "0"), "top-p must be more than 0 and at most 1, but it is 0.0"),
        ((*one, "--top-p", "1.1"), "top-p must be more than 0 and at most 1, but it is 1.1"),
        ((*one, "--top-k", "-1"), "top-k must be 0 (all tokens) or more, but it is -1"),
        ((*one, "--tokens", "0"), "--tokens must be at least 1, but it is 0"),
        ((*one, "--window", "17"), "the window of the model must be at most 16, its learned positions, but it is 17"),
    ):
        code, out, err = end(begin(novel, *arguments))
        assert (code, out) == (2, ""), arguments
        assert one_sentence(err).startswith(message)
    code, _, err = mpitrain(2, "train", *TABLE, "--data", SOURCE, "--out", "table")
    assert code == 0, err
    code, _, err = mpitrain(2, "generate", "table", "--prompt", "a")
    assert code == 2
    assert one_sentence(err) == "table is no language model but one for classification: it cannot continue a text"
    code, _, err = mpitrain(2, "generate", "run", "--prompt", "")
    assert (code, one_sentence(err)[:20]) == (2, "the prompt is empty:")


def test_a_run_on_token_files_has_no_text(mpitrain, tmp_path):
    (tmp_path / "ids").mkdir()
    np.random.default_rng(0).integers(0, 9, 2000).astype("<u2").tofile(tmp_path / "ids" / "train.bin")
    code, _, err = mpitrain(1, "train", "--data", "tokens:ids,window=16", *MODEL, "--steps", "2", "--out", "run")
    assert code == 0, err
    code, _, err = end(begin(tmp_path, "run", "--prompt", "a"))
    assert code == 2
    assert one_sentence(err) == "run was trained on tokens without a tokenizer, so it cannot read or write text"
