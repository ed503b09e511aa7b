"""A model as a folder of Hugging Face: config.json, model.safetensors, and the tokenizer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from ...json_text import to_json
from ...layers import Layer, Sequential
from .architectures import architecture_of
from .checkpoint import CONFIG, TOKENIZER
from .folder import write_folder
from .rules import rules_of
from .tensors import SINGLE

TOKENIZER_CLASS = {"tokenizer_class": "PreTrainedTokenizerFast"}  # takes the file as it is, and adds no tokens


def export_folder(
    folder: Path,
    text: str,
    model: Layer,
    tensors: Mapping[str, np.ndarray],
    *,
    class_names: Sequence[str] = (),
    tokenizer: bytes | str = "",
    force: bool = False,
) -> list[Path]:
    """Write a model to ``folder``, which is made, and return the files.

    Parameters
    ----------
    text : str
        The model as in --model.
    tensors : mapping of str to array
        The weights of the whole model by our names.
    class_names : sequence of str
        Written as ``id2label``.
    tokenizer : bytes or str
        The contents of tokenizer.json; empty for none.
    force : bool
        Write over an earlier export.

    Raises
    ------
    UserError
        If ``transformers`` has no such model, or the files cannot be written.
    """
    kind = architecture_of(text, model)
    assert isinstance(model, Sequential)
    settings: dict[str, Any] = kind.settings(model) | {"torch_dtype": "float32"}
    if class_names:
        settings["id2label"] = {str(number): name for number, name in enumerate(class_names)}
        settings["label2id"] = {name: number for number, name in enumerate(class_names)}
        settings.pop("num_labels", None)  # their number
    arrays = {
        name: np.ascontiguousarray(array)
        for rule in rules_of(kind.table(model), model)
        for name, array in rule.write(tensors[rule.name]).items()
    }
    arrays |= kind.unused(arrays)
    contents: dict[str, bytes | str] = {
        SINGLE: safetensors.numpy.save(arrays, metadata={"format": "pt"}),
        CONFIG: to_json(settings, indent=2) + "\n",
    }
    if tokenizer:
        contents |= {TOKENIZER: tokenizer, f"{TOKENIZER[:-5]}_config.json": to_json(TOKENIZER_CLASS, indent=2) + "\n"}
    return write_folder(folder, contents, CONFIG, "a model", force)
