"""Stream-K: how K of tiles is shared out, as pure numbers."""

from itertools import pairwise

import numpy as np
import pytest

from mpitrain.kernels.gemm import TILES, Shape
from mpitrain.kernels.gemm_plan import STREAM, make_plan, split_choices, ways_to_cut
from mpitrain.kernels.planner import choose, read_table
from mpitrain.kernels.predicted.gemm import gradients, predict, shapes
from mpitrain.kernels.predicted.gemm_traffic import Sizes, bytes_from_memory, plain_stream_k
from mpitrain.kernels.predicted.rates import H100
from mpitrain.kernels.stream_k import KEEP_STEPS, split_k, stream_k, whole_tiles

AREA = 256, 256
LARGE = next(tile for tile in TILES if tile.name == "wgmma_256x256")


def drawn(seed, count=300):
    """Yield random sizes: tiles, steps, workers."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        workers, steps = int(rng.integers(1, 140)), int(rng.integers(1, 400))
        yield int(rng.integers(1, 3 * workers + 1)), steps, workers


def plans(seed):
    """Yield tiles, steps and each way to cut them."""
    for tiles, steps, workers in drawn(seed, 40):
        yield tiles, steps, stream_k(tiles, steps, workers, AREA)
        yield tiles, steps, split_k(tiles, steps, 2 + tiles % 60, AREA)
        yield tiles, steps, whole_tiles(tiles, steps, AREA)


@pytest.mark.parametrize("seed", range(2))
def test_every_step_is_in_one_piece(seed):
    """The pieces of a tile are its planes, in the order of K; of tiles that are not cut there is one, and no plane."""
    for tiles, steps, plan in plans(seed):
        if plan is None:
            continue
        found = {}
        for item in range(plan.items):
            assert plan.pieces(item), "an item without work"
            for piece in plan.pieces(item):
                found.setdefault(piece.tile, []).append(piece)
        assert sorted(found) == list(range(tiles))
        for tile, pieces in found.items():
            pieces.sort(key=lambda piece: piece.plane)
            assert (pieces[0].first, pieces[-1].stop) == (0, steps)
            assert all(one.stop == other.first for one, other in pairwise(pieces))
            planes = [-1] if tile < plan.whole else [*range(plan.planes_of(tile - plan.whole))]
            assert [piece.plane for piece in pieces] == planes, (plan, tile)
        kept = sum(len(pieces) for tile, pieces in found.items() if tile >= plan.whole)
        assert plan.num_partials == kept * AREA[0] * AREA[1]
        assert plan.planes == max([1, *(len(pieces) for pieces in found.values())])
        assert plan.most_pieces == max(len(plan.pieces(item)) for item in range(plan.items))


@pytest.mark.parametrize("seed", range(4))
def test_shares_are_equal(seed):
    """No cluster has more to do than its part, and the time in which sums are kept."""
    found = 0
    for tiles, steps, workers in drawn(seed):
        plan = stream_k(tiles, steps, workers, AREA)
        if plan is None:
            continue
        found += 1
        assert plan.whole % workers == 0
        assert plan.items - plan.whole <= workers
        even = plan.shared * (steps + KEEP_STEPS) / workers
        assert plan.share <= plan.depth < even + 1
    assert found > 100


def test_a_share_begins_where_its_last_tail_does():
    """So all of them read the first steps of tails at the same time."""
    plan = stream_k(36, 256, 66, AREA)
    shares = [plan.pieces(item) for item in range(plan.shared * plan.parts, plan.items)]
    assert len({pieces[0].first for pieces in shares}) == 1
    assert {pieces[0].first for pieces in shares} == {plan.depth * plan.parts}
    assert all([piece.tile for piece in pieces] == sorted({p.tile for p in pieces}, reverse=True) for pieces in shares)


def test_nothing_is_shared_out_in_vain():
    assert stream_k(132, 256, 66, AREA) is None, "whole waves"
    assert stream_k(65, 2, 66, AREA) is None, "nothing to cut"
    assert stream_k(27, 2**26, 66, AREA) is None, "more steps than are counted"
    assert make_plan(Shape(256, 256, 64, inputs="bf16"), LARGE, STREAM).stream.shared == 0


def test_memory_for_partial_sums_does_not_grow_with_the_result():
    shape = Shape(4096, 11008, 8192, transpose_a=True, inputs="bf16")
    made = make_plan(shape, LARGE, STREAM, 132)
    assert made.is_stream_k
    assert made.stream.whole == 660
    assert made.stream.partial_bytes <= 66 * 3 * 256 * 256 * 4
    assert made.launch.grid == (132, 1, 1)


def test_the_cache_serves_clusters_that_read_the_same_k():
    """The table of docs/benchmarks/gpu-predicted.md: megabytes of factors, of GPT-2's up projection."""
    sizes, plan = Sizes(768, 3072, *AREA), stream_k(36, 256, 66, AREA)
    least = 2 * 16384 * (768 + 3072)
    ours = bytes_from_memory(sizes, plan, 66, H100)
    front_to_back = bytes_from_memory(sizes, plan, 66, H100, forwards=True)
    plain = bytes_from_memory(sizes, plain_stream_k(36, 256, 66, AREA), 66, H100, forwards=True)
    assert least <= ours < 1.15 * least
    assert front_to_back > 1.5 * ours
    assert plain > 2.5 * ours


@pytest.mark.parametrize("name", ["GPT-2 qkv", "GPT-2 projection", "GPT-2 up", "GPT-2 down", "LLaMA 1B gate"])
def test_the_planner_shares_out_k_where_that_is_predicted_to_pay(name):
    shape = dict(gradients())[name]
    tile, way = choose(shape, "sm_90a", 132, read_table())
    assert way == STREAM
    split = min(
        predict(shape, other, splits).seconds
        for other in TILES
        if other.kernel == "gemm_wgmma" and other.takes(shape, "sm_90a")
        for splits in split_choices(shape)
    )
    assert predict(shape, tile, way).seconds < 0.95 * split


@pytest.mark.parametrize("name", ["GPT-2 head", "LLaMA 7B projection", "BERT-large projection", "GPT-2 medium up"])
def test_and_not_where_it_does_not(name):
    assert choose(dict(gradients())[name], "sm_90a", 132, read_table())[1] != STREAM


def test_products_that_have_enough_tiles_stay_whole():
    assert all(choose(s, "sm_90a", 132, read_table())[1] == 1 for name, s in shapes() if "dw" not in name)


def test_only_kernels_that_can_share_k_out_are_asked_to():
    shape = Shape(768, 768, 16384, transpose_a=True, inputs="bf16")
    asked = {tile.kernel for tile in TILES if STREAM in ways_to_cut(shape, tile, 132)}
    assert asked == {"gemm_wgmma"}
