"""Transformers in float64 NumPy, one row of tokens at a time, written from the formulas of the papers.

``w`` maps names of parameters to arrays. Nothing of mpitrain is used.
"""

import math

import numpy as np

from tests.expert_formulas import mixture_of_experts, swiglu


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def layer_norm(w, name, x, eps=1e-5):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps) * w[name + ".weight"] + w[
        name + ".bias"
    ]


def dense(w, name, x):
    return x @ w[name + ".weight"] + w.get(name + ".bias", 0)


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q, k, v, visible):
    """Return softmax(q k^T / sqrt(D)) v of one head; q, k, v (T, D), visible (T, T) bool."""
    scores = np.where(visible, q @ k.T / math.sqrt(q.shape[1]), -np.inf)
    return softmax(scores) @ v


def self_attention(w, name, x, num_heads, visible):
    q, k, v = np.split(dense(w, name + ".qkv", x), 3, axis=1)
    parts = [np.split(a, num_heads, axis=1) for a in (q, k, v)]
    heads = [attention(*each, visible) for each in zip(*parts)]
    return dense(w, name + ".out", np.concatenate(heads, axis=1))


def sequences(tokens, end_of_text):
    """Return the number of the sequence of each token, and its position there, token by token."""
    numbers, positions, number, position = [], [], 0, 0
    for token in tokens:
        numbers.append(number)
        positions.append(position)
        position += 1
        if token == end_of_text:
            number, position = number + 1, 0
    return np.array(numbers), np.array(positions)


def gpt(w, tokens, depth, num_heads, end_of_text=None):
    """Return logits (T, V) of tokens (T,)."""
    numbers, positions = sequences(tokens, end_of_text)
    place = np.arange(len(tokens))
    visible = (place[:, None] >= place) & (numbers[:, None] == numbers)
    x = w["0.weight"][tokens] + w["0.positions"][positions]
    for block in range(1, depth + 1):
        x = x + self_attention(w, f"{block}.attention", layer_norm(w, f"{block}.norm1", x), num_heads, visible)
        normed = layer_norm(w, f"{block}.norm2", x)
        if f"{block}.mlp.router.weight" in w:
            x = x + mixture_of_experts(w, normed, 2, prefix=f"{block}.mlp.")
        else:
            x = x + dense(w, f"{block}.mlp.2", gelu_tanh(dense(w, f"{block}.mlp.0", normed)))
    return layer_norm(w, f"{depth + 1}", x) @ w["0.weight"].T


def rms_norm(w, name, x, eps=1e-5):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * w[name + ".weight"]


def silu(x):
    return x / (1 + np.exp(-x))


def turn(x, positions, base):
    """Turn the pairs (x[i], x[i + D / 2]) of each row of x (T, D) by position / base^(2 i / D) radians."""
    half = x.shape[1] // 2
    angles = positions[:, None] / base ** (2 * np.arange(half) / x.shape[1])
    a, b = x[:, :half], x[:, half:]
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], axis=1)


def llama(w, tokens, depth, num_heads, kv_heads, base, end_of_text=None):
    """Return logits (T, V) of tokens (T,)."""
    numbers, positions = sequences(tokens, end_of_text)
    place = np.arange(len(tokens))
    visible = (place[:, None] >= place) & (numbers[:, None] == numbers)
    x = w["0.weight"][tokens]
    size = x.shape[1] // num_heads
    for block in range(1, depth + 1):
        qkv = rms_norm(w, f"{block}.norm1", x) @ w[f"{block}.attention.qkv.weight"]
        heads = np.split(qkv, qkv.shape[1] // size, axis=1)
        q, k, v = heads[:num_heads], heads[num_heads : num_heads + kv_heads], heads[num_heads + kv_heads :]
        out = [
            attention(
                turn(q[h], positions, base),
                turn(k[h * kv_heads // num_heads], positions, base),
                v[h * kv_heads // num_heads],
                visible,
            )
            for h in range(num_heads)
        ]
        x = x + np.concatenate(out, axis=1) @ w[f"{block}.attention.out.weight"]
        normed = rms_norm(w, f"{block}.norm2", x)
        if f"{block}.mlp.router.weight" in w:
            x = x + mixture_of_experts(w, normed, 2, swiglu, prefix=f"{block}.mlp.")
        else:
            gate, up = np.split(normed @ w[f"{block}.mlp.0.weight"], 2, axis=1)
            x = x + (silu(gate) * up) @ w[f"{block}.mlp.2.weight"]
    x = rms_norm(w, f"{depth + 1}", x)
    head = f"{depth + 2}.weight"
    return x @ w[head] if head in w else x @ w["0.weight"].T


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def bert_body(w, tokens, depth, num_heads):
    """Return the vectors (T, C) of all tokens of one text without padding."""
    visible = np.ones((len(tokens), len(tokens)), bool)
    x = layer_norm(w, "0.norm", w["0.weight"][tokens] + w["0.positions"][: len(tokens)] + w["0.types"][0], 1e-12)
    for block in range(1, depth + 1):
        x = layer_norm(w, f"{block}.norm1", x + self_attention(w, f"{block}.attention", x, num_heads, visible), 1e-12)
        hidden = gelu(dense(w, f"{block}.mlp.0", x))
        x = layer_norm(w, f"{block}.norm2", x + dense(w, f"{block}.mlp.2", hidden), 1e-12)
    return x


def bert_classes(w, tokens, depth, num_heads):
    """Return logits (K,) of a text."""
    first = bert_body(w, tokens, depth, num_heads)[:1]
    pooled = np.tanh(dense(w, f"{depth + 2}", first))
    return dense(w, f"{depth + 4}", pooled)[0]


def bert_words(w, tokens, depth, num_heads):
    """Return logits (T, V) of the words of a text."""
    x = gelu(dense(w, f"{depth + 1}", bert_body(w, tokens, depth, num_heads)))
    return layer_norm(w, f"{depth + 3}", x, 1e-12) @ w["0.weight"].T + w[f"{depth + 4}.bias"]


def vit(w, image, patch, depth, num_heads):
    """Return logits (K,) of an image (H, W, channels)."""
    height, width, _ = image.shape
    patches = [
        image[i : i + patch, j : j + patch].reshape(-1) for i in range(0, height, patch) for j in range(0, width, patch)
    ]
    x = np.vstack([w["0.token"], dense(w, "0.project", np.array(patches))]) + w["0.positions"]
    visible = np.ones((len(x), len(x)), bool)
    for block in range(1, depth + 1):
        x = x + self_attention(w, f"{block}.attention", layer_norm(w, f"{block}.norm1", x, 1e-6), num_heads, visible)
        hidden = gelu(dense(w, f"{block}.mlp.0", layer_norm(w, f"{block}.norm2", x, 1e-6)))
        x = x + dense(w, f"{block}.mlp.2", hidden)
    return dense(w, f"{depth + 3}", layer_norm(w, f"{depth + 1}", x, 1e-6)[:1])[0]
