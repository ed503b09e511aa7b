"""BERT and the vision transformer in PyTorch as its users write them: attention by SDPA.

Parameters are in the order of our networks.
"""

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    """Attention of all tokens to all that are no padding."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Return y of x, both (n, T, C); ``seen`` (n, 1, 1, T) is false for padding, None without any."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(y.transpose(1, 2).flatten(2))


def feed_forward(width: int, hidden: int) -> nn.Sequential:
    """Return the network for each token."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class PostNormBlock(nn.Module):
    """A block of BERT."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float):
        super().__init__()
        self.attention, self.norm1 = Attention(width, heads), nn.LayerNorm(width, eps)
        self.mlp, self.norm2 = feed_forward(width, hidden), nn.LayerNorm(width, eps)

    def forward(self, x: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
        """Return y of x, both (n, T, C)."""
        x = self.norm1(x + self.attention(x, seen))
        return self.norm2(x + self.mlp(x))


class BERT(nn.Module):
    """The network that mpitrain calls bert: logits (n, K) of tokens (n, T), of which ``seen`` are no padding."""

    def __init__(
        self,
        vocabulary: int,
        positions: int,
        classes: int,
        depth: int = 6,
        width: int = 384,
        heads: int = 12,
        hidden: int = 1536,
        eps: float = 1e-12,
    ):
        super().__init__()
        self.tokens, self.positions, self.types = (nn.Embedding(n, width) for n in (vocabulary, positions, 2))
        self.norm = nn.LayerNorm(width, eps)
        self.blocks = nn.ModuleList(PostNormBlock(width, heads, hidden, eps) for _ in range(depth))
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits."""
        y = self.tokens(x) + self.positions.weight[: x.shape[1]] + self.types.weight[0]
        y = self.norm(y)
        for block in self.blocks:
            y = block(y, seen)
        return self.classifier(torch.tanh(self.pooler(y[:, 0])))


class PreNormBlock(nn.Module):
    """A block of the vision transformer."""

    def __init__(self, width: int, heads: int, eps: float):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps), feed_forward(width, 4 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return y of x, both (n, T, C)."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """The network that mpitrain calls vit: logits (n, K) of images (n, 3, H, H)."""

    def __init__(
        self,
        height: int,
        classes: int,
        patch: int = 4,
        depth: int = 6,
        width: int = 192,
        heads: int = 3,
        eps: float = 1e-6,
    ):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 1 + (height // patch) ** 2, width) * 0.02)
        self.project = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.ModuleList(PreNormBlock(width, heads, eps) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width, eps), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        patches = self.project(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.positions
        for block in self.blocks:
            y = block(y)
        return self.head(self.norm(y)[:, 0])
