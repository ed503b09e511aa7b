"""The two ends of a network of tokens: vectors for token numbers, and logits from vectors.

Shapes: N rows of T tokens, V numbers in the vocabulary, C the size of a vector.
"""

from collections.abc import Callable, Iterator
from copy import copy
from functools import partial

import numpy as np

from ..context import PAD, WHOLE_ROWS, Context, Tokens
from ..errors import UserError
from ..ops.elementwise import add
from ..ops.embedding import check_ids, embedding, embedding_dw
from ..ops.linear import linear, linear_dw, linear_dx
from ..ops.reduce import column_sum
from ..ops.tokens import packed_sequences, row_lengths
from ..parameter import Parameter, Shard
from . import init
from .base import Layer, empty_gradient
from .embedding import Embedding
from .linear import as_rows


class TokenEmbedding(Embedding):
    """y = norm(w[x] + positions[p] + types[0]): the first layer of a network of tokens; sets ``ctx.tokens``.

    Parameters
    ----------
    vocabulary, size : int
        V and C.
    num_positions : int
        P, the most tokens of a sequence; 0 for no learned positions (Llama turns queries and keys by them instead).
    num_types : int
        Rows of ``types``, token types (BERT: 2); 0 for none. All tokens have type 0.
    norm : Layer, optional
    causal : bool
        Whether tokens see only those before them. Then padding, at the end of rows, is seen by no token, and the layers
        above need not know of it.
    end_of_text : int, optional
        The token that ends each sequence, where rows are packed with several: these do not see each other, and their
        positions begin with 0.
    std : float
        Standard deviation of the initial values.

    Raises
    ------
    UserError
        In ``forward``, if x is not (N, T), a row is longer than P, or a number is outside of the vocabulary.

    Notes
    -----
    x is (N, T) integer, with ``PAD`` at the end of shorter rows; w (V, C), positions (P, C), types (num_types, C),
    y (N, T, C). A PAD has the vector of token 0 and gives no gradient to it. With ``ctx.cache`` x continues the rows
    read before: positions go on from there.
    """

    def __init__(
        self,
        vocabulary: int,
        size: int,
        *,
        num_positions: int = 0,
        num_types: int = 0,
        norm: Layer | None = None,
        causal: bool = True,
        end_of_text: int | None = None,
        std: float = 0.02,
    ):
        super().__init__(vocabulary, size, std)
        self.positions = Parameter((num_positions, size), init.normal(std)) if num_positions else None
        self.types = Parameter((num_types, size), init.normal(std)) if num_types else None
        self.norm = norm
        self.causal, self.end_of_text = causal, end_of_text

    @property
    def tells_layers(self) -> bool:
        """True if the layers above may need ``ctx.tokens``."""
        return not self.causal or self.end_of_text is not None

    def facts(self, x: np.ndarray) -> Tokens:
        """Return the facts about rows of tokens that the layers above need."""
        packed = (None, None) if self.end_of_text is None else packed_sequences(x, self.end_of_text)
        return Tokens(None if self.causal else row_lengths(x), *packed)

    def _facts_of_piece(self, x: np.ndarray) -> Tokens:
        """Return the facts about rows of one text each that are read in pieces; on a GPU that is not checked."""
        if isinstance(x, np.ndarray) and self.facts(x).segments is not None:
            raise UserError("rows packed with several texts cannot be read in pieces: begin each with an empty cache")
        return WHOLE_ROWS

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the vectors of the tokens."""
        before = 0 if ctx.cache is None else ctx.cache.length
        self._check_shape(x, before)
        ctx.tokens = self.facts(x) if ctx.cache is None else self._facts_of_piece(x)
        return self._vectors(x, ctx.tokens.positions, row_lengths(x) is not None, before, ctx)

    def forward_part(self, x: np.ndarray, take: Callable[[np.ndarray], np.ndarray], ctx: Context) -> np.ndarray:
        """Return the vectors of some tokens of the rows x, of which ``take`` returns those from an array (N, T)."""
        self._check_shape(x, 0)
        ctx.tokens = self.facts(x)
        places = ctx.tokens.positions
        if places is None and self.positions is not None:
            places = np.broadcast_to(np.arange(x.shape[1], like=x), x.shape)
        own = None if places is None else take(places)
        return self._vectors(take(x), own, row_lengths(x) is not None, 0, ctx)

    def _vectors(self, x: np.ndarray, places: np.ndarray | None, padded: bool, before: int, ctx: Context) -> np.ndarray:
        ids = x.reshape(-1)
        if padded:
            ids = np.where(ids == PAD, 0, ids)
        check_ids(ids, self.num_embeddings)
        y: np.ndarray = ctx.lend(self, "y", (*x.shape, self.size))
        y = self._look_up(ids, y, ctx)
        self._add_positions(y, places, before, ctx)
        if self.types is not None:
            np.add(y, self.types.data[0], out=y)
        ctx[self] = ids, x.reshape(-1) != PAD if padded else None, places
        return y if self.norm is None else self.norm.forward(y, ctx)

    def _look_up(self, ids: np.ndarray, y: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the rows w[ids], in ``y`` (N, T, C) or in other memory of ``ctx``."""
        embedding(ids, self.weight.data, y.reshape(len(ids), self.size))
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of all tables, or put them off."""
        if self.norm is not None:
            dy = self.norm.backward(dy, ctx)
        if ctx.later is None:
            self._put_tables(dy, *ctx[self])
        elif any(p is not None and not p.frozen for p in (self.weight, self.positions, self.types)):
            ctx.later.append(partial(self._put_tables, dy, *ctx[self]))
        return empty_gradient(dy)

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield itself, with its norm in it."""
        yield prefix.rstrip("."), self

    def _check_shape(self, x: np.ndarray, before: int) -> None:
        if x.ndim != 2 or not x.shape[1] or not np.issubdtype(x.dtype, np.integer):
            raise UserError(f"a TokenEmbedding expects rows of tokens, (N, T) integers, not {x.shape} of {x.dtype}")
        if self.positions is not None and before + x.shape[1] > len(self.positions.data):
            raise UserError(
                f"a row has {before + x.shape[1]} tokens, but the model has {len(self.positions.data)} positions"
            )

    def _add_positions(self, y: np.ndarray, places: np.ndarray | None, before: int, ctx: Context) -> None:
        if self.positions is None:
            return
        if places is None:
            np.add(y, self.positions.data[before : before + y.shape[1]], out=y)
            return
        vectors = ctx.lend(self, "positions", y.shape)
        embedding(places.reshape(-1), self.positions.data, as_rows(vectors))
        add(y, vectors, y)

    def _put_tables(
        self, dy: np.ndarray, ids: np.ndarray, is_token: np.ndarray | None, places: np.ndarray | None
    ) -> None:
        rows = as_rows(dy)
        if self.types is not None and not self.types.frozen:
            _clear(self.types, 1)
            column_sum(rows, self.types.grad[0], self.types.accumulate)
            self.types.written()
        if self.positions is not None and not self.positions.frozen:
            self._put_position_gradients(places, dy)
        if self.weight.frozen:
            return
        if is_token is not None and isinstance(ids, np.ndarray):  # elsewhere the rows of PAD are 0 as they are
            ids, rows = ids[is_token], rows[is_token]
        self.put_gradient(ids, rows)

    def _put_position_gradients(self, places: np.ndarray | None, dy: np.ndarray) -> None:
        p, (num_rows, length, size) = self.positions, dy.shape
        assert p is not None
        if places is None:
            _clear(p, length)
            column_sum(dy.reshape(num_rows, length * size), p.grad[:length].reshape(-1), p.accumulate)
        else:
            _clear(p, 0)
            embedding_dw(places.reshape(-1), as_rows(dy), p.grad)
        p.written()


def _clear(p: Parameter, first: int) -> None:
    """Set the rows of the gradient from ``first`` on to 0, unless it holds a part of this step's."""
    if not p.accumulate:
        p.grad[first:].fill(0)


class TiedHead(Layer):
    """y = x w^T + b with the table w of an ``Embedding``, which both share (Press and Wolf 2016, arXiv 1608.05859).

    Parameters
    ----------
    embedding : Embedding
    bias : bool

    Notes
    -----
    x is (..., C), w (V, C), b (V,), y (..., V). Gradients: dx = dy w, dw = dy^T x, added to that of the embedding,
    db = sum of dy over rows.
    """

    def __init__(self, embedding: Embedding, bias: bool = False):
        self.num_inputs, self.num_outputs = embedding.size, embedding.num_embeddings
        self.weight = embedding.weight
        self.weight.uses += 1
        self.bias = Parameter((self.num_outputs,), init.zeros, decay=False) if bias else None

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return x w^T + b."""
        rows = as_rows(x)
        ctx[self] = rows, x.shape
        y: np.ndarray = ctx.lend_rows(self, "y", len(rows), self.num_outputs)
        linear_dx(rows, self.weight.data, y)  # which is x w^T
        if self.bias is not None:
            np.add(y, self.bias.data, out=y)
        return y.reshape(*x.shape[:-1], self.num_outputs)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw and db, or put them off; return dx."""
        rows, shape = ctx[self]
        dy = as_rows(dy)
        if ctx.later is None:
            self.put_gradients(rows, dy)
        elif self.trains:
            ctx.later.append(partial(self.put_gradients, rows, dy))
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", rows.shape)
        linear(dy, self.weight.data, None, dx, False)
        return dx.reshape(shape)

    def part(self, shard: Shard, weight: Parameter | None = None) -> "TiedHead":
        """Return the head of some of the outputs (dimension 0 of w); ``weight`` is that part, if the table has it."""
        made = copy(self)
        made.weight = self.weight.part(shard) if weight is None else weight
        made.bias = None if self.bias is None else self.bias.part(shard)
        made.num_outputs = made.weight.shape[0]
        return made

    def put_gradients(self, x: np.ndarray, dy: np.ndarray) -> None:
        """Write dw and db, given x (M, C) and dy (M, V); those that are trained."""
        if not self.weight.frozen:
            linear_dw(dy, x, self.weight.grad, self.weight.accumulate)
            self.weight.written()
        if self.bias is not None and not self.bias.frozen:
            column_sum(dy, self.bias.grad, self.bias.accumulate)
            self.bias.written()


class FirstToken(Layer):
    """y = x[:, 0]: the vector of the first token of each row, (N, T, C) -> (N, C); it stands for the row."""

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return a copy of the vectors."""
        ctx[self] = x.shape
        y: np.ndarray = ctx.lend(self, "y", (len(x), x.shape[2]))
        y[...] = x[:, 0]
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dy for the first tokens, and 0 for the others."""
        dx: np.ndarray = ctx.backward.lend(self, "dx", ctx[self])
        dx.fill(0)
        dx[:, 0] = dy
        return dx
