"""Images of files: decoding shared by the ranks, and equal losses on any number of them."""

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Run
from mpitrain.data import lazy, open_dataset
from mpitrain.data.images import decode as decoding
from mpitrain.data.mapped import is_mapped
from mpitrain.data.media import store
from mpitrain.errors import AgreedError
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.prepare import prepare
from mpitrain.training.setup import open_setup, resolved

pytestmark = pytest.mark.mpi
images = pytest.importorskip("PIL.Image")


@pytest.fixture
def pets(world, directory, monkeypatch):
    """22 images of two classes, in units of two, in a cache that all ranks share."""
    monkeypatch.setenv("MPITRAIN_IMAGES", str(directory / "cache"))
    monkeypatch.setattr(store, "MOST_DECODED", 2 * 6 * 6 * 3)
    if world.rank == 0:
        rng = np.random.default_rng(8)
        for number in range(22):
            path = directory / "pets" / ["cat", "dog"][number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 150, (6, 6, 3)) + 100 * (np.arange(3) == number % 2)
            images.fromarray(pixels.astype(np.uint8)).save(path)
    world.all_gather(0)  # they are there on all ranks from here on
    return directory / "pets"


def test_ranks_share_the_decoding(world, pets, directory, monkeypatch):
    done = []
    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda file, shape: done.append(file) or decode(file, shape))
    source = f"images:{pets}"
    prepare(world, source)
    counts = world.all_gather(len(done))
    assert sum(counts) == 22
    assert max(counts) - min(counts) <= 2
    data = open_dataset(source)
    everyone = [file for files in world.all_gather(done) for file in files]
    assert len(everyone) == len(set(everyone)) == 22  # opening decodes nothing again
    found = np.concatenate([data.train.x, data.test.x])
    assert sorted(image.tobytes() for image in found) == sorted(images.open(file).tobytes() for file in everyone)
    assert len(list((directory / "cache").iterdir())) == 1


def test_long_work_tells_how_far_it_is(world, pets, monkeypatch, capfd):
    monkeypatch.setattr("mpitrain.training.prepare.PATIENCE", -1.0)
    prepare(world, f"images:{pets}")
    said = capfd.readouterr().err
    assert ("mpitrain: the data are prepared, once: " in said) == (world.rank == 0 and world.size < 11)


def train(config, world):
    setup = open_setup(config, world)
    loop = make_loop(resolved(config, setup), setup, world, Silent(None, 1))
    loop.train()
    loop.run.data_parallel.free()
    return loop


@pytest.mark.parametrize("copied", [0, 64 << 20])
def test_losses_on_any_number_of_ranks(world, alone, pets, monkeypatch, copied):
    monkeypatch.setattr(lazy, "COPIED", copied)
    config = Config(
        data=Data(source=f"images:{pets}", batch_size=5, validation=0.2, crop=1, flip=True),
        model=Model(name="mlp:widths=8"),
        optimizer=Optimizer(name="adam", lr=0.01),
        run=Run(epochs=3),
    )
    loops = [train(config, group) for group in (alone, world)]
    scores = [[[*r.train.values(), *r.test.values()] for r in loop.run.results.evaluations] for loop in loops]
    np.testing.assert_allclose(*scores, rtol=2e-4, atol=1e-4)
    assert is_mapped(loops[1].run.setup.dataset.train.x) == (copied == 0)
    assert scores[0][-1][0] < scores[0][0][0]


def test_a_bad_file_ends_all_ranks(world, pets):
    if world.rank == 0:
        (pets / "dog" / "21.png").write_text("")
    world.all_gather(0)
    config = Config(data=Data(source=f"images:{pets}"), model=Model(name="mlp:widths=8"), run=Run(epochs=1))
    with pytest.raises(AgreedError, match=r"1 of 22 files cannot be decoded, .*21.png"):
        open_setup(config, world)
