"""Mixture of experts: a network for each token that is chosen by a router.

Shapes: M tokens, C the size of a vector, E experts, k experts for each token, R = M k rows.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from ..context import Context
from ..errors import UserError
from ..ops.embedding import embedding
from ..ops.routing import MOST_EXPERTS, choose_largest, route, row_dots, sum_of_rows
from ..ops.softmax import softmax, softmax_dx
from ..parameter import State
from .base import Layer, empty_gradient
from .experts import Experts
from .linear import Linear, as_rows

Balance = Literal["loss", "bias", "none"]
RATES = {"loss": 0.01, "bias": 0.001, "none": 0.0}


class MixtureOfExperts(Layer):
    """y = the sum of g_e E_e(x) over the k experts E_e that a router chooses for each token x (Shazeer et al. 2017).

    Parameters
    ----------
    experts : Experts
    top_k : int
        k.
    normalize : bool
        Divide the weights g of a token by their sum (Mixtral, Jiang et al. 2024, arXiv 2401.04088). With k = 1 this
        would be 1 always, and the router would learn nothing: they stay as they are (Switch).
    balance : {"loss", "bias", "none"}
        How tokens are kept from going to few experts only: "loss" by a gradient of the router, "bias" by numbers that
        are added to the scores, for the choice alone.
    rate : float
        The coefficient of the loss (0.01), or the step of the bias (0.001); 0 for these.

    Attributes
    ----------
    sum_over_ranks : callable(array) or None
        Sums a small float64 vector over ranks in place, and returns it as an array of the host; called once in each
        training forward, also with N = 0, unless ``balance`` is "none". None: this rank has all tokens.
    largest_load : float
        Tokens of the expert that had the most in the last training forward, divided by their mean: 1 is even, E all for
        one. Over all ranks, or with ``balance`` "none" those of this rank.

    Raises
    ------
    UserError
        For options out of range.

    Notes
    -----
    x and y are (..., C). With p = softmax(x w), w (C, E), the k largest p_e (of equals the first) are chosen; g_e is
    p_e, divided by the sum of those chosen with ``normalize``. No token is dropped and no expert has a capacity, so y
    of a token depends on nothing but that token (Lepikhin et al. 2020, "GShard", arXiv 2006.16668, and Fedus et al.
    2021, "Switch Transformers", arXiv 2101.03961, drop tokens).

    Balance loss (Switch): each token adds rate E (the sum over e of f_e p_e), where f_e is the share of expert e in all
    choices of the microbatch, over all ranks, a constant in backward. It is a sum over tokens like every loss, so it is
    divided once, by the weight of the step; the reported loss does not contain it.

    Balance by bias (Wang et al. 2024, arXiv 2408.15664): experts are chosen by p_e + b_e. A step begins with
    b_e += rate sign(mean load - load_e), where the loads are the tokens of each expert in the step before, of all
    microbatches and ranks. The states ``score_bias``, ``load`` and ``step`` (whose loads these are, counted from 1)
    make a run that is resumed continue exactly.
    """

    per_token = True  # for axis context, whose ranks have some of the tokens
    sum_over_ranks: Callable[[np.ndarray], np.ndarray] | None

    def __init__(
        self, experts: Experts, top_k: int = 2, *, normalize: bool = True, balance: str = "loss", rate: float = 0.0
    ):
        count = experts.num_experts
        if not 1 <= top_k <= count <= MOST_EXPERTS:
            raise UserError(f"top_k is {top_k}, but must be from 1 to the number of experts, {count}")
        if balance not in RATES:
            raise UserError(f"the balance of experts is {balance!r}, but must be one of {', '.join(RATES)}")
        if not rate >= 0:
            raise UserError(f"the rate of the balance of experts must be at least 0, but it is {rate}")
        self.num_experts, self.top_k, self.normalize = count, top_k, normalize and top_k > 1
        self.balance, self.rate = balance, rate or RATES[balance]
        self.router = Linear(experts.width, count, bias=False)
        self.experts: Layer = experts
        self.largest_load = 1.0
        if balance == "bias":
            self.score_bias, self.load, self.step = State((count,), 0), State((count,), 0), State((1,), 0)
        if balance != "none":
            self.sum_over_ranks = None

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the weighted results of the experts of each token."""
        tokens = as_rows(x)
        p: np.ndarray = ctx.lend(self, "p", (len(tokens), self.num_experts))
        softmax(self.router.forward(tokens, ctx), p)
        chosen: np.ndarray = ctx.lend(self, "chosen", (len(tokens), self.top_k), np.int16)
        choose_largest(self._scores(p, ctx), self.top_k, chosen)
        way = route(chosen, self.num_experts)
        shares = self._count(way.counts, ctx)
        rows: np.ndarray = ctx.lend(self, "rows", (len(way.tokens), tokens.shape[1]))
        embedding(way.tokens, tokens, rows)
        self.experts.expect(way.counts.tolist(), ctx)  # type: ignore[attr-defined]
        results = self.experts.forward(rows, ctx)
        weights = self._weights(p, chosen)
        ctx[self] = x.shape, p, chosen, way, shares, results, weights
        y: np.ndarray = ctx.lend(self, "y", tokens.shape)
        sum_of_rows(results, way.places, weights, y)
        return y.reshape(x.shape)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of experts and router, or put them off; return dx. dy is not written over."""
        shape, p, chosen, way, shares, results, weights = ctx[self]
        dy = as_rows(dy)
        dresults: np.ndarray = ctx.backward.lend(self, "dresults", results.shape)
        embedding(way.tokens, dy, dresults)
        dweights = np.empty_like(weights)
        dweights.reshape(-1)[way.order] = row_dots(dresults, results)
        np.multiply(dresults, weights.reshape(-1)[way.order, None], out=dresults)
        drows = self.experts.backward(dresults, ctx)
        if not self.needs_dx and not self.router.trains:
            return empty_gradient(dy)
        dp: np.ndarray = ctx.backward.lend(self, "dp", p.shape)
        self._weights_dx(dweights, p, chosen, weights, dp)
        if shares is not None:
            np.add(dp, shares, out=dp)
        softmax_dx(p, dp, dp)
        dtokens = self.router.backward(dp, ctx)
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", dy.shape)
        sum_of_rows(drows, way.places, None, dx)
        np.add(dx, dtokens, out=dx)
        return dx.reshape(shape)

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this, of the router and of the experts."""
        self.needs_dx = needed
        self.router.ask_dx(needed)
        self.experts.ask_dx(needed)

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield itself: its experts have rows of all samples, of which no observer knows the order."""
        yield prefix.rstrip("."), self

    def _weights(self, p: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return the weights g (M, k) of the chosen experts."""
        weights = np.take_along_axis(p, chosen.astype(np.int64), axis=1)
        if self.normalize:
            np.divide(weights, weights.sum(axis=1, keepdims=True), out=weights)
        return weights

    def _weights_dx(
        self, dweights: np.ndarray, p: np.ndarray, chosen: np.ndarray, weights: np.ndarray, dp: np.ndarray
    ) -> None:
        """Write dp: with g = q / s and s = the sum of the chosen q, dq = (dg - the sum of g dg) / s."""
        places = chosen.astype(np.int64)
        if self.normalize:
            s = np.take_along_axis(p, places, axis=1).sum(axis=1, keepdims=True)
            dweights = (dweights - row_dots(weights, dweights)[:, None]) / s
        dp.fill(0)
        np.put_along_axis(dp, places, dweights, axis=1)

    def _scores(self, p: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the scores by which experts are chosen; in the first forward of a step, update the bias."""
        if self.balance != "bias":
            return p
        if ctx.training and int(ctx.device.to_host(self.step.data)[0]) != ctx.step + 1:
            load = ctx.device.to_host(self.load.data).astype(np.float64)
            step = self.rate * np.sign(load.mean() - load)
            self.score_bias.data += ctx.device.from_host(step.astype(self.load.data.dtype))
            self.load.data.fill(0)
            self.step.data.fill(ctx.step + 1)
        scores: np.ndarray = p + self.score_bias.data
        return scores

    def _count(self, counts: np.ndarray, ctx: Context) -> np.ndarray | None:
        """Count the choices of each expert over all ranks; return the gradient of the balance loss by each p_e."""
        if not ctx.training:
            return None
        total = counts.astype(np.float64)
        if self.balance != "none" and self.sum_over_ranks is not None:
            total = self.sum_over_ranks(total)
        share = total / max(1.0, total.sum())
        self.largest_load = self.num_experts * float(share.max())
        if self.balance == "none":
            return None
        if self.balance == "bias":
            if ctx.updates_statistics:
                self.load.data += ctx.device.from_host(total.astype(self.load.data.dtype))
            return None
        gradient: np.ndarray = ctx.device.from_host((self.rate * self.num_experts * share).astype(ctx.dtype))
        return gradient
