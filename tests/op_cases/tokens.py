"""Ops on tokens: embeddings, positions, attention."""

import numpy as np

from mpitrain.ops.dropout import Masks
from mpitrain.ops.rotary import rotary_table
from tests.op_cases.registry import covers


@covers("rotary")
def rotary(draw, run):
    table, results = rotary_table(30, 10, 100.0), []
    table = draw.device.from_host(table.astype(draw.dtype))
    for positions, offset in ((None, 0), (None, 23), (draw.integers(0, 30, 2, 7), 0)):
        for back in (False, True):
            rows = draw.normal(2, 7, 5, 10)  # of which three heads turn
            run("rotary", rows.transpose(0, 2, 1, 3)[:, 1:4], table, positions, offset, back)
            results.append(rows)
    return results


@covers("attention", "attention_dx")
def attention(draw, run):
    n, length, size, results = 2, 17, 8, []
    rows = draw.device.from_host(np.repeat([[0, 1, 5], [2, 3, 4]], [4, 12, 1], axis=1))
    some = draw.device.from_host(np.array([5, 17]))
    for heads, kv_heads, queries, *how in (
        (6, 2, 9, True, None, None, Masks(0.3, (12, 3, 5, 2**33))),
        (3, 3, 17, True, None),
        (3, 3, 17, False, some),
        (6, 2, 17, True, None, rows),
        (4, 1, 9, True, some, rows),
        (2, 2, 20, True, None),
    ):
        (q, dy), (k, v) = draw.normal(2, n, heads, queries, size), draw.normal(2, n, kv_heads, length, size)
        (y, dq), (dk, dv) = draw.empty(2, *q.shape), draw.empty(2, *k.shape)
        log_sum_exp = draw.empty(n, heads, queries)
        run("attention", q, k, v, y, log_sum_exp, 0.3, *how)
        run("attention_dx", dy, q, k, v, log_sum_exp, dq, dk, dv, 0.3, *how)
        results += [y, log_sum_exp, dq, dk, dv]
    return results


@covers("embedding", "embedding_dw", "check_ids")
def embedding(draw, run):
    ids, w, y, dw = draw.integers(0, 11, 60), draw.normal(11, 9), draw.empty(60, 9), draw.normal(11, 9)
    run("check_ids", ids, 11)
    run("embedding", ids, w, y)
    run("embedding_dw", ids, draw.normal(60, 9), dw)
    return [y, dw]
