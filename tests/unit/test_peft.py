"""Adapters as peft keeps them: what its own merge computes from the files, and all bits back."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.lora_options import parse_lora
from mpitrain.training.pretrained.export import export_folder
from mpitrain.training.pretrained.peft_read import open_adapters
from mpitrain.training.pretrained.peft_write import export_adapters

V, T, SEED = 11, 6, 7
SIZE = "depth=2,width=8,heads=2"
CASES = {
    "gpt2": (f"gpt:{SIZE}", V),
    "llama": (f"llama:{SIZE},kv_heads=1,hidden=6", V),
    "bert": (f"bert:{SIZE},hidden=10,vocabulary={V}", 3),
    "distilbert": (f"bert:{SIZE},hidden=10,types=0,pooler=relu", V),
    "vit": (f"vit:{SIZE},hidden=10,patch=2", 3),
}
ON = ("*.qkv.q+*.qkv.v", "*.qkv", "*.attention+*.mlp.2", "1.attention.out+2.mlp.0", "*.qkv.k,train=*.norm1")


def build(name):
    text, outputs = CASES[name]
    shape = (4, 4, 3) if name == "vit" else (T,)
    return models.build(text, shape, outputs, **({"vocabulary": V} if "vocabulary" in text else {}))


def samples(name):
    rng = np.random.default_rng(SEED)
    return rng.standard_normal((3, 4, 4, 3)).astype(np.float32) if name == "vit" else rng.integers(0, V, (3, T))


def with_adapters(name, text, seed=SEED):
    """Return a model of random weights and adapters, and all its tensors."""
    model, rng = models.add_lora(build(name), text), np.random.default_rng(seed)
    tensors = Arena(model, seed=seed).named_tensors()
    for view in tensors.values():
        view += (0.3 * rng.standard_normal(view.shape)).astype(np.float32)
    return model, tensors


def merged_by_peft(base, folder):
    """Return the weights that peft merges: W + (alpha / r) B A, or its transpose where W is (I, O)."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = safetensors.numpy.load_file(folder / "adapter_model.safetensors")
    merged, pairs = {key: array.astype(np.float64) for key, array in base.items()}, 0
    for name, array in tensors.items():
        key = name.removeprefix("base_model.model.")
        if not key.endswith(".lora_A.weight"):
            if not key.endswith(".lora_B.weight"):
                assert any(key.rpartition(".")[0].endswith(one) for one in config["modules_to_save"])
                merged[key] = array.astype(np.float64)
            continue
        module = key.removesuffix(".lora_A.weight")
        assert any(f".{module}".endswith(f".{target}") for target in config["target_modules"])
        assert array.shape[0] == config["r"]
        delta = tensors[name.replace("lora_A", "lora_B")].astype(np.float64) @ array
        delta *= config["lora_alpha"] / config["r"]
        merged[f"{module}.weight"] += delta.T if config["fan_in_fan_out"] else delta
        pairs += 1
    modules = [key.removesuffix(".weight") for key in base if key.endswith(".weight")]
    matched = [one for one in modules if any(f".{one}".endswith(f".{target}") for target in config["target_modules"])]
    assert len(matched) == pairs, "a target means a module that has no adapter"
    return merged


@pytest.mark.parametrize("on", ON)
@pytest.mark.parametrize("name", CASES)
def test_round_trip(tmp_path, name, on):
    text, options = CASES[name][0], parse_lora(f"rank=2,alpha=3,dropout=0.1,on={on}")
    model, tensors = with_adapters(name, options)
    expected = model.forward(samples(name), Context(training=False)).copy()
    files = export_adapters(tmp_path / "peft", text, model, tensors, options, base="somewhere")
    assert [path.name for path in files] == ["adapter_model.safetensors", "adapter_config.json"]

    merged = models.merge_lora(model, tensors)
    plain = models.remove_lora(build(name))
    own = {key: view for key, view in tensors.items() if ".lora" not in key}
    export_folder(tmp_path / "base", text, plain, own)
    export_folder(tmp_path / "merged", text, plain, merged)
    theirs = merged_by_peft(safetensors.numpy.load_file(tmp_path / "base/model.safetensors"), tmp_path / "peft")
    for key, array in safetensors.numpy.load_file(tmp_path / "merged/model.safetensors").items():
        np.testing.assert_allclose(array, theirs[key], rtol=0, atol=1e-6, err_msg=f"{key}, seed {SEED}")

    fit = open_adapters(f"peft:{tmp_path / 'peft'}").fit(text, plain, "")
    assert fit.options.dropout == 0.1
    again = Arena(models.add_lora(plain, fit.options), seed=SEED + 1)
    for key, view in again.named_tensors().items():
        if key in own and not any(key.endswith(one) for one in fit.options.train):
            view[...] = own[key]
    fit.load(again)
    np.testing.assert_array_equal(plain.forward(samples(name), Context(training=False)), expected)


def test_files_of_a_llama(tmp_path):
    model, tensors = with_adapters("llama", "rank=2")
    export_adapters(tmp_path, CASES["llama"][0], model, tensors, parse_lora("rank=2"), base="dir")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    wanted = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "bias": "none"}
    wanted |= {"target_modules": ["q_proj", "v_proj"], "fan_in_fan_out": False, "base_model_name_or_path": "dir"}
    assert {key: config[key] for key in wanted} == wanted
    found = safetensors.numpy.load_file(tmp_path / "adapter_model.safetensors")
    layer = "base_model.model.model.layers.{}.self_attn.{}_proj.lora_{}.weight"
    assert set(found) == {layer.format(block, part, letter) for block in (0, 1) for part in "qv" for letter in "AB"}
    assert np.array_equal(found[layer.format(1, "v", "A")], tensors["2.attention.qkv.lora_v.a"].T)
    assert np.array_equal(found[layer.format(1, "v", "B")], tensors["2.attention.qkv.lora_v.b"].T)
    with pytest.raises(UserError, match="holds adapters already: write over it with --force"):
        export_adapters(tmp_path, CASES["llama"][0], model, tensors, parse_lora("rank=2"))
    export_adapters(tmp_path, CASES["llama"][0], model, tensors, parse_lora("rank=2"), force=True)


def test_what_peft_cannot_have(tmp_path):
    text = CASES["vit"][0]
    for on, message in (("0.project", "0.project has adapters and is no Linear in transformers"),):
        model, tensors = with_adapters("vit", f"rank=2,on={on}")
        with pytest.raises(UserError, match=message):
            export_adapters(tmp_path, text, model, tensors, parse_lora("rank=2"))
    for train, message in (
        ("*.qkv", "1.attention.qkv.weight is trained and has adapters, which peft does not do"),
        ("0.token", "vit.embeddings.cls_token is trained and no weight or bias of a layer"),
    ):
        model, tensors = with_adapters("vit", f"rank=2,train={train}")
        with pytest.raises(UserError, match=message):
            export_adapters(tmp_path, text, model, tensors, parse_lora(f"rank=2,train={train}"))


@pytest.fixture
def folder(tmp_path):
    model, tensors = with_adapters("gpt2", "rank=2")
    export_adapters(tmp_path, CASES["gpt2"][0], model, tensors, parse_lora("rank=2"))
    return tmp_path


def change(folder: Path, **settings):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_dora": True}, "use_dora is True, but our adapters compute False only"),
        ({"bias": "all"}, "bias is 'all', but our adapters compute 'none' only"),
        ({"rank_pattern": {"c_attn": 3}}, "rank_pattern is {'c_attn': 3}, but our adapters compute {} only"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3', but our adapters compute 'LORA' only"),
        ({"r": "four"}, "is damaged: it does not say r, lora_alpha and lora_dropout"),
        ({"r": 3}, r"h.0.attn.c_attn.lora_A.weight is \(4, 8\), not \(3, 8\)"),
    ],
)
def test_settings_that_ours_do_not_compute(folder, settings, message):
    change(folder, **settings)
    with pytest.raises(UserError, match=message):
        open_adapters(f"peft:{folder}").fit(CASES["gpt2"][0], build("gpt2"), "")


def test_adapters_of_another_model(folder):
    with pytest.raises(UserError, match=r"does not fit this model: there is no place for .*c_attn.lora_A.weight"):
        open_adapters(f"peft:{folder}").fit(CASES["llama"][0], build("llama"), "")
    with pytest.raises(UserError, match=r"mlp is no model that Hugging Face's transformers has"):
        open_adapters(f"peft:{folder}").fit("mlp", models.build("mlp", (4,), 3), "")


def test_options_given_besides(folder):
    adapters, text, model = open_adapters(f"peft:{folder}"), CASES["gpt2"][0], build("gpt2")
    options = adapters.fit(text, model, "rank=4,dropout=0.5,train=*.norm1").options
    assert (options.rank, options.dropout, options.train) == (4, 0.5, ("*.norm1",))
    for given, message in (("rank=2", "has rank=4: --lora rank=2 cannot change that"), ("on=1", "leave on= of --lora")):
        with pytest.raises(UserError, match=message):
            adapters.fit(text, model, given)


def test_folders_that_are_none(tmp_path):
    for source, message in (
        ("dir", r"--lora-weights is peft:DIR, a folder of adapters, not 'dir'"),
        (f"peft:{tmp_path}", r"cannot read .*adapter_config.json: No such file"),
    ):
        with pytest.raises(UserError, match=message):
            open_adapters(source)
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(UserError, match="is damaged: it is no JSON object"):
        open_adapters(f"peft:{tmp_path}")


def test_a_target_means_no_module_that_holds_others(tmp_path):
    """The classifier of a ResNet is the Linear 1 of a list, and its second stage has the number 1, too."""
    text, options = "resnet:blocks=1+1,widths=8+8,stem=8,bottleneck=false", parse_lora("rank=2,on=7")
    model = models.add_lora(models.build(text, (8, 8, 3), 3), options)
    export_adapters(tmp_path / "peft", text, model, Arena(model).named_tensors(), options)
    config = json.loads((tmp_path / "peft/adapter_config.json").read_text())
    assert config["target_modules"] == ["classifier.1"]
