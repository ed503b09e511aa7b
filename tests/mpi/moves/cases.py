"""Moves of every kind, and what they must give by the arrays of all ranks."""

import numpy as np

from mpitrain.parallel.moves import AllGather, Copy, Gather, Halo, RaggedTurn, ReduceScatter, Split, Sum, Turn


def lengths_of(size):
    """Lengths of parts that differ, one of them 0."""
    return [(2 * rank + 1) % 4 if rank != 1 else 0 for rank in range(size)]


def cut(whole, lengths, dim):
    return np.split(whole, np.cumsum(lengths)[:-1], dim)


def reference(move, name, xs, dys, rank):
    """Return y and dx of ``rank`` from the x and dy of all ranks."""
    join = np.concatenate
    if name == "halo":
        first = -min(0, *(first for first, _ in move._rows[1]))
        beyond = max(stop for _, stop in move._rows[1])
        whole = join(xs, 1)
        padded = np.pad(whole, [(0, 0), (first, max(0, beyond - whole.shape[1])), (0, 0)])
        y = padded[:, first + move._need[0] : first + move._need[1]]
        gradient = np.zeros_like(padded)
        for (start, stop), dy in zip(move._rows[1], dys, strict=True):
            gradient[:, first + start : first + stop] += dy
        return y, gradient[:, first + move._own[0] : first + move._own[1]]
    if name == "ragged_turn":
        table = [counts_of(source, len(xs)) for source in range(len(xs))]
        y = join([cut(x, table[s], 0)[rank] for s, x in enumerate(xs)])
        back = [cut(dy, [row[d] for row in table], 0)[rank] for d, dy in enumerate(dys)]
        return y, join(back)
    if name == "turn":
        c, j = lengths_of(len(xs)), [3] * len(xs)
        return cut(join(xs, 1), c, 0)[rank], cut(join(dys, 0), j, 1)[rank]
    lengths = lengths_of(len(xs))
    return {
        "copy": lambda: (xs[rank], sum(dys)),
        "sum": lambda: (sum(xs), dys[rank]),
        "split": lambda: (cut(xs[rank], lengths, 1)[rank], join(dys, 1)),
        "gather": lambda: (join(xs, 1), cut(dys[rank], lengths, 1)[rank]),
        "reduce_scatter": lambda: (cut(sum(xs), lengths, 1)[rank], join(dys, 1)),
        "all_gather": lambda: (join(xs, 1), cut(sum(dys), lengths, 1)[rank]),
    }[name]()


def counts_of(rank, size):
    return [(rank + 2 * to) % 3 for to in range(size)]


def make(name, group):
    """Return a move, and the shape of this rank's x."""
    size, lengths = group.size, lengths_of(group.size)
    total = sum(lengths)
    along = {"split": Split, "gather": Gather, "reduce_scatter": ReduceScatter, "all_gather": AllGather}
    if name in along:
        move = along[name](group, 1, lengths)
        return move, move.input_shape((3, total, 2))
    if name == "turn":
        return (move := Turn(group, 0, 1, lengths, 3 * size)), move.input_shape((total, 3 * size, 2))
    if name == "ragged_turn":
        return (move := RaggedTurn(group, counts_of(group.rank, size))), move.input_shape((0, 4))
    if name == "halo":
        return (move := Halo(group, 1, lengths, 2, 3)), move.input_shape((2, total, 3))
    return {"copy": Copy, "sum": Sum}[name](group), (5, 3)
