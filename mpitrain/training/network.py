"""Network and loss of a training run: those of a config, or a user's own."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import models
from ..config import Config
from ..data.dataset import LANGUAGE_MODELING, REGRESSION, SEGMENTATION, Dataset
from ..errors import UserError
from ..layers import ConvTranspose2d, Layer, MultiHeadAttention
from ..losses import MSE, Loss, SoftmaxCrossEntropy
from ..parallel.pipeline.stages import output_like


def make_model(
    config: Config,
    input_shape: tuple[int, ...],
    num_outputs: int,
    own: Layer | Callable[..., Layer] | None = None,
    codes: models.Codes | None = None,
) -> Layer:
    """Return the network ``own``, or that of ``config``; options of mlp given to another network are a UserError.

    Parameters
    ----------
    codes : models.Codes, optional
        Facts about samples that are tokens or categories, for networks that ask for them.
    """
    if own is not None:
        facts = {} if isinstance(own, Layer) or codes is None else codes.options(own)
        made = own if isinstance(own, Layer) else _call(own, config.model.name, input_shape, num_outputs, **facts)
        if not isinstance(made, Layer):
            raise UserError(f"the model must be a Layer, but {config.model.name} returned a {type(made).__name__}")
        return models.prepare(made)
    m, default = config.model, Config().model
    options: dict[str, Any] = {"widths": m.widths, "activation": m.activation, "dropout": m.dropout}
    if m.name != "mlp":
        for name, value in options.items():
            if value != getattr(default, name):
                raise UserError(f"--{name} is an option of mlp; {m.name} has no such choice")
        options = {}
    return models.build(m.name, input_shape, num_outputs, codes=codes, **options)


def _call(function: Callable[..., Any], name: str, *arguments: Any, **options: Any) -> Any:
    """Return the result of a user's function; raise UserError if it fails."""
    try:
        return function(*arguments, **options)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name} failed: {type(error).__name__}: {error}") from error


def check_objective(model: Layer, dataset: Dataset) -> None:
    """Raise a UserError where a model gives no classes of pixels and should, or does so and should not.

    The same where it sees the tokens to predict, or does not see those after hidden ones.
    """
    _check_pixels(model, dataset)
    causal = [layer.causal for layer in model.layers() if isinstance(layer, MultiHeadAttention)]
    if dataset.task != LANGUAGE_MODELING or not causal:
        return
    if not all(causal) and not dataset.masked:
        raise UserError(
            "the model sees the tokens that it is to predict: let the source hide some, as in ...,mask=0.15, or take a "
            "model that sees only those before, such as gpt"
        )
    if all(causal) and dataset.masked:
        raise UserError(
            "mask= hides tokens to be predicted from those around them, but the model sees only those before: "
            "leave out mask=, or take a model such as bert"
        )


def _check_pixels(model: Layer, dataset: Dataset) -> None:
    """Raise a UserError unless a model gives outputs for each pixel where these have targets, and only there."""
    segmentation = dataset.task == SEGMENTATION
    if not segmentation and not any(isinstance(layer, ConvTranspose2d) for layer in model.layers()):
        return
    found = output_like(model, np.zeros((0, *dataset.input_shape), np.float32)).shape[1:]
    wanted = (*dataset.input_shape[:2] * segmentation, dataset.num_outputs)
    if found != wanted:
        kind = "each pixel" if segmentation else "each image"
        hint = ": --model unet does" if segmentation else ""
        raise UserError(
            f"the model gives outputs of shape {found} for an image, and {dataset.task} needs {wanted}, one for each "
            f"class of {kind}{hint}"
        )


def make_loss(task: str, label_smoothing: float, class_weights: Sequence[float] = ()) -> Loss:
    """Return the loss of a task."""
    if task == REGRESSION:
        return MSE()
    return SoftmaxCrossEntropy(label_smoothing, class_weights=class_weights)
