"""Transformers in float64 NumPy, one row of tokens at a time, written from the formulas of the papers.

``w`` maps names of parameters to arrays. Nothing of mpitrain is used.
"""

import math

import numpy as np


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
        hidden = gelu_tanh(dense(w, f"{block}.mlp.0", layer_norm(w, f"{block}.norm2", x)))
        x = x + dense(w, f"{block}.mlp.2", hidden)
    return layer_norm(w, f"{depth + 1}", x) @ w["0.weight"].T
