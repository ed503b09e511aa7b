"""The models of ``ratings.py`` in PyTorch, and plain methods in NumPy, on samples of mpitrain.

Both sides begin with the same weights and take the same batches in the same order, with the same learning rates.
"""

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mpitrain.arena import Arena
from mpitrain.data.loader import Loader
from mpitrain.data.normalize import Normalizer
from mpitrain.models import Codes, build

K = 10


class Vectors(nn.Module):
    """Vectors of users and items, with normal initial values."""

    def __init__(self, users: int, items: int, size: int, std: float):
        super().__init__()
        self.users, self.items = nn.Embedding(users, size), nn.Embedding(items, size)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=std)


class Factorization(Vectors):
    """``mf``: the last number of each vector is its bias."""

    def __init__(self, users: int, items: int, factors: int, l2: float):
        super().__init__(users, items, factors + 1, 0.1)
        self.bias, self.l2 = nn.Parameter(torch.zeros(1)), l2

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the squared error with the penalty of each pair."""
        p, q = self.users(x[:, 0]), self.items(x[:, 1])
        penalty = self.l2 * (p.square().sum() + q.square().sum()) / len(x)
        return (self.score(p, q) - y).square().mean() + penalty

    def score(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Return the scores of pairs."""
        found: torch.Tensor = self.bias + (p[:, :-1] * q[:, :-1]).sum(1) + p[:, -1] + q[:, -1]
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of pairs of codes."""
        return self.score(self.users(x[:, 0]), self.items(x[:, 1]))


class NeuMF(nn.Module):
    """``ncf`` with its default sizes."""

    def __init__(self, users: int, items: int):
        super().__init__()
        self.gmf, self.mlp = Vectors(users, items, 8, 0.01), Vectors(users, items, 32, 0.01)
        sizes = (64, 32, 16, 8)
        self.tower = nn.Sequential(
            *(layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU()))
        )
        self.head = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of no and yes."""
        user, item = x[:, 0], x[:, 1]
        deep = self.tower(torch.cat([self.mlp.users(user), self.mlp.items(item)], 1))
        found: torch.Tensor = self.head(torch.cat([self.gmf.users(user) * self.gmf.items(item), deep], 1))
        return found

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy."""
        return cross_entropy(self(x), y)


class TwoTower(nn.Module):
    """``two-tower:size=32,users=false,widths=``."""

    def __init__(self, items: int, size: int):
        super().__init__()
        self.items, self.tower, self.bias = (
            nn.Embedding(items, size),
            nn.Linear(size, size),
            nn.Parameter(torch.zeros(items)),
        )
        nn.init.normal_(self.items.weight, std=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of all items."""
        history = x[:, 1:]
        there = (history > 0).float()[..., None]
        mean = (self.items(history) * there).sum(1) / there.sum(1).clamp(min=1)
        found: torch.Tensor = self.tower(mean) @ self.items.weight.T + self.bias
        return found

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy."""
        return cross_entropy(self(x), y)


def train(name: str, data: Any, task: dict[str, Any], seed: int) -> dict[str, float]:
    """Return the scores of the task's training on a dataset of mpitrain."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    users, items = data.category_sizes[0], data.category_sizes[-1]
    mean, std = (data.train.y.mean(), data.train.y.std()) if name == "ratings" else (0.0, 1.0)
    model: Any = {
        "ratings": lambda: Factorization(users, items, 64, 0.12),
        "pairs": lambda: NeuMF(users, items),
        "next": lambda: TwoTower(items, 32),
    }[name]()
    begin_alike(model, name, first_weights(data, task["model"], seed))
    optimizer = torch.optim.Adam(model.parameters(), task["lr"])
    steps = task["epochs"] * math.ceil(len(data.train) / task["batch"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
    scale = Normalizer(np.array([mean]), np.array([std])) if name == "ratings" else None
    options: dict[str, Any] = {"rank": 0, "size": 1, "seed": seed, "normalizer": None, "target_normalizer": scale}
    loader = Loader(data.train, batch_size=task["batch"], **options)
    for epoch in range(1, task["epochs"] + 1):
        for (batch,) in loader.epoch(epoch):
            optimizer.zero_grad()
            y = torch.tensor(batch.y)
            model.loss(torch.tensor(batch.x), y[:, 0] if y.ndim == 2 else y).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return SCORES[name](model, data.test, mean, std)


def first_weights(data: Any, model: str, seed: int) -> dict[str, torch.Tensor]:
    """Return the initial weights of mpitrain by name."""
    made = build(model, data.input_shape, data.num_outputs, codes=Codes.of(data))
    arena = Arena(made.named_parameters(), made.named_states(), seed=seed)
    return {p.name: torch.tensor(np.array(p.data)) for p in arena.parameters}


def begin_alike(model: Any, name: str, first: dict[str, torch.Tensor]) -> None:
    """Give a model of PyTorch these weights."""
    with torch.no_grad():
        if name == "next":
            model.items.weight.copy_(first["0.items.weight"])
            copy_linear(model.tower, first, "1")
            return
        users, items = (first[f"0.tables.{k}.weight"] for k in (0, 1))
        if name == "ratings":
            model.users.weight.copy_(users)
            model.items.weight.copy_(items)
            return
        for part, columns in ((model.gmf, slice(0, 8)), (model.mlp, slice(8, None))):
            part.users.weight.copy_(users[:, columns])
            part.items.weight.copy_(items[:, columns])
        for number in (0, 2, 4):
            copy_linear(model.tower[number], first, f"1.tower.{number}")
        copy_linear(model.head, first, "2")


def copy_linear(layer: nn.Linear, first: dict[str, torch.Tensor], name: str) -> None:
    """Give a layer the weights of that name."""
    layer.weight.copy_(first[f"{name}.weight"].T)
    layer.bias.copy_(first[f"{name}.bias"])


def rmse(model: Factorization, test: Any, mean: float, std: float) -> dict[str, float]:
    """Return the root of the mean squared error."""
    found = model(torch.tensor(test.x)).numpy() * std + mean
    return {"rmse": float(np.sqrt(np.mean((found - test.y[:, 0]) ** 2)))}


def of_places(place: np.ndarray) -> dict[str, float]:
    """Return recall and NDCG at 10 of the places of targets, from 0."""
    return {"recall@10": float(np.mean(place < K)), "ndcg@10": float(np.mean((place < K) / np.log2(place + 2.0)))}


def of_lists(model: NeuMF, test: Any, mean: float, std: float) -> dict[str, float]:
    """Return the scores of lists of a click and 99 drawn items."""
    outputs = torch.cat([model(torch.tensor(test.x[k : k + 10000])) for k in range(0, len(test), 10000)])
    lists = (outputs[:, 1] - outputs[:, 0]).numpy().reshape(-1, 100)
    lists[test.x[:][::100, 1] == 0, 0] = -np.inf  # items that no training sample has
    return of_places((lists[:, 1:] >= lists[:, :1]).sum(axis=1))


def of_all_items(model: TwoTower, test: Any, mean: float, std: float) -> dict[str, float]:
    """Return the scores of rankings of all items without those that the user has had."""
    outputs, places = model(torch.tensor(test.x)).numpy(), []
    for row, (user, target) in enumerate(zip(test.x[:, 0], test.y)):
        left = np.ones(outputs.shape[1], bool)
        left[test.hidden.of(user)] = False
        left[[0, target]] = False
        places.append((outputs[row, left] >= outputs[row, target]).sum() if target else outputs.shape[1])
    return of_places(np.array(places))


SCORES: dict[str, Any] = {"ratings": rmse, "pairs": of_lists, "next": of_all_items}


def biases(data: Any, seed: int, shrink: float = 5.0) -> float:
    """Return the RMSE of mean, user and item biases, by 20 rounds of shrunk averages of residuals."""
    (user, item), y = data.train.x.T, data.train.y[:, 0]
    mean, of_users, of_items = y.mean(), *(np.zeros(size) for size in data.category_sizes)
    for _ in range(20):
        for own, values, others in ((item, of_items, of_users[user]), (user, of_users, of_items[item])):
            sums = np.bincount(own, y - mean - others, len(values))
            values[:] = sums / (np.bincount(own, minlength=len(values)) + shrink)
    (user, item), y = data.test.x.T, data.test.y[:, 0]
    return float(np.sqrt(np.mean((y - mean - of_users[user] - of_items[item]) ** 2)))


def descent(data: Any, seed: int, factors: int = 16, lr: float = 0.01, l2: float = 0.1, epochs: int = 20) -> float:
    """Return the RMSE of stochastic gradient descent, one rating at a time (Koren, Bell and Volinsky 2009)."""
    rng = np.random.default_rng(seed)
    (user, item), y = data.train.x.T, data.train.y[:, 0]
    p, q = (0.1 * rng.standard_normal((size, factors)) for size in data.category_sizes)
    mean, b, c = y.mean(), *(np.zeros(size) for size in data.category_sizes)
    for _ in range(epochs):
        for k in rng.permutation(len(y)).tolist():
            u, i = user[k], item[k]
            error = y[k] - mean - b[u] - c[i] - p[u] @ q[i]
            b[u] += lr * (error - l2 * b[u])
            c[i] += lr * (error - l2 * c[i])
            p[u], q[i] = p[u] + lr * (error * q[i] - l2 * p[u]), q[i] + lr * (error * p[u] - l2 * q[i])
    (user, item), y = data.test.x.T, data.test.y[:, 0]
    return float(np.sqrt(np.mean((y - mean - b[user] - c[item] - (p[user] * q[item]).sum(axis=1)) ** 2)))
