"""Generation with a GPT in PyTorch: keys and values in memory made once, attention by SDPA, no gradients."""

import torch
from peer_gpt import GPT, Block
from torch.nn import functional


class Writer:
    """Yields the most probable tokens after a prompt, one by one.

    ``transformers`` does more for each token (its cache objects, logits processors, stopping rules) and is slower.
    """

    def __init__(self, model: GPT, length: int):
        self.model = model.eval()
        width, heads = model.tokens.weight.shape[1], model.blocks[0].heads
        shape = (len(model.blocks), 2, 1, heads, length, width // heads)
        self.cache = torch.empty(shape)

    @torch.inference_mode()
    def write(self, prompt: list[int], num_tokens: int) -> list[int]:
        """Return the tokens."""
        piece, start, found = torch.tensor([prompt]), 0, []
        for _ in range(num_tokens):
            logits = self._logits(piece, start)
            start += piece.shape[1]
            piece = logits.argmax(dim=-1, keepdim=True)
            found.append(int(piece))
        return found

    def _logits(self, piece: torch.Tensor, start: int) -> torch.Tensor:
        stop = start + piece.shape[1]
        y = self.model.tokens(piece) + self.model.positions.weight[start:stop]
        for block, cache in zip(self.model.blocks, self.cache, strict=True):
            y = self._block(block, cache, y, start, stop)
        return self.model.head(self.model.norm(y[:, -1]))

    def _block(self, block: Block, cache: torch.Tensor, x: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        q, k, v = block.qkv(block.norm1(x)).unflatten(2, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
        cache[0, :, :, start:stop], cache[1, :, :, start:stop] = k, v
        keys, values = cache[0, :, :, :stop], cache[1, :, :, :stop]
        heads = functional.scaled_dot_product_attention(q, keys, values, is_causal=start == 0)
        x = x + block.out(heads.transpose(1, 2).flatten(2))
        return x + block.mlp(block.norm2(x))
