"""Training from a checkpoint of Hugging Face, on any number of ranks, and back to one."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy

from tests import checkpoints
from tests.unit.test_pretrained import random_weights

from .small_table import one_sentence

WORDS = ("one fish", "two fish", "red fish", "blue fish")
GPT = "gpt:depth=2,width=16,heads=2,window=16"
TRAIN = ("train", "--data", "text:novel.txt,window=16", "--steps", "6", "--batch-size", "8", "--optimizer", "adam")


@pytest.fixture
def folder(tmp_path):
    """Write a text, and a GPT-2 of bytes."""
    rng = np.random.default_rng(4)
    (tmp_path / "novel.txt").write_text(", ".join(WORDS[k] for k in rng.integers(0, 4, 400)))
    checkpoints.write(tmp_path / "hf", *checkpoints.gpt2(random_weights(GPT, (16,), 257), 2, 2))
    return tmp_path


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def losses(path):
    return [line["loss"] for line in lines(path) if line["kind"] == "step"]


@pytest.mark.slow
def test_a_run_begins_with_the_weights_and_is_exported(folder, mpitrain):
    code, out, err = mpitrain(1, *TRAIN, "--weights", "hf:hf", "--out", "one")
    assert code == 0, err
    assert "gpt:depth=2,width=16,heads=2,window=16,eps=1e-05: 10,960 parameters" in out
    code, _, err = mpitrain(2, *TRAIN, "--weights", "hf:hf", "--mesh", "pipe=2", "--out", "pipe")
    assert code == 0, err
    code, _, err = mpitrain(2, *TRAIN, "--model", GPT, "--out", "drawn")
    assert code == 0, err
    assert losses(folder / "pipe") == pytest.approx(losses(folder / "one"), rel=1e-5)
    assert abs(losses(folder / "drawn")[0] - losses(folder / "one")[0]) > 0.1

    shutil.rmtree(folder / "hf")  # from now on the run has all that it needs
    code, out, err = mpitrain(2, "evaluate", "one", "--json")
    assert code == 0, err
    loss = json.loads(out)["loss"]
    code, out, err = mpitrain(2, "export", "one", "hf:new")
    assert code == 0, err
    assert out == "new: model.safetensors, config.json\n"
    code, _, err = mpitrain(2, "export", "one", "hf:new")
    assert code == 2
    assert "new holds a model already: write over it with --force" in one_sentence(err)
    ours = safetensors.numpy.load_file(folder / "one/model.safetensors")
    theirs = safetensors.numpy.load_file(folder / "new/model.safetensors")
    assert np.array_equal(theirs["transformer.h.1.mlp.c_fc.weight"], ours["2.mlp.0.weight"])

    small = ("--lr", "1e-12", "--steps", "1")
    for name, source in (("again", "hf:new"), ("own", "one/model.safetensors")):
        code, _, err = mpitrain(2, *TRAIN, *small, "--weights", source, "--out", name)
        assert code == 0, err
        assert json.loads((folder / name / "report.json").read_text())["test"]["loss"] == pytest.approx(loss, abs=1e-6)


def test_a_run_resumes_without_the_folder(folder, mpitrain):
    run = (*TRAIN, "--weights", "hf:hf", "--checkpoint-every", "3", "--keep-checkpoints", "9")
    for name in ("whole", "part"):
        code, _, err = mpitrain(2, *run, "--out", name)
        assert code == 0, err
    shutil.rmtree(folder / "hf")
    first = sorted((folder / "part/checkpoints").iterdir())[0]
    (folder / "part/model.safetensors").unlink()
    code, _, err = mpitrain(2, "train", "--resume", str(first))
    assert code == 0, err
    whole, part = ((folder / name / "model.safetensors").read_bytes() for name in ("whole", "part"))
    assert safetensors.numpy.load(whole)["0.weight"].tobytes() == safetensors.numpy.load(part)["0.weight"].tobytes()


def test_what_does_not_fit_is_one_sentence(folder, mpitrain):
    for arguments, message in (
        (("--weights", "hf:none"), "cannot read none/config.json: No such file or directory"),
        (("--weights", "hf:hf", "--model", "llama"), "hf:hf is a gpt: --model llama cannot take its weights"),
        (
            ("--weights", "hf:hf", "--model", "gpt:width=32"),
            "hf:hf has width=16: --model gpt:width=32 cannot change",
        ),
    ):
        code, _, err = mpitrain(2, *TRAIN, *arguments)
        assert code == 2
        assert message in one_sentence(err)


def test_a_classifier_of_texts_takes_the_tokenizer(folder, mpitrain):
    pytest.importorskip("tokenizers")
    vocabulary = {word: number for number, word in enumerate(["[UNK]", "one", "two", "red", "blue", "fish"])}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }
    bert = "bert:depth=1,width=8,heads=2,hidden=12,window=9"
    tensors, config = checkpoints.bert(random_weights(f"{bert},vocabulary=6", (4,), 3), 1, 2)
    del tensors["classifier.weight"], tensors["classifier.bias"]
    checkpoints.write(folder / "bert", tensors, config)
    (folder / "bert/tokenizer.json").write_text(json.dumps(tokenizer))
    rows = [f"{WORDS[i % 4]},{'few' if i % 4 < 2 else 'color'}" for i in range(80)]
    (folder / "fish.csv").write_text("\n".join(["text,kind", *rows]) + "\n")
    data = ("--data", "csv:fish.csv,text=text,target=kind,length=4")
    code, out, err = mpitrain(2, "train", *data, "--weights", "hf:bert", "--steps", "2", "--out", "run")
    assert code == 0, err
    assert "hf:bert has no head for this task: 5.weight, 5.bias begin with new values" in out
    code, out, err = mpitrain(1, "export", "run", "hf:new", "--weights", "best")
    assert code == 0, err
    assert out == "new: model.safetensors, config.json, tokenizer.json, tokenizer_config.json\n"
    assert json.loads((folder / "new/config.json").read_text())["id2label"] == {"0": "color", "1": "few"}
    assert (folder / "new/tokenizer.json").read_bytes() == (folder / "bert/tokenizer.json").read_bytes()


@pytest.mark.slow
def test_adapters_are_trained_used_and_exported(folder, mpitrain):
    lora = ("--weights", "hf:hf", "--lora", "rank=2,alpha=4,dropout=0.1", "--lr", "0.05")
    code, out, err = mpitrain(2, *TRAIN, *lora, "--out", "run")
    assert code == 0, err
    assert "11,216 parameters, 256 of them trained" in out
    report = json.loads((folder / "run/report.json").read_text())
    assert (report["parameters"], report["trained_parameters"]) == (11216, 256)
    ours = safetensors.numpy.load_file(folder / "run/model.safetensors")
    base = safetensors.numpy.load_file(folder / "hf/model.safetensors")
    assert np.array_equal(ours["1.attention.qkv.weight"], base["transformer.h.0.attn.c_attn.weight"])
    assert all(ours[f"{block}.attention.qkv.lora_{part}.b"].any() for block in (1, 2) for part in "qv")
    code, out, err = mpitrain(1, "generate", "run", "--prompt", "one", "--tokens", "5", "--json")
    assert code == 0, err
    assert json.loads(out)["tokens"] == 5
    code, out, err = mpitrain(1, "evaluate", "run", "--json")
    assert code == 0, err
    loss = json.loads(out)["loss"]
    assert loss == pytest.approx(report["test"]["loss"], abs=1e-6)
    for target, files in (
        ("peft:adapters", "adapter_model.safetensors, adapter_config.json"),
        ("hf:merged", "model.safetensors, config.json"),
    ):
        code, out, err = mpitrain(1, "export", "run", target)
        assert code == 0, err
        assert out == f"{target.partition(':')[2]}: {files}\n"
    assert (folder / "adapters/adapter_model.safetensors").stat().st_size < 3000
    small = ("--lr", "1e-12", "--steps", "1")
    for name, options in (
        ("again", ("--weights", "hf:hf", "--lora-weights", "peft:adapters")),
        ("plain", ("--weights", "hf:merged")),
    ):
        code, _, err = mpitrain(1, *TRAIN, *small, *options, "--out", name)
        assert code == 0, err
        assert json.loads((folder / name / "report.json").read_text())["test"]["loss"] == pytest.approx(loss, abs=1e-6)


def test_adapters_and_frozen_layers_that_are_not_there(folder, mpitrain):
    for options, message in (
        (("--freeze", "*.atention"), "--freeze '*.atention' matches no parameter of the model; did you mean"),
        (("--lora-weights", "peft:none"), "cannot read none/adapter_config.json: No such file or directory"),
    ):
        code, _, err = mpitrain(2, *TRAIN, "--weights", "hf:hf", *options)
        assert code == 2
        assert message in one_sentence(err)
    code, _, err = mpitrain(1, "export", "run", "peft:")
    assert code == 2
    assert "the target is hf:DIR, a folder of Hugging Face, peft:DIR or FILE.onnx" in one_sentence(err)


def test_a_new_head_is_trained_besides_adapters_and_so_it_goes_on(tmp_path, mpitrain):
    """A body without a classifier; the same command begins the run, and continues it with the same parameters."""
    rows = [f"{WORDS[k % 4]} and {WORDS[k // 4 % 4]},{'ab'[k % 2]}" for k in range(40)]
    (tmp_path / "films.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    w = random_weights("bert:depth=1,width=8,heads=2,hidden=12,window=40,vocabulary=257", (40,), 2, vocabulary=257)
    tensors, config = checkpoints.bert(w, 1, 2)
    body = {key.removeprefix("bert."): array for key, array in tensors.items() if not key.startswith("classifier")}
    checkpoints.write(tmp_path / "hf", body, config)
    command = ("train", "--resume", "auto", "--data", "csv:films.csv,text=text,target=label,tokenizer=bytes,length=30")
    command += ("--weights", "hf:hf", "--lora", "rank=2", "--optimizer", "adam", "--batch-size", "8", "--out", "run")
    code, out, err = mpitrain(1, *command, "--epochs", "1", "--checkpoint-every", "2")
    assert code == 0, err
    assert "has no head for this task: 5.weight, 5.bias begin with new values" in out
    assert "82 of them trained" in out
    assert 'lora = "rank=2,alpha=4,train=5.weight+5.bias"' in (tmp_path / "run/config.toml").read_text()
    first = safetensors.numpy.load_file(tmp_path / "run/model.safetensors")
    code, out, err = mpitrain(2, *command, "--epochs", "2")
    assert code == 0, err
    assert "82 of them trained" in out
    second = safetensors.numpy.load_file(tmp_path / "run/model.safetensors")
    changed = {key for key in first if not np.array_equal(first[key], second[key])}
    parts = [f"1.attention.qkv.lora_{part}.{one}" for part in "qv" for one in "ab"]
    assert changed == {"5.weight", "5.bias", *parts}
