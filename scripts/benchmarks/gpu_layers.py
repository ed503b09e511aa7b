"""Layers as training calls them, against PyTorch's (gpu_part.py has the command line).

Each contender is forward and backward (dx and all gradients) of a layer, as training calls it. In bf16 activations and
weights are bf16 on both sides (ours: the copy that the update writes), and our gradients of weights fp32. Attention
without its maps, "core", is beside PyTorch's fused attention (FlashAttention-2). Contenders take turns with a cold L2
cache, and the medians of event timings count. The smallest layers come first.
"""

import math
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gpu_part import Part, open_part

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.kernels.bench.cases import RESNET50
from mpitrain.kernels.bench.stopwatch import Stopwatch
from mpitrain.layers import GELU, Conv2d, Layer, LayerNorm, Linear, MultiHeadAttention
from mpitrain.ops import attention as ops

try:
    import torch
    from torch import nn
except ImportError:  # ours alone is measured
    torch = None

Step = Callable[[], object]
PRECISIONS = ("fp32", "tf32", "bf16")
HEAD, IMAGES = 64, (32, 256)


@dataclass(frozen=True)
class Case:
    """A layer: its kind, the shape of its input, and numbers of its kind."""

    name: str
    kind: str
    shape: tuple[int, ...]
    numbers: tuple[int, ...] = ()
    precisions: Sequence[str] = field(default=PRECISIONS)

    def ours(self) -> Any:
        """Return our layer."""
        size = self.shape[-1]
        makes = {
            "linear": lambda outputs: Linear(size, outputs),
            "conv2d": lambda outputs, kernel, stride: Conv2d(size, outputs, kernel, stride, kernel // 2, bias=False),
            "layernorm": lambda: LayerNorm(size),
            "gelu": lambda: GELU(approximate=True),
            "attention": lambda: MultiHeadAttention(size, size // HEAD, causal=True),
            "core": lambda head: Core(head),
        }
        return makes[self.kind](*self.numbers)

    def theirs(self) -> Any:
        """Return PyTorch's."""
        size = self.shape[-1]
        makes = {
            "linear": lambda outputs: nn.Linear(size, outputs),
            "conv2d": lambda outputs, kernel, stride: nn.Conv2d(size, outputs, kernel, stride, kernel // 2, bias=False),
            "layernorm": lambda: nn.LayerNorm(size),
            "gelu": lambda: nn.GELU(approximate="tanh"),
            "attention": lambda: attention(size),
            "core": lambda head: core(head),
        }
        return makes[self.kind](*self.numbers)


CASES = (
    Case("GPT-2 124M qkv", "linear", (4096, 768), (2304,)),
    Case("GPT-2 124M attention projection", "linear", (4096, 768), (768,)),
    Case("GPT-2 124M up", "linear", (4096, 768), (3072,)),
    Case("GPT-2 124M down", "linear", (4096, 3072), (768,)),
    Case("GPT-2 124M attention", "attention", (4, 1024, 768)),
    Case("attention, 1024 tokens, heads of 64", "core", (16, 1024, 3 * 768), (64,), ("bf16",)),
    Case("attention, 16384 tokens, heads of 128", "core", (1, 16384, 3 * 2048), (128,), ("bf16",)),
    Case("GPT-2 124M layer norm", "layernorm", (4096, 768), precisions=("fp32", "bf16")),
    Case("GPT-2 124M GELU", "gelu", (4096, 3072), precisions=("fp32", "bf16")),
    *(
        Case(
            f"ResNet-50 {each.name}, batch {images}",
            "conv2d",
            (images, each.size, each.size, each.i),
            (each.o, each.kernel, each.stride),
            ("bf16",) if each.kernel == 1 or images > 32 else PRECISIONS,  # 1x1 is a product, and those have rows above
        )
        for images in IMAGES
        for each in RESNET50
    ),
)


SMALL = (
    Case("linear", "linear", (20, 24), (16,)),
    Case("attention", "attention", (1, 5, 64), precisions=("fp32",)),
    Case("attention alone", "core", (2, 5, 3 * 64), (32,), precisions=("fp32", "bf16")),
    Case("layer norm", "layernorm", (7, 12), precisions=("fp32", "bf16")),
    Case("convolution", "conv2d", (1, 6, 6, 3), (4, 3, 1), precisions=("fp32",)),
)


def rows(cases: Sequence[Case], part: Part, theirs: str | None, failed: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of all cases, the smallest first; PyTorch is on its device ``theirs``, None to leave it out.

    The names of those that fail are appended to ``failed``.
    """
    stopwatch = Stopwatch(part.device, part.flush_bytes)
    for case in sorted(cases, key=lambda case: math.prod(case.shape) * math.prod(case.numbers)):
        x = np.random.default_rng(0).standard_normal(case.shape, np.float32)
        for precision in case.precisions:
            if part.over():
                return
            part.device.precision = precision
            try:
                contenders = [our_step(case, x, part.device)]
                if theirs is not None:
                    contenders.append(peer_step(case, x, precision, theirs))
                ours_s, peer_s = [*stopwatch.medians(contenders, part.repeat), 0.0][:2]
            except Exception:  # the other layers are measured all the same
                print(f"{precision} {case.name} failed:\n{traceback.format_exc()}", flush=True)
                failed.append(case.name)
                continue
            ratio = f", PyTorch's / ours {peer_s / ours_s:.2f}" if peer_s else ""
            print(f"{precision} {case.name}: {1e6 * ours_s:.0f} us{ratio}", flush=True)
            yield {"name": case.name, "precision": precision, "ours_s": ours_s, "peer_s": peer_s}


def our_step(case: Case, x: np.ndarray, device: Any) -> Step:
    """Return forward and backward of our layer, on the device's current precision."""
    layer, ctx = case.ours(), Context(device=device)
    arena = Arena(layer, device=device)
    dtype = device.activation_dtype
    inputs = device.from_host(x.astype(dtype))
    shape = layer.forward(inputs, ctx).shape
    dy = device.from_host(np.random.default_rng(1).standard_normal(shape, np.float32).astype(dtype))

    def step() -> None:
        arena.begin_step()
        layer.forward(inputs, ctx)
        layer.backward(dy, ctx)

    return step


def peer_step(case: Case, x: np.ndarray, precision: str, where: str) -> Step:
    """Return PyTorch's forward and backward on the same shapes, images with channels last."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    layer, inputs = case.theirs().to(where, dtype), torch.from_numpy(x).to(where, dtype)
    if x.ndim == 4:
        layer = layer.to(memory_format=torch.channels_last)
        inputs = inputs.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    inputs.requires_grad_()

    dy = torch.randn_like(layer(inputs))

    def step() -> None:
        inputs.grad = None
        layer.zero_grad()
        layer(inputs).backward(dy)

    return step


class Core(Layer):
    """Causal attention over q, k and v that lie packed in the inputs (N, T, 3 H D)."""

    def __init__(self, head: int):
        super().__init__()
        self._head = head

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the outputs (N, T, H D)."""
        n, t, width = x.shape
        y = ctx.empty(self, "y", (n, t, width // 3))
        statistics = ctx.empty(self, "log_sum_exp", (n, width // 3 // self._head, t), np.float32)
        q, k, v = self._heads(x, 3)
        ops.attention(q, k, v, self._heads(y, 1)[0], statistics, self._head**-0.5, True, None)
        ctx[self] = x, statistics, y
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return the gradient of the inputs."""
        x, statistics, y = ctx[self]
        dx = ctx.empty(self, "dx", x.shape)
        gradients, inputs = self._heads(dx, 3), self._heads(x, 3)
        arrays = self._heads(dy, 1)[0], *inputs, statistics, *gradients
        ops.attention_dx(*arrays, self._head**-0.5, True, None, y=self._heads(y, 1)[0])
        return dx

    def _heads(self, x: Any, parts: int) -> list[Any]:
        n, t, width = x.shape
        parted = x.reshape(n, t, parts, width // parts // self._head, self._head)
        return [parted[:, :, part].swapaxes(1, 2) for part in range(parts)]


def core(head: int) -> Any:
    """Return the same by PyTorch's fused kernel."""

    class Fused(nn.Module):
        def forward(self, x: Any) -> Any:
            q, k, v = x.unflatten(2, (3, -1, head)).permute(2, 0, 3, 1, 4)
            heads = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return heads.transpose(1, 2).flatten(2)

    return Fused()


def attention(size: int) -> Any:
    """Return causal self-attention with heads of 64, over PyTorch's fused kernel."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)

        def forward(self, x: Any) -> Any:
            q, k, v = self.qkv(x).unflatten(2, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)
            heads = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(heads.transpose(1, 2).flatten(2))

    return Attention()


def main() -> None:
    part, theirs = open_part("layers cannot be measured"), None
    if torch is not None and not part.small:
        theirs = "cuda"
        torch.cuda.set_stream(torch.cuda.ExternalStream(part.device.compute.stream.ptr))  # where events are recorded
    failed: list[str] = []
    part.write(rows(SMALL if part.small else CASES, part, theirs, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
