"""ONNX files of models: raw samples in, outputs in the units of the data out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...data.dataset import LANGUAGE_MODELING
from ...data.files import write_atomically
from ...data.matching.signature import Signature
from ...data.normalize import Normalizer
from ...errors import UserError
from ...json_text import to_json
from ...layers import Layer
from ...layers.embedding import sample_dtype
from ...models.adapt import places
from ...plain_text import binary_size
from . import columns, containers, images, rows, tokens  # noqa: F401  (their rules)
from .graph import IR_VERSION, OPSET, Graph, Value, import_onnx
from .rules import NoRule, emit

MOST_BYTES = (1 << 31) - (1 << 20)
"""The size of a file: protocol buffers hold less than 2 GiB."""
INPUT, LOGITS, PROBABILITIES, PREDICTION = "input", "logits", "probabilities", "prediction"


def make_onnx(
    model: Layer,
    signature: Signature,
    normalizer: Normalizer | None,
    target_normalizer: Normalizer | None,
    *,
    name: str = "model",
) -> Any:
    """Return the ONNX model of a network.

    Parameters
    ----------
    model : Layer
        With its weights.
    signature : Signature
        Shape and dtype of samples, the task, and names of classes and columns.
    normalizer, target_normalizer : Normalizer or None
        Of the training data.
    name : str
        Of the graph.

    Raises
    ------
    UserError
        If a layer cannot be exported, or the weights are more than a file can hold.

    Notes
    -----
    Input ``input`` has the dtype of the training samples and any number N of samples: (N, H, W, C) images, (N, C) rows,
    (N, T) tokens, where T is any number up to that of training. Outputs: ``logits`` and ``probabilities`` of classes;
    in regression ``prediction``, float64, in the units of the targets; of language models ``logits`` alone.
    """
    onnx = import_onnx()
    _check_size(model)
    graph, helper = Graph(model), onnx.helper
    dtype = _dtype(model, signature)
    x = _normalized(Value(INPUT, signature.input_shape), dtype, normalizer, graph)
    try:
        y = graph.to_channels_last(emit(model, x, graph))
    except NoRule as error:
        found = next((place.name for place in places(model) if place.layer is error.layer), "")
        raise UserError(str(error).replace("a layer", f"layer {found},", 1) if found else str(error)) from None
    outputs = _outputs(y, signature, target_normalizer, graph)
    of = {name: helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for name, kind in ((INPUT, dtype), *outputs.items())}
    of_input = ["N", *(["T"] if signature.vocabulary else signature.input_shape)]
    of_output = ["N", *(["T", *y.shape[1:]] if signature.vocabulary and len(y.shape) > 1 else y.shape)]
    made = helper.make_graph(
        graph.nodes,
        name,
        [helper.make_tensor_value_info(INPUT, of[INPUT], of_input)],
        [helper.make_tensor_value_info(one, of[one], of_output) for one in outputs],
        list(graph.initializers.values()),
    )
    opset = helper.make_opsetid("", OPSET)
    file = helper.make_model(made, opset_imports=[opset], ir_version=IR_VERSION, producer_name="mpitrain")
    file.producer_version = __version__
    helper.set_model_props(file, _facts(signature))
    onnx.checker.check_model(file)
    return file


def write_onnx(file: Any, path: Path, *, force: bool = False) -> None:
    """Write an ONNX model to ``path``, which is there as a whole or not at all.

    Raises
    ------
    UserError
        If there is a file already, unless ``force``, or it cannot be written.
    """
    check_target(path, force=force)
    write_atomically(path, file.SerializeToString())


def check_target(path: Path, *, force: bool) -> None:
    """Raise a UserError if an ONNX file cannot or should not be written to ``path``."""
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"cannot write {path}: " + ("it is a directory" if path.is_dir() else "no such directory"))
    if path.exists() and not force:
        raise UserError(f"{path} exists already: write over it with --force, or name another file")


def _check_size(model: Layer) -> None:
    sizes = {id(p): p.size for named in (model.named_parameters(), model.named_states()) for _, p in named}
    total = 4 * sum(sizes.values())
    if total > MOST_BYTES:
        raise UserError(f"an ONNX file holds less than 2 GiB, and the model has {binary_size(total)} of weights")


def _dtype(model: Layer, signature: Signature) -> str:
    """Return the dtype of samples: that of training, of tokens and codes int64."""
    if np.issubdtype(sample_dtype(model), np.integer):
        return "int64"
    return signature.dtype if signature.dtype in ("uint8", "float64") else "float32"


def _normalized(x: Value, dtype: str, normalizer: Normalizer | None, graph: Graph) -> Value:
    """Return samples as float32 with mean 0 and deviation 1, computed as ``Normalizer`` does; codes as they are."""
    if dtype == "int64":
        return x
    if normalizer is None:
        return x if dtype == "float32" else Value(graph.add("Cast", x.name, to=1), x.shape)
    kind = np.dtype(np.float64 if dtype == "float64" else np.float32)
    parts = normalizer.parts(np.dtype(dtype))
    name = x.name if dtype == kind.name else graph.add("Cast", x.name, to=11 if kind == np.float64 else 1)
    if parts.mean.dtype == np.float64 and kind != np.float64:
        name = graph.add("Cast", name, to=11)
    name = graph.add("Sub", name, graph.constant(parts.mean, name="mean"))
    if parts.rest is not None:
        name = graph.add("Sub", name, graph.constant(parts.rest, name="rest_of_mean"))
    name = graph.add("Mul", name, graph.constant(parts.scale, name="scale"))
    return Value(name if parts.scale.dtype == np.float32 else graph.add("Cast", name, to=1), x.shape)


def _outputs(y: Value, signature: Signature, normalizer: Normalizer | None, graph: Graph) -> Mapping[str, str]:
    """Add the outputs to the graph, and return their dtypes by name."""
    if normalizer is not None:
        name = graph.add("Cast", y.name, to=11)
        name = graph.add("Mul", name, graph.constant(normalizer.std, name="deviation_of_targets"))
        name = graph.add("Add", name, graph.constant(normalizer.mean, name="mean_of_targets"))
        graph.rename(name, PREDICTION)
        return {PREDICTION: "float64"}
    graph.rename(y.name, LOGITS)
    if signature.task == LANGUAGE_MODELING:
        return {LOGITS: "float32"}
    graph.rename(graph.add("Softmax", LOGITS, axis=-1), PROBABILITIES)
    return {LOGITS: "float32", PROBABILITIES: "float32"}


def _facts(signature: Signature) -> dict[str, str]:
    """Return what a reader of the file needs to know, as texts."""
    facts: dict[str, Any] = {"task": signature.task, "class_names": list(signature.class_names)}
    facts |= {"feature_names": list(signature.feature_names), "target_name": signature.target_name}
    if signature.categories:
        facts["categories"] = [None if one is None else one.facts() for one in signature.categories]
    if signature.encoding is not None:
        facts["encoding"] = signature.encoding.facts()
    return {key: value if isinstance(value, str) else to_json(value) for key, value in facts.items() if value}
