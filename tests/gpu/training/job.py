"""A few steps of training, on whatever device: the same data and weights, so the same losses."""

import numpy as np

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import PAD, Context
from mpitrain.device import CPU
from mpitrain.layers import as_activations
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.optim import SGD
from tests.gpu.training.transformer import LENGTH, VOCABULARY, transformer

DENSE = ("densenet", "densenet121", "densenet161", "densenet169", "densenet201")
SHAPES = {
    "mlp": (20,),
    "lenet": (28, 28, 1),
    "convnet": (8, 8, 1),
    **dict.fromkeys(("resnet8", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"), (8, 8, 3)),
    **dict.fromkeys(("resnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), (19, 16, 3)),
    "vit": (8, 8, 3),
    "unet": (8, 8, 3),
    "audio-convnet": (20, 16, 1),
    **dict.fromkeys(("vgg", "vgg11", "vgg13", "vgg16", "vgg19", "alexnet", "googlenet", "mobilenet_v1"), (32, 32, 3)),
    "inception_v3": (35, 35, 3),
    **dict.fromkeys(DENSE, (16, 16, 3)),
    "dlrm": (4,),
    **dict.fromkeys(("mf", "ncf", "two-tower"), (2,)),
    **dict.fromkeys(("gpt", "llama", "bert"), (LENGTH,)),
}
SMALL = {"depth": 2, "width": 12, "heads": 2}  # instead of the sizes of the transformers
THIN = {"blocks": (1, 2), "widths": (8, 12), "stem": 4}
OPTIONS = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), THIN),
    "resnet": THIN | {"halve_first": True, "stride_in_1x1": True},
    "unet": {"depth": 2, "width": 4},
    "audio-convnet": {"channels": (4, 5, 6), "width": 7},
    "vgg": {"convolutions": (1, 1), "channels": (6, 8), "hidden": 12},
    **{name: {"channels": (4,) * 5, "hidden": 12} for name in ("vgg11", "vgg13", "vgg16", "vgg19")},
    "alexnet": {"width": 0.1, "hidden": 12, "small_images": True},
    "googlenet": {"width": 0.06, "small_images": True},
    "mobilenet_v1": {"width": 0.1, "small_images": True},
    "inception_v3": {"width": 0.04, "small_images": True},
    **{key: {"blocks": (2, 1), "growth": 3, "small_images": True} for key in DENSE},
    "dlrm": {"categories": (0, 9, 7, 0), "size": 3, "bottom": (5,), "top": (6,)},
    **{key: {"categories": (9, 9)} for key in ("mf", "ncf", "two-tower")},
    "vit": SMALL,
    "gpt": SMALL | {"vocabulary": VOCABULARY},
    "llama": SMALL | {"vocabulary": VOCABULARY, "kv_heads": 1, "hidden": 16},
    "bert": SMALL | {"vocabulary": VOCABULARY},
}


def make(name, batch, **options):
    """Return a model and a batch for it: one of the registry, or "transformer", which predicts tokens."""
    rng = np.random.default_rng(1)  # of 0, resnet8 has a ReLU so near its kink that rounding decides
    if name == "transformer":
        tokens = rng.integers(0, VOCABULARY, (batch, LENGTH + 1))
        return transformer(**options), tokens[:, :-1].copy(), tokens[:, 1:].copy()
    shape, options = SHAPES[name], OPTIONS.get(name, {}) | options
    if name in ("gpt", "llama"):
        tokens = rng.integers(0, VOCABULARY, (batch, LENGTH + 1))
        return models.build(name, shape, VOCABULARY, **options), tokens[:, :-1].copy(), tokens[:, 1:].copy()
    if name == "bert":
        tokens = rng.integers(0, VOCABULARY, (batch, LENGTH))
        tokens[-1, 5:] = PAD
        return models.build(name, shape, 4, **options), tokens, rng.integers(0, 4, batch)
    x = rng.standard_normal((batch, *shape)).astype(np.float32)
    if "categories" in options:
        codes = [rng.integers(0, size, batch) if size else rng.standard_normal(batch) for size in options["categories"]]
        x = np.stack(codes, axis=1).astype(np.float32 if 0 in options["categories"] else np.int64)
    if name in ("mf", "ncf", "two-tower"):
        return models.build(name, shape, 2, **options), x, rng.integers(0, 2, batch)
    targets = rng.integers(0, 4, (batch, *shape[:2]) if name == "unet" else batch)
    return models.build(name, shape, 4, **options), x, targets


class Job:
    """A model with all that trains it.

    Parameters
    ----------
    name : str
        Of the model.
    device : Device
    lora : str
        Adapters, as in --lora.
    """

    def __init__(self, name, device=CPU, optimizer=SGD, loss=None, batch=6, microbatches=1, lora="", **options):
        self.device, self.microbatches, self.lr = device, microbatches, 0.1
        self.model, x, y = make(name, batch, **options)
        if lora:
            models.add_lora(self.model, lora)
        self.arena = Arena(self.model.named_parameters(), self.model.named_states(), seed=1, device=device)
        self.optimizer = optimizer(self.arena, **({"momentum": 0.9} if optimizer is SGD else {}))
        self.loss, self.ctx = loss or SoftmaxCrossEntropy(), Context(seed=3, device=device)
        self.x, self.y = device.from_host(x), device.from_host(y)

    def step(self):
        """Return the mean loss."""
        arena, ctx = self.arena, self.ctx
        arena.begin_step(self.microbatches)
        each = len(self.x) // self.microbatches
        for part in range(self.microbatches):
            ctx.first = part * each
            rows = slice(ctx.first, ctx.first + each)
            outputs = self.model.forward(as_activations(self.model, self.x[rows], ctx), ctx)
            arena.add_totals(self.loss.forward(outputs, self.y[rows], ctx))
            self.model.backward(self.loss.backward(ctx), ctx)
        arena.end_backward()
        arena.put_header()
        arena.get_header()
        weight, loss = map(float, arena.header[:2])
        self.optimizer.step(self.lr, 1 / weight)
        ctx.step += 1
        return loss / weight
