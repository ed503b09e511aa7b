"""Text from a language model: each token is drawn from what the model predicts after those before it.

With a cache a token costs one row of each matrix product, and attention looks at the keys and values of the tokens
before it, which are kept. Without, all tokens are computed anew; the results are the same to rounding.

Shapes: V tokens in the vocabulary, T tokens read at once, C the size of a vector.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ..context import ForwardContext
from ..device import CPU, Device
from ..errors import UserError
from ..key_value_cache import KeyValueCache
from ..layers import Layer, Linear, MultiHeadAttention, Sequential, TiedHead, TokenEmbedding
from ..layers.per_token import PER_TOKEN
from .sampling import Sampling


class NextToken:
    """The logits of the token that follows a text.

    Parameters
    ----------
    model : Layer
        A language model, (N, T) tokens -> (N, T, V), with its weights in an ``Arena`` on ``device``.
    window : int
        The most tokens that it sees; 0 for the number of its learned positions, or all where it has none.
    device : Device
    cache : bool
        Keep keys and values. Models with layers that may mix tokens in other ways are computed without.

    Attributes
    ----------
    window : int
        0 where it is not limited.
    caches : bool

    Raises
    ------
    UserError
        If the model sees later tokens, or has fewer positions than the window.

    Notes
    -----
    Where a text is longer than the window, its beginning is cut off in steps of half a window: the model sees between
    half a window and a whole one, and keys and values are computed anew (the positions of all have changed) only once
    in half a window. Where the model was told of an end of text, it sees nothing before the last one. So the logits are
    a function of the text alone, not of the way in which it came.
    """

    def __init__(self, model: Layer, *, window: int = 0, device: Device = CPU, cache: bool = True):
        layers = list(model.layers())
        if any(isinstance(layer, MultiHeadAttention) and not layer.causal for layer in layers):
            raise UserError("the model sees tokens after those that it predicts, so it cannot continue a text")
        self._embedding = next((layer for layer in layers if isinstance(layer, TokenEmbedding)), None)
        self.window = _window(self._embedding, window)
        self._ctx, self._device = ForwardContext(device=device), device
        self._body, self._head = _parts(model)
        self._ctx.outputs_of = self._head
        self.caches = cache and self._embedding is not None and all(type(layer) in PER_TOKEN for layer in layers)
        if self.caches:
            self._ctx.cache = KeyValueCache(self.window)
        self._read: list[int] = []  # the tokens in the cache

    def __call__(self, tokens: Sequence[int]) -> np.ndarray:
        """Return the logits (V,) of what follows ``tokens``, on the host; they are valid until the next call.

        Raises
        ------
        UserError
            If there are no tokens, or one is outside of the vocabulary.
        """
        if not len(tokens):
            raise UserError("there is no token to continue: the model predicts what follows at least one")
        seen = self._seen(list(tokens))
        if self._ctx.cache is None:
            return self._logits(seen)
        known = len(self._read)
        if known >= len(seen) or seen[:known] != self._read:
            self._ctx.cache.clear()
            known = 0
        self._read = []  # nothing, should the model fail
        logits = self._logits(seen[known:])
        self._ctx.cache.advance(len(seen) - known)
        self._read = seen
        return logits

    def _seen(self, tokens: list[int]) -> list[int]:
        """Return the tokens that the model sees: those at the end."""
        end = None if self._embedding is None else self._embedding.end_of_text
        if end is not None and end in tokens[:-1]:
            tokens = tokens[len(tokens) - 1 - tokens[-2::-1].index(end) :]
        if self.window and len(tokens) > self.window:
            step = max(1, self.window // 2)
            tokens = tokens[-(-(len(tokens) - self.window) // step) * step :]
        return tokens

    def _logits(self, tokens: list[int]) -> np.ndarray:
        x = self._device.from_host(np.array([tokens], np.int64))
        outputs = self._body.forward(x, self._ctx)[:, -1]
        if self._head is not None:
            last = self._ctx.empty(self, "last", outputs.shape)
            last[...] = outputs
            outputs = self._head.forward(last, self._ctx)
        logits: np.ndarray = self._device.to_host(outputs)[0]
        return logits


def generate(
    model: Layer,
    tokens: Sequence[int],
    num_tokens: int,
    sampling: Sampling | None = None,
    *,
    number: int = 0,
    end_of_text: int | None = None,
    window: int = 0,
    device: Device = CPU,
    cache: bool = True,
) -> Iterator[int]:
    """Yield the tokens with which ``model`` continues ``tokens``, one by one.

    Parameters
    ----------
    num_tokens : int
        The most tokens to yield.
    sampling : Sampling, optional
        ``Sampling()`` by default.
    number : int
        The number of the prompt, which gives each its own random numbers.
    end_of_text : int, optional
        The token at which the text ends; it is not yielded.
    model, window, device, cache
        As in ``NextToken``.
    """
    predict = NextToken(model, window=window, device=device, cache=cache)
    yield from continue_text(predict, tokens, num_tokens, sampling or Sampling(), number, end_of_text)


def continue_text(
    predict: NextToken,
    tokens: Sequence[int],
    num_tokens: int,
    sampling: Sampling,
    number: int = 0,
    end_of_text: int | None = None,
) -> Iterator[int]:
    """Yield tokens as ``generate`` does, from a ``NextToken`` whose memory is used again."""
    text = [int(token) for token in tokens]
    for position in range(num_tokens):
        token = sampling.draw(predict(text), number, position)
        if token == end_of_text:
            return
        yield token
        text.append(token)


def _window(embedding: TokenEmbedding | None, window: int) -> int:
    """Return the most tokens that are seen at once; 0 for any number."""
    learned = 0 if embedding is None or embedding.positions is None else embedding.positions.shape[0]
    if window < 0 or (learned and window > learned):
        least = f"at most {learned}, its learned positions" if window > 0 else "0 (its own) or more"
        raise UserError(f"the window of the model must be {least}, but it is {window}")
    return window or learned


def _parts(model: Layer) -> tuple[Layer, Layer | None]:
    """Return the model without its head, and the head, which only the last token needs; None if there is none."""
    if isinstance(model, Sequential) and type(model).forward is Sequential.forward:
        units = model.units()
        if len(units) > 1 and isinstance(units[-1].layer, Linear | TiedHead):
            return model.part(0, len(units) - 1), units[-1].layer
    return model, None
