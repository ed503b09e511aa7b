"""Residual networks (``ResNetForImageClassification``)."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...errors import UserError
from ...layers import Conv2d, Residual, Sequential
from ...models.resnet import SIZES
from .architecture import Architecture, Settings, labels_of
from .layouts import KERNELS
from .rules import Line, Table, block_names, linear, lying, same

BASIC, BOTTLENECK = "basic", "bottleneck"
CONVOLUTIONS = {2: BASIC, 3: BOTTLENECK}  # kinds of blocks by the number of their convolutions


def options(settings: Settings) -> dict[str, Any]:
    """Return the options of our resnet."""
    settings.only("hidden_act", "relu", "relu")
    settings.only("layer_type", BOTTLENECK, BASIC, BOTTLENECK)
    settings.only("downsample_in_first_stage", False, False, True)
    settings.only("downsample_in_bottleneck", False, False, True)
    bottleneck = settings.values.get("layer_type", BOTTLENECK) == BOTTLENECK
    return {
        "blocks": settings.numbers("depths", (3, 4, 6, 3)),
        "widths": settings.numbers("hidden_sizes", (256, 512, 1024, 2048)),
        "bottleneck": bottleneck,
        "stem": settings.number("embedding_size", 64),
        "halve_first": bool(settings.values.get("downsample_in_first_stage", False)),
        "stride_in_1x1": bottleneck and bool(settings.values.get("downsample_in_bottleneck", False)),
    }


def table(model: Sequential) -> Table:
    """Return the names."""
    return Table(
        first=[lying("weight", "resnet.embedder.embedder.convolution.weight", KERNELS)],
        block=[
            *_pair("body.0", "body.1", "layer.0"),
            *_pair("body.3", "body.4", "layer.1"),
            *_pair("body.6", "body.7", "layer.2"),  # of bottlenecks
            *_pair("shortcut.0", "shortcut.1", "shortcut"),  # where the shape changes
        ],
        blocks=[
            f"resnet.encoder.stages.{stage}.layers.{number}"
            for stage, blocks in enumerate(_stages(model))
            for number in range(len(blocks))
        ],
        rest=[same("", "resnet.embedder.embedder.normalization"), linear("", "classifier.1", head=True)],
    )


def _pair(convolution: str, norm: str, theirs: str) -> list[Line]:
    """Return the lines of a convolution and of the norm behind it."""
    return [lying(convolution, f"{theirs}.convolution", KERNELS), same(norm, f"{theirs}.normalization")]


def _stages(model: Sequential) -> list[list[Any]]:
    """Return the blocks of each stage: all stages but the first begin with a convolution as their shortcut."""
    stages: list[list[Any]] = []
    layers = dict(model.children())
    for name in block_names(model):
        block = layers[name]
        if not stages or (isinstance(block, Residual) and block.shortcut is not None):
            stages.append([])
        stages[-1].append(block)
    return stages


def settings(model: Sequential) -> dict[str, Any]:
    """Return config.json.

    Raises
    ------
    UserError
        For a stem for small images, which the file cannot say.
    """
    stem, stages = model[0], _stages(model)
    assert isinstance(stem, Conv2d)
    if stem.window.kernel != (7, 7):
        raise UserError("a ResNet of Hugging Face has a 7x7 convolution and a pool first, which small_images replaces")
    convolutions = [[layer for layer in stage[0].body if isinstance(layer, Conv2d)] for stage in stages]
    first = stages[0][0].shortcut
    early = len(convolutions[0]) == 3 and any(block[0].window.stride == (2, 2) for block in convolutions)
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "num_channels": stem.in_channels,
        "embedding_size": stem.out_channels,
        "hidden_sizes": [block[-1].out_channels for block in convolutions],
        "depths": [len(stage) for stage in stages],
        "layer_type": CONVOLUTIONS[len(convolutions[0])],
        "hidden_act": "relu",
        "downsample_in_first_stage": first is not None and first[0].window.stride == (2, 2),
        "downsample_in_bottleneck": early,
        **labels_of(model),
    }


def batch_counts(names: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the number of batches of each batch norm, 0: transformers calls a file without them incomplete.

    PyTorch computes with these numbers where a norm has no momentum, which those of a ResNet have.
    """
    mean, count = "running_mean", "num_batches_tracked"
    return {name.replace(mean, count): np.zeros((), np.int64) for name in names if name.endswith(mean)}


RESNET = Architecture(
    "resnet",
    "resnet",
    options,
    table,
    settings,
    base="resnet.",
    buffers=r".*\.num_batches_tracked",
    heads=r"classifier\..*",
    unused=batch_counts,
    sizes=SIZES,
)
