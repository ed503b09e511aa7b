"""Checkpoints as Hugging Face's transformers writes them, made from our names and layouts with plain NumPy.

``w`` maps our names to arrays. Each function returns the tensors by their names there, and config.json.
"""

import json
from pathlib import Path

import numpy as np
import safetensors.numpy


def linear(w, here, *there):
    """Our Linear (I, O) as those of PyTorch (O, I), side by side."""
    widths = {"qkv": 3}.get(here.rpartition(".")[2], len(there))
    assert widths == len(there)
    out = {}
    for kind in ("weight", "bias"):
        if f"{here}.{kind}" in w:
            for name, piece in zip(there, np.split(w[f"{here}.{kind}"], len(there), axis=-1), strict=True):
                out[f"{name}.{kind}"] = piece.T
    return out


def norm(w, here, there):
    return {f"{there}.{kind}": w[f"{here}.{kind}"] for kind in ("weight", "bias") if f"{here}.{kind}" in w}


def gpt2(w, depth, heads):
    out = {"transformer.wte.weight": w["0.weight"], "transformer.wpe.weight": w["0.positions"]}
    for i in range(depth):
        here, there = f"{i + 1}", f"transformer.h.{i}"
        out |= norm(w, f"{here}.norm1", f"{there}.ln_1") | norm(w, f"{here}.norm2", f"{there}.ln_2")
        out |= norm(w, f"{here}.attention.qkv", f"{there}.attn.c_attn")
        out |= norm(w, f"{here}.attention.out", f"{there}.attn.c_proj")
        out |= norm(w, f"{here}.mlp.0", f"{there}.mlp.c_fc") | norm(w, f"{here}.mlp.2", f"{there}.mlp.c_proj")
    out |= norm(w, f"{depth + 1}", "transformer.ln_f")
    positions, width = w["0.positions"].shape
    config = {"model_type": "gpt2", "n_positions": positions, "n_embd": width, "n_layer": depth, "n_head": heads}
    return out, config | {"vocab_size": len(w["0.weight"])}


def llama(w, depth, heads, kv_heads, base):
    out = {"model.embed_tokens.weight": w["0.weight"]}
    width = w["0.weight"].shape[1]
    size = width // heads
    for i in range(depth):
        here, there = f"{i + 1}", f"model.layers.{i}"
        out |= norm(w, f"{here}.norm1", f"{there}.input_layernorm")
        q, k, v = np.split(w[f"{here}.attention.qkv.weight"], [width, width + kv_heads * size], axis=1)
        for letter, array in (("q", q), ("k", k), ("v", v)):
            out[f"{there}.self_attn.{letter}_proj.weight"] = array.T
        out |= linear(w, f"{here}.attention.out", f"{there}.self_attn.o_proj")
        out |= norm(w, f"{here}.norm2", f"{there}.post_attention_layernorm")
        out |= linear(w, f"{here}.mlp.0", f"{there}.mlp.gate_proj", f"{there}.mlp.up_proj")
        out |= linear(w, f"{here}.mlp.2", f"{there}.mlp.down_proj")
    out |= norm(w, f"{depth + 1}", "model.norm") | linear(w, f"{depth + 2}", "lm_head")
    config = {"model_type": "llama", "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    config |= {"num_key_value_heads": kv_heads, "intermediate_size": len(w["1.mlp.2.weight"]), "rms_norm_eps": 1e-5}
    tied = "lm_head.weight" not in out
    return out, config | {"rope_theta": base, "tie_word_embeddings": tied, "vocab_size": len(w["0.weight"])}


def bert(w, depth, heads):
    out = {
        "bert.embeddings.word_embeddings.weight": w["0.weight"],
        "bert.embeddings.position_embeddings.weight": w["0.positions"],
        "bert.embeddings.token_type_embeddings.weight": w["0.types"],
    }
    out |= norm(w, "0.norm", "bert.embeddings.LayerNorm")
    for i in range(depth):
        here, there = f"{i + 1}", f"bert.encoder.layer.{i}"
        own = f"{there}.attention.self"
        out |= linear(w, f"{here}.attention.qkv", f"{own}.query", f"{own}.key", f"{own}.value")
        out |= linear(w, f"{here}.attention.out", f"{there}.attention.output.dense")
        out |= norm(w, f"{here}.norm1", f"{there}.attention.output.LayerNorm")
        out |= linear(w, f"{here}.mlp.0", f"{there}.intermediate.dense")
        out |= linear(w, f"{here}.mlp.2", f"{there}.output.dense")
        out |= norm(w, f"{here}.norm2", f"{there}.output.LayerNorm")
    if f"{depth + 4}.weight" in w:
        out |= linear(w, f"{depth + 2}", "bert.pooler.dense") | linear(w, f"{depth + 4}", "classifier")
    else:
        out |= linear(w, f"{depth + 1}", "cls.predictions.transform.dense")
        out |= norm(w, f"{depth + 3}", "cls.predictions.transform.LayerNorm")
        out["cls.predictions.bias"] = w[f"{depth + 4}.bias"]
    positions, width = w["0.positions"].shape
    config = {"model_type": "bert", "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    config |= {"intermediate_size": len(w["1.mlp.2.weight"]), "max_position_embeddings": positions}
    return out, config | {"vocab_size": len(w["0.weight"])}


def distilbert(w, depth, heads):
    out = {
        "distilbert.embeddings.word_embeddings.weight": w["0.weight"],
        "distilbert.embeddings.position_embeddings.weight": w["0.positions"],
    }
    out |= norm(w, "0.norm", "distilbert.embeddings.LayerNorm")
    for i in range(depth):
        here, there = f"{i + 1}", f"distilbert.transformer.layer.{i}"
        out |= linear(w, f"{here}.attention.qkv", *(f"{there}.attention.{one}_lin" for one in "qkv"))
        out |= linear(w, f"{here}.attention.out", f"{there}.attention.out_lin")
        out |= norm(w, f"{here}.norm1", f"{there}.sa_layer_norm")
        out |= linear(w, f"{here}.mlp.0", f"{there}.ffn.lin1") | linear(w, f"{here}.mlp.2", f"{there}.ffn.lin2")
        out |= norm(w, f"{here}.norm2", f"{there}.output_layer_norm")
    if f"{depth + 4}.weight" in w:
        out |= linear(w, f"{depth + 2}", "pre_classifier") | linear(w, f"{depth + 4}", "classifier")
    else:
        out |= linear(w, f"{depth + 1}", "vocab_transform") | norm(w, f"{depth + 3}", "vocab_layer_norm")
        out["vocab_projector.bias"] = w[f"{depth + 4}.bias"]
    positions, width = w["0.positions"].shape
    config = {"model_type": "distilbert", "dim": width, "n_layers": depth, "n_heads": heads}
    config |= {"hidden_dim": len(w["1.mlp.2.weight"]), "max_position_embeddings": positions}
    return out, config | {"vocab_size": len(w["0.weight"])}


def vit(w, depth, heads, patch, channels):
    width = len(w["0.token"])
    kernel = np.empty((width, channels, patch, patch), np.float32)
    for i, j, c in np.ndindex(patch, patch, channels):
        kernel[:, c, i, j] = w["0.project.weight"][(i * patch + j) * channels + c]
    out = {
        "vit.embeddings.cls_token": w["0.token"][None, None],
        "vit.embeddings.position_embeddings": w["0.positions"][None],
        "vit.embeddings.patch_embeddings.projection.weight": kernel,
        "vit.embeddings.patch_embeddings.projection.bias": w["0.project.bias"],
    }
    for i in range(depth):
        here, there = f"{i + 1}", f"vit.encoder.layer.{i}"
        own = f"{there}.attention.attention"
        out |= norm(w, f"{here}.norm1", f"{there}.layernorm_before")
        out |= linear(w, f"{here}.attention.qkv", f"{own}.query", f"{own}.key", f"{own}.value")
        out |= linear(w, f"{here}.attention.out", f"{there}.attention.output.dense")
        out |= norm(w, f"{here}.norm2", f"{there}.layernorm_after")
        out |= linear(w, f"{here}.mlp.0", f"{there}.intermediate.dense")
        out |= linear(w, f"{here}.mlp.2", f"{there}.output.dense")
    out |= norm(w, f"{depth + 1}", "vit.layernorm") | linear(w, f"{depth + 3}", "classifier")
    config = {"model_type": "vit", "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    return out, config | {"intermediate_size": len(w["1.mlp.2.weight"]), "patch_size": patch, "layer_norm_eps": 1e-6}


def resnet(w, blocks, bottleneck, early=False):
    """``early``: the first stage halves the images, too, and bottlenecks halve them in their first convolution."""
    out, place = convolution(w, "0", "1", "resnet.embedder.embedder"), 4
    widths = []
    for stage, count in enumerate(blocks):
        for number in range(count):
            here, there = f"{place}", f"resnet.encoder.stages.{stage}.layers.{number}"
            for k in range(3 if bottleneck else 2):
                out |= convolution(w, f"{here}.body.{3 * k}", f"{here}.body.{3 * k + 1}", f"{there}.layer.{k}")
            if f"{here}.shortcut.0.weight" in w:
                out |= convolution(w, f"{here}.shortcut.0", f"{here}.shortcut.1", f"{there}.shortcut")
            place += 1
        widths.append(w[f"{place - 1}.body.{6 if bottleneck else 3}.weight"].shape[-1])
    out |= linear(w, f"{place + 1}", "classifier.1")
    config = {"model_type": "resnet", "layer_type": "bottleneck" if bottleneck else "basic", "depths": [*blocks]}
    config |= {"downsample_in_first_stage": early, "downsample_in_bottleneck": early and bottleneck}
    channels, stem = w["0.weight"].shape[2:]
    return out, config | {"num_channels": channels, "embedding_size": stem, "hidden_sizes": widths}


def convolution(w, here, norm_here, there):
    """A convolution and the batch norm behind it."""
    norm = {kind: w[f"{norm_here}.{kind}"] for kind in ("weight", "bias", "running_mean", "running_var")}
    norm["num_batches_tracked"] = np.zeros((), np.int64)
    kernels = {f"{there}.convolution.weight": np.einsum("ijco->ocij", w[f"{here}.weight"])}
    return kernels | {f"{there}.normalization.{kind}": array for kind, array in norm.items()}


def write(folder: Path, tensors, config):
    """Write a checkpoint of one file; return its source."""
    folder.mkdir(exist_ok=True)
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    safetensors.numpy.save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return f"hf:{folder}"


def write_shards(folder: Path, tensors, config, count):
    """Write a checkpoint of several files and their index; return its source."""
    folder.mkdir(exist_ok=True)
    places = {}
    for number in range(count):
        name = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = {key: np.ascontiguousarray(tensors[key]) for key in sorted(tensors)[number::count]}
        safetensors.numpy.save_file(part, folder / name)
        places |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text(json.dumps(config))
    return f"hf:{folder}"
