"""Checkpoints of Hugging Face: logits by independent formulas, all bits back, and what does not fit."""

import json
import sys
from functools import partial

import numpy as np
import pytest
import safetensors.numpy

from mpitrain import Trainer, models
from mpitrain.arena import Arena
from mpitrain.config_keywords import config_from
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import Embedding, Linear, Sequential
from mpitrain.training.pretrained import layouts
from mpitrain.training.pretrained.export import export_folder
from mpitrain.training.pretrained.source import merge_models, open_weights
from mpitrain.training.pretrained.with_weights import with_weights
from tests import checkpoints, resnet_formulas
from tests import transformer_formulas as formulas

V, T, SEED = 11, 6, 7
SIZES = "depth=2,width=16,heads=4"


def random_weights(text, shape, num_outputs, **options):
    """Return random float32 parameters, and running statistics, of a model by our names."""
    arena = Arena(models.build(text, shape, num_outputs, **options), seed=SEED)
    rng = np.random.default_rng(SEED)
    for p in arena.parameters:
        p.data += (0.3 * rng.standard_normal(p.shape)).astype(np.float32)
    arena.states += rng.random(arena.states.shape, np.float32)
    return arena.named_tensors()


def loaded(source, shape, num_outputs, given="convnet", **options):
    """Return the model of a checkpoint with its weights, their arena, and the notes."""
    weights = open_weights(source)
    model = models.build(merge_models(given, weights.text, source), shape, num_outputs, **options)
    fit = weights.fit(model)
    arena = Arena(model, seed=SEED + 1)
    fit.load(arena)
    return model, arena, fit.notes


def relu_classes(w, row):
    """The classifier of DistilBERT: bert's with a ReLU."""
    first = formulas.bert_body(w | {"0.types": np.zeros((1, 16))}, row, 2, 4)[:1]
    return formulas.dense(w, "6", np.maximum(formulas.dense(w, "4", first), 0))[0]


def words(w, row):
    return formulas.bert_words(w | {"0.types": w.get("0.types", np.zeros((1, 16)))}, row, 2, 4)


def resnet(options, blocks, bottleneck, early=False):
    """Return a case of a small ResNet."""
    text = f"resnet:blocks={'+'.join(map(str, blocks))},bottleneck={str(bottleneck).lower()},stem=8,{options}"
    sizes = {"blocks": blocks, "bottleneck": bottleneck, "early": early}
    formula = partial(resnet_formulas.resnet, **sizes)
    return text, 5, partial(checkpoints.resnet, **sizes), formula


LLAMA = "llama:depth=2,width=16,heads=4,hidden=10"
CASES = {
    "gpt2": (
        f"gpt:{SIZES},window=9",
        V,
        partial(checkpoints.gpt2, depth=2, heads=4),
        lambda w, row: formulas.gpt(w, row, 2, 4),
    ),
    "llama": (
        f"{LLAMA},kv_heads=2,base=500",
        V,
        partial(checkpoints.llama, depth=2, heads=4, kv_heads=2, base=500.0),
        lambda w, row: formulas.llama(w, row, 2, 4, 2, 500),
    ),
    "llama-untied": (
        f"{LLAMA},kv_heads=1,tied=false",
        V,
        partial(checkpoints.llama, depth=2, heads=4, kv_heads=1, base=10000.0),
        lambda w, row: formulas.llama(w, row, 2, 4, 1, 10000),
    ),
    "bert": (
        f"bert:{SIZES},hidden=20,window=9,vocabulary={V}",
        3,
        partial(checkpoints.bert, depth=2, heads=4),
        lambda w, row: formulas.bert_classes(w, row, 2, 4),
    ),
    "bert-words": (f"bert:{SIZES},hidden=20,window=9", V, partial(checkpoints.bert, depth=2, heads=4), words),
    "distilbert": (
        f"bert:{SIZES},hidden=20,window=9,types=0,pooler=relu,vocabulary={V}",
        3,
        partial(checkpoints.distilbert, depth=2, heads=4),
        relu_classes,
    ),
    "distilbert-words": (
        f"bert:{SIZES},hidden=20,window=9,types=0",
        V,
        partial(checkpoints.distilbert, depth=2, heads=4),
        words,
    ),
    "vit": (
        f"vit:{SIZES},hidden=20,patch=2",
        5,
        partial(checkpoints.vit, depth=2, heads=4, patch=2, channels=3),
        lambda w, image: formulas.vit(w, image, 2, 2, 4),
    ),
    "resnet": resnet("widths=8+12", (2, 2), False),
    "resnet-bottleneck": resnet("widths=16+24+8", (1, 2, 1), True),
    "resnet-early": resnet("widths=16+24,halve_first=true,stride_in_1x1=true", (2, 1), True, early=True),
}
IMAGES = {"vit": (4, 4, 3), "resnet": (19, 16, 3)}


def case(name):
    """Return our weights, the checkpoint's tensors and config, the formula, the samples, and how the model is built."""
    text, num_outputs, convert, formula = CASES[name]
    shape = IMAGES.get(name.partition("-")[0], (T,))
    w = random_weights(text, shape, num_outputs)
    rng = np.random.default_rng(SEED)
    x = rng.integers(0, V, (3, T)) if shape == (T,) else rng.standard_normal((3, *shape)).astype(np.float32)
    options = {"vocabulary": V} if "vocabulary" in text else {}
    return w, *convert(w), formula, x, (shape, num_outputs, options)


@pytest.mark.parametrize("name", CASES)
def test_logits(tmp_path, name):
    w, tensors, config, formula, x, (shape, num_outputs, options) = case(name)
    model, arena, notes = loaded(checkpoints.write(tmp_path / "hf", tensors, config), shape, num_outputs, **options)
    assert notes == ()
    logits, double = (
        model.forward(x, Context(training=False)),
        {key: array.astype(np.float64) for key, array in w.items()},
    )
    for sample, found in zip(x, logits, strict=True):
        np.testing.assert_allclose(found, formula(double, sample), rtol=0, atol=1e-4, err_msg=f"seed {SEED}")
    assert all(np.array_equal(view, w[key]) for key, view in arena.named_tensors().items())


@pytest.mark.parametrize("name", CASES)
def test_export_preserves_all_bits(tmp_path, name):
    _, tensors, config, _, _, (shape, num_outputs, options) = case(name)
    source = checkpoints.write(tmp_path / "hf", tensors, config)
    text = open_weights(source).text
    model, arena, _ = loaded(source, shape, num_outputs, **options)
    export_folder(tmp_path / "new", text, model, arena.named_tensors())
    again = safetensors.numpy.load_file(tmp_path / "new/model.safetensors")
    assert again.keys() == tensors.keys()
    assert all(again[key].tobytes() == np.ascontiguousarray(tensors[key]).tobytes() for key in tensors)
    assert open_weights(f"hf:{tmp_path / 'new'}").text == text
    written = json.loads((tmp_path / "new/config.json").read_text())
    assert {key: written.get(key) for key in config} == config
    _, second, _ = loaded(f"hf:{tmp_path / 'new'}", shape, num_outputs, **options)
    assert second.values.tobytes() == arena.values.tobytes()


def test_dropout_moves_no_names(tmp_path):
    """Layers of dropout shift the numbers of the layers behind them."""
    w, tensors, config, _, _, (shape, num_outputs, options) = case("bert")
    source = checkpoints.write(tmp_path / "hf", tensors, config)
    model, arena, _ = loaded(source, shape, num_outputs, "bert:dropout=0.1", **options)
    assert np.array_equal(arena.named_tensors()["8.weight"], w["6.weight"])
    export_folder(tmp_path / "new", "bert", model, arena.named_tensors())
    written = json.loads((tmp_path / "new/config.json").read_text())
    assert written["hidden_dropout_prob"] == 0.1
    again = safetensors.numpy.load_file(tmp_path / "new/model.safetensors")
    assert np.array_equal(again["classifier.weight"], w["6.weight"].T)


def test_a_body_alone_gets_a_new_head(tmp_path):
    """As MiniLM: names without "bert.", no classifier; and the first BERT's names of norms."""
    w, tensors, config, *_ = case("bert")
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    body = dict(tensors)
    for key in tensors:
        for new, before in old.items():
            if key.endswith(new):
                body[key.replace(new, before)] = body.pop(key)
    body = {key.removeprefix("bert."): array for key, array in body.items() if not key.startswith("classifier")}
    body["embeddings.position_ids"] = np.arange(9)[None]
    source = checkpoints.write(tmp_path / "hf", body, config)
    _, arena, notes = loaded(source, (T,), 4, vocabulary=V)
    assert notes == (f"{source} has no head for this task: 6.weight, 6.bias begin with new values",)
    views = arena.named_tensors()
    assert np.array_equal(views["4.weight"], w["4.weight"])
    assert views["6.weight"].any()
    _, _, notes = loaded(source, (T,), V)  # words: the pooler is of no use
    assert "3.weight, 3.bias, 5.weight, 5.bias, 6.bias begin with new values" in notes[0]
    assert notes[1] == f"not used of {source}: pooler.dense.bias, pooler.dense.weight"


def test_a_head_of_other_classes_begins_anew(tmp_path):
    _, tensors, config, *_ = case("bert")
    _, arena, notes = loaded(checkpoints.write(tmp_path / "hf", tensors, config), (T,), 5, vocabulary=V)
    assert "6.weight, 6.bias begin with new values" in notes[0]
    assert arena.named_tensors()["6.weight"].shape == (16, 5)


def test_shards_and_short_floats(tmp_path):
    w, tensors, config, *_ = case("llama")
    half = {key: array.astype(np.float16) for key, array in tensors.items()}
    _, arena, _ = loaded(checkpoints.write_shards(tmp_path / "half", half, config, 3), (T,), V)
    for key, view in arena.named_tensors().items():
        assert np.array_equal(view, w[key].astype(np.float16).astype(np.float32)), key
    header, data = {}, b""
    for key, array in tensors.items():  # bfloat16, which NumPy has not: the upper halves
        bits = (np.ascontiguousarray(array).view(np.uint32) >> 16).astype("<u2").tobytes()
        header[key] = {"dtype": "BF16", "shape": array.shape, "data_offsets": [len(data), len(data) + len(bits)]}
        data += bits
    text = json.dumps(header).encode()
    folder = tmp_path / "bf16"
    checkpoints.write(folder, tensors, config)
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    _, arena, _ = loaded(f"hf:{folder}", (T,), V)
    for key, view in arena.named_tensors().items():
        assert np.array_equal(view.view(np.uint32), w[key].view(np.uint32) >> 16 << 16), key


def test_what_does_not_fit_is_listed(tmp_path):
    _, tensors, config, *_ = case("gpt2")
    tensors = dict(tensors)
    del tensors["transformer.h.0.ln_1.bias"], tensors["transformer.h.1.attn.c_attn.weight"]
    tensors["transformer.wpe.weight"] = tensors["transformer.wpe.weight"][:5]
    tensors["transformer.h.2.ln_1.weight"] = np.ones(16, np.float32)
    source = checkpoints.write(tmp_path / "hf", tensors, config)
    with pytest.raises(UserError) as error:
        loaded(source, (T,), V)
    assert str(error.value) == (
        f"{source} does not hold this model: it lacks transformer.h.0.ln_1.bias, transformer.h.1.attn.c_attn.weight; "
        "transformer.wpe.weight is (5, 16) and not (9, 16); the model has no transformer.h.2.ln_1.weight"
    )
    _, tensors, config, *_ = case("gpt2")
    with pytest.raises(UserError, match=r"wte.weight is \(11, 16\) and not \(257, 16\)"):
        loaded(checkpoints.write(tmp_path / "hf", tensors, config), (T,), 257)


REFUSED = [
    ("gpt2", {"activation_function": "relu"}, "activation_function is 'relu', but our model computes 'gelu_new'"),
    ("gpt2", {"n_inner": 99}, "n_inner is 99"),
    ("gpt2", {"n_layer": "two"}, "n_layer is 'two', but must be a positive number"),
    ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_type is 'llama3'"),
    ("llama", {"head_dim": 8}, "head_dim is 8"),
    ("llama", {"attention_bias": True}, "attention_bias is True"),
    ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
    ("distilbert", {"activation": "relu"}, "activation is 'relu'"),
    ("vit", {"qkv_bias": False}, "qkv_bias is False"),
    ("resnet", {"hidden_act": "gelu"}, "hidden_act is 'gelu', but our model computes 'relu' only"),
    ("resnet", {"layer_type": "wide"}, "layer_type is 'wide', but our model computes 'basic' or 'bottleneck' only"),
    ("resnet", {"depths": [2, 0]}, r"depths is \[2, 0\], but must be a list of positive whole numbers"),
    ("resnet", {"hidden_sizes": 8}, "hidden_sizes is 8, but must be a list"),
    (
        "bert",
        {"model_type": "t5"},
        "there is no model for 't5' here, only for gpt2, llama, bert, distilbert, vit, resnet",
    ),
]


@pytest.mark.parametrize(("name", "change", "message"), REFUSED, ids=str)
def test_what_our_models_do_not_compute(tmp_path, name, change, message):
    _, tensors, config, *_ = case(name)
    with pytest.raises(UserError, match=message):
        open_weights(checkpoints.write(tmp_path / "hf", tensors, config | change))


def test_new_files_have_rotary_settings_in_a_part(tmp_path):
    _, tensors, config, *_ = case("llama")
    del config["rope_theta"]
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 500.0}
    assert ",base=500.0," in open_weights(checkpoints.write(tmp_path / "hf", tensors, config)).text


def test_bad_folders(tmp_path):
    folder = tmp_path / "hf"
    _, tensors, config, *_ = case("gpt2")
    source = checkpoints.write(folder, tensors, config)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-10])
    with pytest.raises(UserError, match="it is no whole safetensors file"):
        open_weights(source)
    header = b'{"a": {"dtype": "F\\n32", "shape": [0], "data_offsets": [0, 0]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match=r"no whole safetensors file \([^\n]*F\\n32[^\n]*\)$"):  # in one line
        open_weights(source)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="there is no such file"):
        open_weights(source)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match="a pickle, which may run any program"):
        open_weights(source)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    with pytest.raises(UserError, match="does not say which file has which tensor"):
        open_weights(source)
    (folder / "config.json").write_text("[]")
    with pytest.raises(UserError, match="it is no JSON object"):
        open_weights(source)
    with pytest.raises(UserError, match=r"cannot read .*config.json: No such file"):
        open_weights(f"hf:{tmp_path}")
    with pytest.raises(UserError, match=r"or a FILE\.safetensors that mpitrain has written, not 'weights\.pt'"):
        open_weights("weights.pt")


def test_numbers_that_are_no_weights(tmp_path):
    _, tensors, config, *_ = case("gpt2")
    tensors["transformer.wte.weight"] = tensors["transformer.wte.weight"].astype(np.int8)
    with pytest.raises(UserError, match="holds numbers of the type I8, and not weights"):
        loaded(checkpoints.write(tmp_path / "hf", tensors, config), (T,), V)


def test_the_model_given_besides(tmp_path):
    with pytest.raises(UserError, match=r"hf:x is a bert: --model gpt:depth=2 cannot take its weights"):
        merge_models("gpt:depth=2", "bert:depth=3", "hf:x")
    with pytest.raises(UserError, match=r"hf:x has heads=4: --model gpt:heads=2 cannot change that"):
        merge_models("gpt:heads=2", "gpt:heads=4", "hf:x")
    assert (
        merge_models("gpt:eps=1e-5,dropout=0.1", "gpt:depth=3,eps=1e-05", "hf:x") == "gpt:depth=3,eps=1e-05,dropout=0.1"
    )
    assert merge_models("convnet", "gpt:depth=3", "hf:x") == "gpt:depth=3"


def test_models_that_transformers_lacks(tmp_path):
    model = models.build("mlp", (4,), 3)
    with pytest.raises(
        UserError, match=r"mlp is no model that .* transformers has: bert, gpt, llama, resnet, resnet101, .*, vit are"
    ):
        export_folder(tmp_path, "mlp", model, Arena(model).named_tensors())
    model = models.build("vit:depth=1,width=8,heads=1,patch=2", (2, 4, 3), 3)
    with pytest.raises(UserError, match="for square images"):
        export_folder(tmp_path, "vit", model, Arena(model).named_tensors())
    model = models.build("resnet18:small_images=true,blocks=1,widths=4,stem=4", (4, 4, 3), 3)
    with pytest.raises(UserError, match="a 7x7 convolution and a pool first, which small_images replaces"):
        export_folder(tmp_path, "resnet18", model, Arena(model).named_tensors())
    model = models.build("resnet8", (4, 4, 3), 3)
    with pytest.raises(UserError, match="resnet8 is no model that"):
        export_folder(tmp_path, "resnet8", model, Arena(model).named_tensors())


def test_an_export_is_not_overwritten(tmp_path):
    model = models.build("gpt:depth=1,width=8,heads=1", (4,), 5)
    tensors = Arena(model).named_tensors()
    names = [path.name for path in export_folder(tmp_path / "a" / "b", "gpt", model, tensors, tokenizer="{}")]
    assert names == ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
    with pytest.raises(UserError, match="holds a model already: write over it with --force"):
        export_folder(tmp_path / "a" / "b", "gpt", model, tensors)
    export_folder(tmp_path / "a" / "b", "gpt", model, tensors, force=True)


def test_a_trainer_begins_with_the_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    w = random_weights("gpt:depth=2,width=16,heads=4,window=9", (8,), 257)
    source = checkpoints.write(tmp_path / "hf", *checkpoints.gpt2(w, 2, 4))
    (tmp_path / "novel.txt").write_text("one fish, two fish, red fish, blue fish. " * 20)
    settings = {"data": "text:novel.txt,window=8", "progress": "none", "steps": 1}
    trainer = Trainer(weights=source, out=str(tmp_path / "run"), lr=1e-12, **settings)
    assert all(np.array_equal(view, w[name]) for name, view in trainer.setup.arena.named_tensors().items())
    trainer.fit()
    again = Trainer.load(tmp_path / "run")
    assert all(np.allclose(view, w[name], atol=1e-9) for name, view in again.setup.arena.named_tensors().items())
    settings["weights"] = source
    own = Trainer(lambda shape, outputs: models.build(f"gpt:{SIZES},window=9", shape, outputs), **settings)
    assert np.array_equal(own.setup.arena.named_tensors()["0.weight"], w["0.weight"])
    with pytest.raises(UserError, match=r"is a gpt, and the model has no blocks$"):
        Trainer(lambda shape, outputs: Sequential(Embedding(outputs, 4), Linear(4, outputs)), **settings)
    hidden = settings | {"data": f"{settings['data']},mask=0.2"}
    with pytest.raises(UserError, match=r"built in another way than the one that has transformer\.h\.0"):
        Trainer(lambda shape, outputs: models.build("bert:size=tiny", shape, outputs), **hidden)


def test_text_takes_the_tokenizer_of_the_folder(tmp_path):
    _, tensors, config, *_ = case("gpt2")
    source = checkpoints.write(tmp_path / "hf", tensors, config)
    (tmp_path / "hf/tokenizer.json").write_text("{}")
    for given, found in (
        ("text:a.txt", f"text:a.txt,tokenizer={tmp_path}/hf/tokenizer.json"),
        ("csv:a.csv,text=t", f"csv:a.csv,text=t,tokenizer={tmp_path}/hf/tokenizer.json"),
        ("text:a.txt,tokenizer=own.json", "text:a.txt,tokenizer=own.json"),
        ("csv:a.csv,target=y", "csv:a.csv,target=y"),
        ("tokens:dir", "tokens:dir"),
    ):
        assert with_weights(config_from(weights=source, data=given)).data.source == found


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (layouts.SAME, (6, 4)),
        (layouts.LINEAR, (6, 4)),
        (layouts.LINEAR, (6,)),
        (layouts.KERNELS, (5, 3, 2, 4)),
        (layouts.patches(2, 3), (5, 3, 2, 2)),
        (layouts.patches(2, 3), (5,)),
        (layouts.leading(2), (1, 1, 4)),
        (layouts.neighbors(6), (12, 4)),
    ],
    ids=["same", "linear", "linear bias", "kernels", "patches", "patches bias", "leading", "neighbors"],
)
def test_layouts_are_inverse_to_each_other(layout, shape):
    theirs = np.random.default_rng(SEED).standard_normal(shape)
    assert np.array_equal(layout.write(layout.read(theirs)), theirs)


def test_gguf_without_its_package_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match=r"needs the package gguf: pip install mpitrain\[gguf\] installs it"):
        open_weights(f"gguf:{tmp_path / 'm.gguf'}")
