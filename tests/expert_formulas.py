"""Formulas of a mixture of experts, token by token, in float64."""

import math

import numpy as np


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def swiglu(z):
    a, b = np.split(z, 2)
    return a / (1 + np.exp(-a)) * b


def choices(w, token, k, prefix="", score_bias=0.0):
    """Return the probabilities of all experts, and the numbers of the k that are chosen, the largest score first."""
    logits = token @ w[f"{prefix}router.weight"]
    p = np.exp(logits - logits.max())
    p /= p.sum()
    return p, sorted(range(len(p)), key=lambda e: (-(p + score_bias)[e], e))[:k]


def mixture_of_experts(w, x, k, activation=gelu_tanh, *, normalize=True, prefix="", score_bias=0.0):
    """Return y (M, C) of tokens x (M, C)."""
    y = np.zeros_like(x)
    for m, token in enumerate(x):
        p, chosen = choices(w, token, k, prefix, score_bias)
        total = sum(p[e] for e in chosen) if normalize and k > 1 else 1.0
        for e in chosen:
            y[m] += p[e] / total * expert(w, token, e, activation, prefix)
    return y


def expert(w, token, e, activation, prefix=""):
    """Return the result of one expert for one token."""
    w1, w2 = (w[f"{prefix}experts.weight{i}"][e] for i in (1, 2))
    b1, b2 = (w[f"{prefix}experts.bias{i}"][e] if f"{prefix}experts.bias1" in w else 0 for i in (1, 2))
    return activation(token @ w1 + b1) @ w2 + b2


def balance_loss(w, x, k, rate, shares=None):
    """Return rate E (sum of f_e p_e), summed over the tokens; f from these tokens unless ``shares`` is given."""
    found = [choices(w, token, k) for token in x]
    num_experts = w["router.weight"].shape[1]
    if shares is None:
        shares = shares_of([chosen for _, chosen in found], num_experts)
    return rate * num_experts * sum(float(p @ shares) for p, _ in found)


def shares_of(chosen, num_experts):
    """Return the share of each expert in the choices."""
    counts = np.bincount(np.array(chosen, int).reshape(-1), minlength=num_experts)
    return counts / max(1, counts.sum())
