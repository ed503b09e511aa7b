"""Models divided over any axes: sums, gradients and their norm of one rank in float64."""

import itertools
import math

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.comm.axes import say_sizes
from mpitrain.comm.mesh import Mesh
from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.errors import UserError
from mpitrain.head_loss import split_head
from mpitrain.losses import DividedLoss, SoftmaxCrossEntropy
from mpitrain.model_table import ModelTable
from mpitrain.parallel.data import DataParallel
from mpitrain.parallel.divide import check, divide
from mpitrain.parallel.division import Division
from mpitrain.parallel.roles import Roles

pytestmark = pytest.mark.mpi

CODES = 5, 0, 9, 0  # of the columns of a table; 0 for a column of numbers
TABLES = "size=3,bottom=6+5,top=8,categories=1100+0+9+0+1500"
MODELS = {  # model, shape of a sample, number of outputs, axes that divide it
    "mlp": ("mlp:widths=13+24+10", (7,), 5, ("tensor",)),
    "categories": (f"mlp:widths=8+6,categories={'+'.join(map(str, CODES))}", (len(CODES),), 5, ("tensor",)),
    "tables": (f"dlrm:{TABLES}", (5,), 5, ("tensor", "expert")),
    "tables, rows": (f"dlrm:{TABLES}", (5,), 5, ("expert",)),  # with gradients as rows
    "gpt": ("gpt:depth=2,width=24,heads=6,dropout=0.1,end_of_text=3", (13,), 11, ("tensor", "context")),
    "llama": ("llama:depth=2,width=32,heads=8,kv_heads=4", (13,), 11, ("tensor", "context")),
    "experts": (
        "gpt:depth=2,width=24,heads=6,dropout=0.1,experts=5,every=2",
        (13,),
        11,
        ("tensor", "context", "expert"),
    ),
    "experts, swiglu": ("llama:depth=1,width=8,heads=2,hidden=5,experts=8,top_k=1", (9,), 7, ("context", "expert")),
    "gpt, sequence": ("gpt:depth=2,width=24,heads=6,dropout=0.1", (13,), 11, ("tensor", "context")),
    "experts, sequence": ("gpt:depth=2,width=24,heads=6,experts=5", (13,), 11, ("tensor", "expert")),
    "unet": ("unet:depth=2,width=4", (12, 10, 3), 4, ("space", "tensor")),
    "lenet": ("lenet", (14, 12, 1), 5, ("space", "tensor")),
    "resnet8": ("resnet8", (9, 8, 3), 5, ("space", "tensor")),
    "inception": ("googlenet:width=0.06,small_images=true,dropout=0.1", (9, 8, 3), 5, ("space", "tensor")),
    "dense blocks": ("densenet:blocks=2+2,growth=3,small_images=true", (9, 8, 3), 5, ("space", "tensor")),
    "mobilenet": ("mobilenet_v1:width=0.1,small_images=true", (9, 8, 3), 5, ("space", "tensor")),
}
SAMPLES = 11
RING = {"llama": "ring"}
DEEP = 1e-9  # many batch norms of few pixels enlarge roundings


def meshes(size, axes):
    """Return all meshes of ``size`` ranks with one, two or three axes."""
    found = []
    for count in (1, 2, 3):
        for some in itertools.combinations(("data", *axes), count):
            sizes = itertools.product([n for n in range(2, size + 1) if size % n == 0], repeat=count)
            found += [{"data": 1} | dict(zip(some, one, strict=True)) for one in sizes if math.prod(one) == size]
    return [say_sizes(one) for one in found] or ["data=1"]


def batch(model, shape, num_outputs, seed):
    """Return samples and targets: numbers, or tokens where samples are rows."""
    rng = np.random.default_rng(seed)
    print("seed", seed)
    if len(shape) == 1 and shape[0] > 8:
        tokens = rng.integers(0, num_outputs, (SAMPLES, shape[0] + 1))
        return tokens[:, :-1], tokens[:, 1:]
    if "categories" in model:
        sizes = map(int, model.rpartition("=")[2].split("+"))
        columns = [rng.zipf(1.5, SAMPLES) % size if size else rng.standard_normal(SAMPLES) for size in sizes]
        return np.stack(columns, axis=1), rng.integers(0, num_outputs, SAMPLES)
    pixels = shape[:-1] if model.startswith("unet") else ()
    return rng.standard_normal((SAMPLES, *shape)), rng.integers(0, num_outputs, (SAMPLES, *pixels))


def run(division, table, x, y, group, roles=None, first=0, *, rows=False):
    """Return (totals, norm, {name: (shard, gradient)}) of a step in float64; ``rows``: gradients of tables are rows."""
    loss, layers = SoftmaxCrossEntropy(0.1), division.model
    if not division.gives_whole_outputs:
        loss = DividedLoss(loss, division.targets)
    for _, p in layers.named_parameters():
        p.by_rows = rows and p.full_shape[0] >= 1024
    arena = Arena(layers.named_parameters(), layers.named_states(), seed=3, dtype=np.float64, whole=table)
    parallel = DataParallel(layers, arena, group, roles=roles, shard="none", all_reduce="native")
    body, loss = split_head(layers, loss)
    ctx = Context(dtype=np.float64, seed=5)
    ctx.first = first
    with parallel.step() as step:
        step.add(loss.forward(body.forward(x, ctx), y, ctx))
        body.backward(loss.backward(ctx), ctx)
    found = {p.name: (p.shard, p.grad.copy()) for p in arena.parameters}
    for p, numbers, gradients in parallel._rows._met if rows else ():
        found[p.name] = p.shard, np.zeros(p.shape)
        found[p.name][1][numbers] = gradients
    norm, totals = parallel.norm(), step.totals
    parallel.free()
    return totals, norm, found


@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_that_of_one_rank(world, alone, name):
    text, shape, num_outputs, axes = MODELS[name]
    x, y = batch(text, shape, num_outputs, 7)
    limit = DEEP if name in ("inception", "mobilenet") else 1e-12
    made = models.build(text, shape, num_outputs)
    table = ModelTable.of(made)
    totals, norm, wanted = run(Division(made), table, x, y, alone.group("data"))
    for text_of_mesh in meshes(world.size, axes):
        mesh = Mesh(world, text_of_mesh)
        roles, model = Roles(mesh), models.build(text, shape, num_outputs)
        options = {"tensor": {"sequence": name.endswith("sequence")}, "context": {"method": RING.get(name, "auto")}}
        try:
            check(model, mesh.sizes, shape, options)
        except UserError:  # heads or experts do not divide
            continue
        mine = share(SAMPLES, roles.samples.rank, roles.samples.size)
        division = divide(model, mesh, shape, options)
        found = run(division, table, x[mine], y[mine], roles.sums, roles, mine.start, rows=name.endswith("rows"))
        np.testing.assert_allclose(found[0], totals, rtol=limit, err_msg=text_of_mesh)
        assert found[1] == pytest.approx(norm, rel=limit), text_of_mesh
        assert found[2].keys() == wanted.keys()
        for tensor, (shard, gradient) in found[2].items():
            expected = wanted[tensor][1] if shard is None else shard.take(wanted[tensor][1])
            error = np.abs(gradient - expected).max(initial=0) / np.abs(wanted[tensor][1]).max()
            assert error < limit, (text_of_mesh, tensor, error)
