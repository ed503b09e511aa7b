"""The same networks and steps in PyTorch, in its best setting: memory format and optimizer are tried first."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed
from cases import GROUPS, HEAD, NUM_CLASSES, POSITIONS, RATE, TRANSFORMERS, VOCABULARY, WORDS, Case
from peer_gpt import GPT
from peer_transformers import BERT, ViT
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook

Step = Callable[[], object]
LENGTH = 256  # tokens of a row
SETTINGS = tuple(itertools.product(("contiguous", "channels_last"), ("fused", "foreach")))
TRANSFORMER_SETTINGS = tuple(itertools.product(("eager", "compiled"), ("fused",)))


def make_model(name: str) -> nn.Module:
    """Return the network that mpitrain calls ``name``, layer by layer the same."""
    if name == "gpt2":
        return GPT(VOCABULARY[name], 1024, 12, 768, 12)
    if name in VOCABULARY:
        return GPT(VOCABULARY[name], LENGTH)
    if name == "minilm":
        return BERT(WORDS, POSITIONS, NUM_CLASSES)
    if name == "vit":
        return ViT(32, NUM_CLASSES)
    return {"mlp": _mlp, "lenet": _lenet, "resnet8": lambda: resnet(1), "resnet20": lambda: resnet(3)}[name]()


def make_step(case: Case, x: np.ndarray, y: np.ndarray, setting: tuple[str, str], codec: str = "") -> Step:
    """Return a training step on this rank's samples, x (n, ...) with channels last and y (n,).

    ``codec`` names the hook that compresses gradients: fp16 or powersgd.
    """
    memory, optimizer_kind = setting
    model, inputs, targets = make_model(case.model), torch.from_numpy(x), torch.from_numpy(y)
    if inputs.ndim == 4:
        chosen = torch.channels_last if memory == "channels_last" else torch.contiguous_format
        model = model.to(memory_format=chosen)
        inputs = inputs.permute(0, 3, 1, 2).contiguous(memory_format=chosen)
    if case.ranks > 1:
        # PowerSGD's messages of several buckets over gloo get mixed up, and end the process
        buckets = {"bucket_cap_mb": 1000} if codec == "powersgd" else {}
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True, **buckets)
        if codec == "fp16":  # PyTorch refuses bf16 over gloo
            model.register_comm_hook(None, default_hooks.fp16_compress_hook)
        elif codec == "powersgd":
            state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=4, start_powerSGD_iter=2)
            model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    if case.model in TRANSFORMERS:
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, **{optimizer_kind: True})
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, **{optimizer_kind: True})

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(x).flatten(0, -2), y.flatten())

    compute = torch.compile(loss_of) if memory == "compiled" else loss_of

    def step() -> None:
        optimizer.zero_grad()
        compute(inputs, targets).backward()
        optimizer.step()

    return step


def make_layer_step(name: str, x: np.ndarray, dy: np.ndarray, setting: tuple[str, str]) -> Step:
    """Return forward and backward (dx and dw) of a layer that has as many outputs as channels, x with channels last."""
    layer, inputs, slope = _layer(name, x.shape[-1]), torch.from_numpy(x), torch.from_numpy(dy)
    if x.ndim == 4:
        chosen = torch.channels_last if setting[0] == "channels_last" else torch.contiguous_format
        layer = layer.to(memory_format=chosen)
        inputs, slope = (a.permute(0, 3, 1, 2).contiguous(memory_format=chosen) for a in (inputs, slope))
    inputs.requires_grad_()

    def step() -> None:
        inputs.grad = None
        layer.zero_grad()
        layer(inputs).backward(slope)

    return step


def _layer(name: str, size: int) -> nn.Module:
    if name == "linear":
        return nn.Linear(size, size)
    if name == "layernorm":
        return nn.LayerNorm(size)
    if name == "gelu":
        return nn.GELU()
    if name == "attention":
        return Attention(size)
    if name == "dilated3x3":
        return nn.Conv2d(size, size, 3, padding=2, dilation=2, bias=False)
    groups = {"depthwise3x3": size, "grouped3x3": GROUPS}.get(name, 1)
    return nn.Conv2d(size, size, 3, padding=1, bias=False, groups=groups)


class Attention(nn.Module):
    """Causal attention, from one Linear for queries, keys and values."""

    def __init__(self, size: int):
        super().__init__()
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return y (n, T, C) of x (n, T, C)."""
        q, k, v = self.qkv(x).unflatten(2, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)
        heads = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(heads.transpose(1, 2).flatten(2))


def join(rank: int, size: int, folder: str) -> None:
    """Join the other ranks over gloo."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/gloo", rank=rank, world_size=size)


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, NUM_CLASSES))


def _lenet() -> nn.Module:
    # pooling before ReLU, as ours: the same result from a quarter of the work
    convolutions = [nn.Conv2d(3, 6, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU()]
    linears = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, NUM_CLASSES)]
    return nn.Sequential(*convolutions, nn.Flatten(), *linears)


def resnet(blocks_of_a_stage: int) -> nn.Sequential:
    """Return a residual network for small images."""
    blocks, inputs = [], 16
    for outputs in (16, 32, 64):
        for block in range(blocks_of_a_stage):
            blocks.append(_Block(inputs, outputs, 2 if outputs > 16 and not block else 1))
            inputs = outputs
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, NUM_CLASSES)]
    return nn.Sequential(*_conv(3, 16, 3, 1), nn.ReLU(inplace=True), *blocks, *head)


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        first, second = _conv(inputs, outputs, 3, stride), _conv(outputs, outputs, 3, 1)
        self.body = nn.Sequential(*first, nn.ReLU(inplace=True), *second)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(*_conv(inputs, outputs, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.body(x) + self.shortcut(x), inplace=True)
