"""Training with the rows of images over ranks, together with other axes: losses, weights and scores of one rank."""

import numpy as np
import pytest
import safetensors.numpy

from mpitrain import Trainer
from mpitrain.errors import AgreedError
from mpitrain.layers import BatchNorm2d, Conv2d, Dropout, Flatten, GlobalAvgPool, Linear, MaxPool2d, ReLU, Sequential
from tests.trainings import Losses

pytestmark = pytest.mark.mpi

COMMON = {"steps": 6, "batch_size": 22, "threads": 1, "progress": "none", "shard": "none"}


UNET, SHAPES = "unet:depth=2,width=4", "shapes:samples=60,size=13x10,seed=4"


def dropping(input_shape, num_outputs):
    """Dropout on rows and on samples."""
    return Sequential(
        *(Conv2d(1, 4, 3, padding=1), Dropout(0.2), ReLU(), MaxPool2d(2), Flatten(), Dropout(0.3)),
        *(Linear(64, 24), ReLU(), Dropout(0.5), Linear(24, num_outputs)),
    )


def pooling(input_shape, num_outputs):
    return Sequential(
        *(
            Conv2d(1, 6, 3, padding=1, bias=False),
            BatchNorm2d(6),
            ReLU(),
            Conv2d(6, 6, 3, 2, bias=False),
            BatchNorm2d(6),
            ReLU(),
        ),
        *(GlobalAvgPool(), Linear(6, 12), ReLU(), Linear(12, num_outputs)),
    )


CASES = {
    "a cut behind the turn": (dropping, {"accumulate": 2, "stages": "7"}, ("pipe", "space")),
    "a cut behind the pool": (pooling, {"accumulate": 3, "stages": "8"}, ("pipe", "space")),
    "a cut between rows": (pooling, {"accumulate": 2, "stages": "3", "pipeline": "zb_h1"}, ("pipe", "space")),
    "rows and samples": (dropping, {"accumulate": 2}, ("data", "space")),
    "many rows": (pooling, {"optimizer": "adam"}, ("space",)),
    "recompute": (pooling, {"recompute": "stage"}, ("space",)),
    "segmentation": (UNET, {"source": SHAPES, "crop": 2, "class_weights": "balanced"}, ("space",)),
    "segmentation in stages": (UNET, {"source": SHAPES, "accumulate": 2}, ("pipe", "space")),
    "segmentation, channels divided": (UNET, {"source": SHAPES, "crop": 2, "flip": True}, ("tensor", "space")),
}


def meshes(size, axes):
    """Return the mesh of ``size`` ranks with 2 on the first axis, if there are several."""
    if len(axes) == 1:
        return [f"{axes[0]}={size}"]
    return [f"{axes[0]}=2,{axes[1]}={size // 2}"] if size % 2 == 0 and size > 2 else []


def train(world, model, path, source="digits", **options):
    losses = Losses()
    trainer = Trainer(model, source, hooks=[losses], world=world, **COMMON | options)
    result = trainer.fit()
    trainer.save(path)
    world.barrier()
    return losses.values, safetensors.numpy.load_file(path), result, trainer


@pytest.mark.parametrize("name", CASES)
def test_one_rank_and_rows_are_alike(world, alone, directory, name):
    model, options, axes = CASES[name]
    for mesh in meshes(world.size, axes):
        of_one = {key: value for key, value in options.items() if key not in ("stages", "pipeline")}
        losses, weights, wanted, one = train(alone, model, directory / f"one{world.rank}.safetensors", **of_one)
        found = train(world, model, directory / "rows.safetensors", **options, mesh=mesh)
        np.testing.assert_allclose(found[0], losses, rtol=1e-5, err_msg=mesh)
        assert list(found[1]) == list(weights)
        for tensor, values in weights.items():
            np.testing.assert_allclose(found[1][tensor], values, rtol=1e-4, atol=1e-5, err_msg=f"{mesh} {tensor}")
        assert found[2].test == pytest.approx(wanted.test, rel=1e-4)
        x = one.setup.dataset.test.x[:7]
        np.testing.assert_allclose(found[3].outputs(x), one.outputs(x), rtol=1e-3, atol=1e-4, err_msg=mesh)


def test_what_has_no_rows(world):
    if world.size == 1:
        pytest.skip("one rank has all rows")
    with pytest.raises(AgreedError, match=f"--mesh space={world.size} divides the rows of images between"):
        Trainer("mlp", "digits", world=world, progress="none", mesh=f"space={world.size}")
