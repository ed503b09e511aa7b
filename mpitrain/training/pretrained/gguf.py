"""GGUF files of Llama-shaped models (llama.cpp), dequantized by the package ``gguf``, an extra: ``gguf``.

Their queries and keys have the rotary pairs next to each other (``layouts.neighbors``).
"""

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...json_text import to_json
from ...layers import Sequential
from ...plain_text import visible
from .architecture import Architecture, attention_of
from .checkpoint import Pretrained, model_text
from .layouts import LINEAR, neighbors
from .llama import is_tied
from .llama import settings as llama_settings
from .rules import Line, Table, linear, same

CONTROL = 3  # token_type of special tokens
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")  # of a special token


class GgufTensors:
    """The tensors of a GGUF file; see ``tensors.Tensors``."""

    def __init__(self, path: Path):
        self.files = [path]
        self._gguf = _import_gguf()
        if not path.is_file():
            raise UserError(f"cannot read the weights {path}: there is no such file")
        try:
            self._reader = self._gguf.GGUFReader(path)
        except Exception as error:  # the package raises what it meets
            damage = f"it is no whole GGUF file ({visible(str(error))})"
            raise UserError(f"cannot read the weights {path}: {damage}") from None
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self.shapes = {name: tuple(map(int, tensor.shape[::-1])) for name, tensor in self._tensors.items()}

    def read(self, name: str) -> np.ndarray:
        """Return a tensor in float32.

        Raises
        ------
        UserError
            If the package does not know its quantization.
        """
        tensor = self._tensors[name]
        try:
            array: np.ndarray = self._gguf.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:  # the package's own error for a type that it has no reader for
            kind = tensor.tensor_type.name
            raise UserError(
                f"{self.files[0]}: {name} is of the type {kind}, which the package gguf cannot read"
            ) from None
        return array.reshape(self.shapes[name]).astype(np.float32, copy=False)

    def value(self, key: str, default: Any = None) -> Any:
        """Return an entry of the metadata: a number, a text, or a list of these."""
        field = self._reader.fields.get(key)
        return default if field is None else field.contents()


def open_gguf(source: str, path: Path) -> Pretrained:
    """Return the weights of a file.

    Raises
    ------
    UserError
        If it is none, or its model is not Llama-shaped.
    """
    tensors = GgufTensors(path)
    if (name := tensors.value("general.architecture")) != "llama":
        raise UserError(f"{path} holds a {name}, and only Llama-shaped models are read")
    tokenizer = path.with_name("tokenizer.json")
    text = model_text("llama", _options(tensors))
    return Pretrained(source, text, GGUF, tensors, tokenizer if tokenizer.is_file() else None)


def _options(tensors: GgufTensors) -> dict[str, Any]:
    facts = {
        "depth": "block_count",
        "width": "embedding_length",
        "heads": "attention.head_count",
        "hidden": "feed_forward_length",
        "eps": "attention.layer_norm_rms_epsilon",
    }
    options = {option: tensors.value(f"llama.{key}") for option, key in facts.items()}
    if missing := [facts[option] for option, value in options.items() if not isinstance(value, int | float)]:
        raise UserError(f"{tensors.files[0]} is damaged: it does not say {', '.join(missing)}")
    if tensors.value("llama.rope.scaling.type", "none") != "none" or "rope_freqs.weight" in tensors.shapes:
        raise UserError(f"{tensors.files[0]} scales its rotary positions, which our llama does not")
    head_size = options["width"] // max(1, options["heads"])
    if (turned := tensors.value("llama.rope.dimension_count", head_size)) != head_size:
        raise UserError(
            f"{tensors.files[0]} turns {turned} of the {head_size} numbers of a head, and our llama turns all"
        )
    kv_heads = tensors.value("llama.attention.head_count_kv", options["heads"])
    base = float(np.float32(tensors.value("llama.rope.freq_base", 10000.0)))
    eps = float(str(np.float32(options["eps"])))  # 1e-05, and not its float32 value in more digits
    return options | {"kv_heads": kv_heads, "base": base, "eps": eps, "tied": "output.weight" not in tensors.shapes}


def table(model: Sequential) -> Table:
    """Return the names."""
    turned = neighbors(attention_of(model).head_size)
    head = [] if is_tied(model) else [linear("", "output")]
    return Table(
        first=[same("weight", "token_embd.weight")],
        block=[
            same("norm1", "attn_norm"),
            Line("attention.qkv", ("attn_q", "attn_k", "attn_v"), (turned, turned, LINEAR)),
            linear("attention.out", "attn_output"),
            same("norm2", "ffn_norm"),
            linear("mlp.0", "ffn_gate", "ffn_up"),
            linear("mlp.2", "ffn_down"),
        ],
        blocks="blk.{}",
        rest=[same("", "output_norm"), *head],
    )


GGUF = Architecture("gguf", "llama", lambda settings: {}, table, llama_settings)


def tokenizer_text(path: Path) -> str:
    """Return the tokenizer of a file as the text of a tokenizer.json.

    Raises
    ------
    UserError
        If it is not one of bytes (BPE), or of a kind with rules of its own.
    """
    tensors = GgufTensors(path)
    if (kind := tensors.value("tokenizer.ggml.model")) != "gpt2":
        raise UserError(f"{path} has a tokenizer of the kind {kind!r}, and only those of bytes (gpt2) can be written")
    tokens, merges = tensors.value("tokenizer.ggml.tokens"), tensors.value("tokenizer.ggml.merges")
    kinds = tensors.value("tokenizer.ggml.token_type", [1] * len(tokens))
    special = [
        {"id": number, "content": text, "special": True, **dict.fromkeys(FLAGS, False)}
        for number, (text, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind == CONTROL
    ]
    steps = [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]
    if tensors.value("tokenizer.ggml.pre") == "smollm":
        steps = [{"type": "Digits", "individual_digits": True}, *steps]
    facts = {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "post_processor": None,
        "decoder": steps[-1],
        "model": {"type": "BPE", "vocab": {text: number for number, text in enumerate(tokens)}, "merges": merges},
    }
    return to_json(facts)


def _import_gguf() -> Any:
    try:
        import gguf
    except ImportError:
        raise UserError("gguf:FILE needs the package gguf: pip install mpitrain[gguf] installs it") from None
    return gguf
