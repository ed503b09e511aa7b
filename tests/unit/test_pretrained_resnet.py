"""ResNets of Hugging Face: logits of ``transformers``, names by size, and running statistics."""

import numpy as np
import pytest
import safetensors.numpy

from mpitrain import Trainer, models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.training.export import export_run
from mpitrain.training.pretrained.export import export_folder
from mpitrain.training.pretrained.source import merge_models, open_weights
from tests import checkpoints
from tests.unit.test_pretrained import SEED, case, loaded, random_weights

LOGITS = {
    "resnet": [
        [5.7436974, -42.7963858, -24.4467514, -19.2139688, -8.9254347],
        [4.7067465, -43.8415078, -25.5324189, -20.5589698, -5.4481172],
    ],
    "resnet-bottleneck": [
        [-3.217641, -6.3186295, -1.5619308, -3.5868559, 3.9993259],
        [-2.5984064, -6.7626484, -2.0336963, -5.2839653, 4.3777644],
    ],
    "resnet-early": [
        [-3.0474707, -0.6006171, -1.9824649, 0.1793182, -1.5742179],
        [-2.2133889, -1.0056944, -2.3814638, 1.1120687, -1.3233035],
    ],
}
"""Logits of ``ResNetForImageClassification`` (transformers 5.24, torch 2.13, float64) with the weights of ``drawn``."""


def drawn(tensors):
    """Return numbers of a seed in the shapes of ``tensors``, in the order of their names."""
    rng, found = np.random.default_rng(SEED), {}
    for name in sorted(tensors):
        numbers = rng.standard_normal(tensors[name].shape).astype(np.float32)
        if name.endswith("num_batches_tracked"):
            numbers = tensors[name]
        elif numbers.ndim > 1:
            numbers /= np.float32(np.sqrt(np.prod(numbers.shape[1:]) / 2))
        elif name.endswith("running_var"):
            numbers = np.float32(0.5) + numbers * numbers
        else:
            numbers = np.float32(name.endswith("normalization.weight")) + np.float32(0.3) * numbers
        found[name] = numbers
    return found


@pytest.mark.parametrize("name", LOGITS)
def test_logits_of_transformers(tmp_path, name):
    _, tensors, config, _, x, (shape, num_outputs, _) = case(name)
    model, _, notes = loaded(checkpoints.write(tmp_path / "hf", drawn(tensors), config), shape, num_outputs)
    assert notes == ()
    expected = np.array(LOGITS[name])
    found = model.forward(x[:2], Context(training=False))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_published_sizes_have_names(tmp_path):
    """An option that moves no shape is always written, so that another value is refused."""
    for name, config in (
        ("resnet18", {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}),
        ("resnet50", {}),
        ("resnet101", {"depths": [3, 4, 23, 3]}),
    ):
        source = checkpoints.write(tmp_path / name, {}, {"model_type": "resnet"} | config)
        text = open_weights(source).text
        assert text == f"{name}:halve_first=false,stride_in_1x1=false"
        assert merge_models(f"{name}:zero_init=true", text, source) == f"{text},zero_init=true"
        with pytest.raises(UserError, match=f"has stride_in_1x1=false: --model {name}:stride_in_1x1=true cannot"):
            merge_models(f"{name}:stride_in_1x1=true", text, source)
    wide = {"model_type": "resnet", "embedding_size": 32, "downsample_in_bottleneck": True}
    assert open_weights(checkpoints.write(tmp_path / "wide", {}, wide)).text == (
        "resnet:blocks=3+4+6+3,widths=256+512+1024+2048,bottleneck=true,stem=32,halve_first=false,stride_in_1x1=true"
    )


def test_a_body_alone_has_no_counts_and_gets_a_new_head(tmp_path):
    """As ``ResNetModel`` is saved; and files of other programs have no num_batches_tracked."""
    w, tensors, config, *_ = case("resnet")
    body = {key.removeprefix("resnet."): array for key, array in tensors.items() if not key.startswith("classifier")}
    body = {key: array for key, array in body.items() if not key.endswith("num_batches_tracked")}
    source = checkpoints.write(tmp_path / "hf", body, config)
    model, arena, notes = loaded(source, (19, 16, 3), 4)
    assert notes == (f"{source} has no head for this task: 9.weight, 9.bias begin with new values",)
    views = arena.named_tensors()
    assert np.array_equal(views["6.shortcut.1.running_var"], w["6.shortcut.1.running_var"])
    export_folder(tmp_path / "new", open_weights(source).text, model, views)
    count = safetensors.numpy.load_file(tmp_path / "new/model.safetensors")[
        "resnet.encoder.stages.1.layers.0.shortcut.normalization.num_batches_tracked"
    ]
    assert count.dtype == np.int64
    assert count.shape == ()


def test_images_of_other_channels_do_not_fit(tmp_path):
    _, tensors, config, *_ = case("resnet")
    with pytest.raises(UserError, match=r"embedder\.convolution\.weight is \(8, 3, 7, 7\) and not \(8, 1, 7, 7\)"):
        loaded(checkpoints.write(tmp_path / "hf", tensors, config), (19, 16, 1), 5)


def test_a_missing_statistic_is_named(tmp_path):
    _, tensors, config, *_ = case("resnet")
    name = "resnet.encoder.stages.0.layers.1.layer.0.normalization.running_mean"
    source = checkpoints.write(tmp_path / "hf", {k: v for k, v in tensors.items() if k != name}, config)
    with pytest.raises(UserError, match=f"does not hold this model: it lacks {name}$"):
        loaded(source, (19, 16, 3), 5)


def test_a_run_begins_with_the_weights_and_is_exported(tmp_path, monkeypatch):
    """With its running statistics, which training changes."""
    monkeypatch.chdir(tmp_path)
    w = random_weights("resnet:blocks=1,widths=8,stem=8,bottleneck=false", (8, 8, 1), 10)
    source = checkpoints.write(tmp_path / "hf", *checkpoints.resnet(w, (1,), False))
    settings = {"out": str(tmp_path / "run"), "progress": "none", "steps": 1, "lr": 1e-12}
    trainer = Trainer(data="digits", weights=source, **settings)
    assert all(np.array_equal(view, w[name]) for name, view in trainer.setup.arena.named_tensors().items())
    trainer.fit()
    trained = {name: view.copy() for name, view in trainer.setup.arena.named_tensors().items()}
    export_run(tmp_path / "run", "last", tmp_path / "new")
    again = open_weights(f"hf:{tmp_path / 'new'}")
    model = models.build(again.text, (8, 8, 1), 10)
    arena = Arena(model)
    again.fit(model).load(arena)
    views = arena.named_tensors()
    assert all(np.array_equal(view, trained[name]) for name, view in views.items())
    assert np.allclose(views["0.weight"], w["0.weight"], atol=1e-6)
    assert not np.allclose(views["1.running_var"], w["1.running_var"], atol=1e-3)
