"""``mpitrain export RUN model.onnx``: the file gives what ``predict`` gives, for samples as they are."""

import numpy as np
import pytest

from .small_table import one_sentence

ort = pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_the_file_predicts_as_the_run_does(tmp_path, mpitrain):
    rng = np.random.default_rng(6)
    images = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    labels = (images[..., 0].mean(axis=(1, 2)) > 127).astype(int)
    np.savez(tmp_path / "images.npz", x=images, y=labels)
    model = "googlenet:width=0.05,small_images=true"
    train = ("--data", "npz:images.npz", "--model", model, "--epochs", "1", "--batch-size", "12", "--out", "run")
    code, _, err = mpitrain(2, "train", *train)
    assert code == 0, err
    code, out, err = mpitrain(2, "export", "run", "model.onnx")
    assert code == 0, err
    assert out == "model.onnx\n"
    code, _, err = mpitrain(1, "predict", "run", "--data", "npz:images.npz", "--out", "found.npz")
    assert code == 0, err
    outputs = ort.InferenceSession(tmp_path / "model.onnx").run(["probabilities"], {"input": images})
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_allclose(outputs[0][:, 1], found["p(1)"], atol=1e-5)


@pytest.mark.slow
def test_bad_targets(tmp_path, mpitrain):
    for target, message in (
        ("model.onnx", "run is no run directory"),
        ("none/model.onnx", "cannot write none/model.onnx: no such directory"),
        ("model.pb", "the target is hf:DIR, a folder of Hugging Face, peft:DIR or FILE.onnx, not 'model.pb'"),
    ):
        code, _, err = mpitrain(1, "export", "run", target)
        assert code == 2
        assert message in one_sentence(err)
    code, _, err = mpitrain(1, "export", "gguf:model.gguf", "model.onnx")
    assert code == 2
    assert "a GGUF file is exported to hf:DIR, not to model.onnx" in one_sentence(err)
