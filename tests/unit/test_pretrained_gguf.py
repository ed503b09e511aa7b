"""GGUF files: Llama-shaped models, dequantized, and their tokenizers; as llama.cpp writes them."""

import json

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.training.export import export_gguf
from mpitrain.training.pretrained.source import open_weights
from tests import checkpoints
from tests import transformer_formulas as formulas
from tests.unit.test_pretrained import random_weights

gguf = pytest.importorskip("gguf")
DEPTH, WIDTH, HEADS, KV_HEADS, HIDDEN = 2, 64, 4, 2, 96
TOKENS = ["<|endoftext|>", "a", "b", "c", "ab", "Ġ", "1", "2", "abc"]
MERGES = ["a b", "ab c"]
V = len(TOKENS)
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers": "blk",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}


def interleaved(array, heads):
    """Rows of each head from (first half, second half) to pairs next to each other, row by row."""
    size = len(array) // heads
    order = [h * size + i // 2 + (i % 2) * size // 2 for h in range(heads) for i in range(size)]
    return array[order]


def write(path, w, *, quantized=(), facts=None, architecture="llama", more=None):
    """Write a file with our weights ``w``; those whose names contain one of ``quantized`` in Q8_0."""
    tensors, _ = checkpoints.llama(w, DEPTH, HEADS, KV_HEADS, 500.0)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(DEPTH)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500.0)
    for key, value in (facts or {}).items():
        writer.add_string(key, value) if isinstance(value, str) else writer.add_uint32(key, value)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_merges(MERGES)
    writer.add_token_types([3] + [1] * (V - 1))
    for name, array in tensors.items():
        array = np.ascontiguousarray(array)
        for part, heads in (("q_proj", HEADS), ("k_proj", KV_HEADS)):
            array = interleaved(array, heads) if part in name else array
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        if any(part in name for part in quantized):
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    for name, array in (more or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return f"gguf:{path}"


def our_weights(tied=True):
    text = f"llama:depth={DEPTH},width={WIDTH},heads={HEADS},kv_heads={KV_HEADS},hidden={HIDDEN}"
    return random_weights(f"{text},tied={'true' if tied else 'false'}", (6,), V)


def loaded(source):
    weights = open_weights(source)
    model = models.build(weights.text, (6,), V)
    fit = weights.fit(model)
    arena = Arena(model)
    fit.load(arena)
    return model, arena.named_tensors()


@pytest.mark.parametrize("tied", [True, False])
def test_floats_keep_their_bits(tmp_path, tied):
    w = our_weights(tied)
    model, found = loaded(write(tmp_path / "m.gguf", w))
    assert all(np.array_equal(found[name], w[name]) for name in w)
    row = np.random.default_rng(0).integers(0, V, 6)
    double = {name: array.astype(np.float64) for name, array in w.items()}
    expected = formulas.llama(double, row, DEPTH, HEADS, KV_HEADS, 500)
    np.testing.assert_allclose(model.forward(row[None], Context())[0], expected, rtol=0, atol=1e-3)


def test_quantized_tensors_are_near(tmp_path):
    w = our_weights()
    _, found = loaded(write(tmp_path / "m.gguf", w, quantized=["attn_q", "ffn_down", "token_embd"]))
    exact = [name for name in w if np.array_equal(found[name], w[name])]
    assert {name for name in w if name not in exact} == {
        "0.weight",
        *(f"{block}.{part}.weight" for block in (1, 2) for part in ("attention.qkv", "mlp.2")),
    }
    for name, array in w.items():  # Q8_0: 32 numbers share a scale of their largest / 127
        assert np.abs(found[name] - array).max() <= np.abs(array).max() / 127


def test_a_file_as_a_folder_with_its_tokenizer(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    w = our_weights()
    export_gguf(write(tmp_path / "m.gguf", w), tmp_path / "hf")
    _, found = loaded(f"hf:{tmp_path / 'hf'}")
    assert all(np.array_equal(found[name], w[name]) for name in w)
    config = json.loads((tmp_path / "hf/config.json").read_text())
    assert (config["rope_theta"], config["rms_norm_eps"], config["num_key_value_heads"]) == (500.0, 1e-5, KV_HEADS)
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "hf/tokenizer.json"))
    assert tokenizer.encode("abc ab12<|endoftext|>").ids == [8, 5, 4, 6, 7, 0]
    assert tokenizer.decode([8, 5, 4, 0]) == "abc ab"


def test_files_that_do_not_fit(tmp_path):
    w = our_weights()
    with pytest.raises(UserError, match="there is no such file"):
        open_weights(f"gguf:{tmp_path / 'none.gguf'}")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF, or not")
    with pytest.raises(UserError, match="it is no whole GGUF file"):
        open_weights(f"gguf:{tmp_path / 'bad.gguf'}")
    with pytest.raises(UserError, match="holds a phi2, and only Llama-shaped models are read"):
        open_weights(write(tmp_path / "a.gguf", w, architecture="phi2"))
    with pytest.raises(UserError, match="scales its rotary positions"):
        open_weights(write(tmp_path / "b.gguf", w, facts={"llama.rope.scaling.type": "yarn"}))
    with pytest.raises(UserError, match="turns 8 of the 16 numbers of a head"):
        open_weights(write(tmp_path / "c.gguf", w, facts={"llama.rope.dimension_count": 8}))
    bias = {"blk.0.attn_q.bias": np.zeros(WIDTH, np.float32)}
    with pytest.raises(UserError, match=r"the model has no blk\.0\.attn_q\.bias"):
        loaded(write(tmp_path / "d.gguf", w, more=bias))
    whole = (tmp_path / "d.gguf").read_bytes()
    (tmp_path / "e.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="it is no whole GGUF file"):
        open_weights(f"gguf:{tmp_path / 'e.gguf'}")
