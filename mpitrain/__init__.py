"""mpitrain: a distributed trainer you can read.

    import mpitrain as mt

    result = mt.Trainer("mlp:widths=64", "digits", epochs=3).fit()
    print(result.test["accuracy"])

Names are imported when they are first used: ``import mpitrain`` starts no MPI and loads no NumPy. Three levels of use,
with an example each in examples/: ``Trainer`` for a whole run, ``DataParallel`` for a training loop of your own, and
``World``, ``Group``, ``Mesh`` and ``Channel`` for collectives and messages in any MPI program.
"""

from typing import TYPE_CHECKING, Any

from .later import import_later

if TYPE_CHECKING:
    from . import collectives, data, layers, losses, metrics, models, optim, pipelines
    from .arena import Arena
    from .collectives import Step, algorithm
    from .comm.channel import Channel
    from .comm.group import Group
    from .comm.mesh import Mesh
    from .comm.world import World
    from .config import Config
    from .context import Context
    from .data.dataset import Dataset, Split
    from .data.loader import Batch, Loader
    from .data.normalize import Normalizer
    from .data.samples import Samples
    from .data.sources import open_dataset
    from .errors import AgreedError, UserError
    from .generation import Sampling, generate
    from .head_loss import split_head
    from .layers import (
        GELU,
        AvgPool2d,
        BatchNorm2d,
        Conv2d,
        ConvTranspose2d,
        Dropout,
        Embedding,
        Experts,
        FirstToken,
        Flatten,
        GlobalAvgPool,
        Layer,
        LayerNorm,
        Linear,
        LoRALinear,
        MaxPool2d,
        MixtureOfExperts,
        MultiHeadAttention,
        PatchEmbedding,
        PostNormBlock,
        PreNormBlock,
        Recompute,
        ReLU,
        Residual,
        RMSNorm,
        Sequential,
        Sigmoid,
        SiLU,
        SkipConcat,
        SwiGLU,
        Tanh,
        TiedHead,
        TokenEmbedding,
    )
    from .losses import MSE, Loss, SoftmaxCrossEntropy, Totals
    from .metrics import Metric
    from .models import add_lora, freeze
    from .monitor import Monitor
    from .optim import LARS, SGD, Adagrad, Adam, AdamW, Optimizer
    from .parallel.data import DataParallel
    from .parallel.sync.base import LocalSteps, SyncParts
    from .parameter import Parameter, State
    from .registry import Registry
    from .training.hooks import Hook, HookError, StepInfo
    from .training.results import EpochResult, Result
    from .training.trainer import Trainer

__version__ = "0.1.0"

_PLACES = {
    "arena": "Arena",
    "collectives": "Step algorithm",
    "comm.channel": "Channel",
    "comm.group": "Group",
    "comm.mesh": "Mesh",
    "comm.world": "World",
    "config": "Config",
    "context": "Context",
    "data.dataset": "Dataset Split",
    "data.loader": "Batch Loader",
    "data.normalize": "Normalizer",
    "data.samples": "Samples",
    "data.sources": "open_dataset",
    "errors": "AgreedError UserError",
    "generation": "Sampling generate",
    "head_loss": "split_head",
    "layers": (
        "AvgPool2d BatchNorm2d Conv2d ConvTranspose2d Dropout Embedding Experts FirstToken Flatten GELU GlobalAvgPool "
        "Layer LayerNorm Linear LoRALinear MaxPool2d MixtureOfExperts MultiHeadAttention PatchEmbedding PostNormBlock "
        "PreNormBlock RMSNorm ReLU Recompute Residual Sequential SiLU Sigmoid SkipConcat SwiGLU Tanh TiedHead "
        "TokenEmbedding"
    ),
    "losses": "MSE Loss SoftmaxCrossEntropy Totals",
    "metrics": "Metric",
    "monitor": "Monitor",
    "models": "add_lora freeze",
    "optim": "LARS SGD Adagrad Adam AdamW Optimizer",
    "parallel.data": "DataParallel",
    "parallel.sync.base": "LocalSteps SyncParts",
    "parameter": "Parameter State",
    "registry": "Registry",
    "training.hooks": "Hook HookError StepInfo",
    "training.results": "EpochResult Result",
    "training.trainer": "Trainer",
}
_MODULES = ("collectives", "data", "layers", "losses", "metrics", "models", "optim", "pipelines")

__all__ = [
    "GELU",
    "LARS",
    "MSE",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AgreedError",
    "Arena",
    "AvgPool2d",
    "Batch",
    "BatchNorm2d",
    "Channel",
    "Config",
    "Context",
    "Conv2d",
    "ConvTranspose2d",
    "DataParallel",
    "Dataset",
    "Dropout",
    "Embedding",
    "EpochResult",
    "Experts",
    "FirstToken",
    "Flatten",
    "GlobalAvgPool",
    "Group",
    "Hook",
    "HookError",
    "Layer",
    "LayerNorm",
    "Linear",
    "LoRALinear",
    "Loader",
    "LocalSteps",
    "Loss",
    "MaxPool2d",
    "Mesh",
    "Metric",
    "MixtureOfExperts",
    "Monitor",
    "MultiHeadAttention",
    "Normalizer",
    "Optimizer",
    "Parameter",
    "PatchEmbedding",
    "PostNormBlock",
    "PreNormBlock",
    "RMSNorm",
    "ReLU",
    "Recompute",
    "Registry",
    "Residual",
    "Result",
    "Samples",
    "Sampling",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SkipConcat",
    "SoftmaxCrossEntropy",
    "Split",
    "State",
    "Step",
    "StepInfo",
    "SwiGLU",
    "SyncParts",
    "Tanh",
    "TiedHead",
    "TokenEmbedding",
    "Totals",
    "Trainer",
    "UserError",
    "World",
    "__version__",
    "add_lora",
    "algorithm",
    "collectives",
    "data",
    "freeze",
    "generate",
    "layers",
    "losses",
    "metrics",
    "models",
    "open_dataset",
    "optim",
    "pipelines",
    "split_head",
]


_find = import_later(__name__, _PLACES)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    return import_module(f".{name}", __name__) if name in _MODULES else _find(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
