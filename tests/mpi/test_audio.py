"""Sounds on several ranks: shared features, and the same losses with masks and mixtures."""

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Run
from mpitrain.data import lazy
from mpitrain.data.audio import parts
from mpitrain.data.mapped import is_mapped
from mpitrain.data.media import store
from mpitrain.errors import AgreedError
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.prepare import prepare
from mpitrain.training.setup import open_setup, resolved
from tests.sounds import write_tones

pytestmark = pytest.mark.mpi

OPTIONS = "rate=8000,seconds=0.2,mels=12"
MASKS = "time-mask:width=6,frequency-mask:width=4,mixup:alpha=0.3"


@pytest.fixture
def tones(world, directory, monkeypatch):
    """20 sounds of two classes, in units of two, in a cache that all ranks share."""
    monkeypatch.setenv("MPITRAIN_AUDIO", str(directory / "cache"))
    monkeypatch.setattr(store, "MOST_DECODED", 2 * 18 * 12 * 4)
    if world.rank == 0:
        write_tones(directory / "tones", 10)
    world.all_gather(0)  # they are there on all ranks from here on
    return directory / "tones"


def config_for(tones, model, **options):
    return Config(
        data=Data(source=f"audio:{tones},{OPTIONS}", batch_size=5, **options),
        model=Model(name=model),
        optimizer=Optimizer(name="adam", lr=0.01),
        run=Run(epochs=2),
    )


def train(config, world):
    setup = open_setup(config, world)
    loop = make_loop(resolved(config, setup), setup, world, Silent(None, 1))
    loop.train()
    loop.run.data_parallel.free()
    return loop


def test_ranks_share_the_features(world, tones, monkeypatch):
    done = []
    read = parts.read_waveform
    monkeypatch.setattr(parts, "read_waveform", lambda path: done.append(path) or read(path))
    prepare(world, f"audio:{tones},{OPTIONS}")
    counts = world.all_gather(len(done))
    assert sum(counts) == 20
    assert max(counts) - min(counts) <= 2


@pytest.mark.parametrize("copied", [0, 64 << 20])
def test_losses_on_any_number_of_ranks(world, alone, tones, monkeypatch, copied):
    monkeypatch.setattr(lazy, "COPIED", copied)
    config = config_for(tones, "audio-convnet:channels=4+4,width=8", augment=MASKS)
    loops = [train(config, group) for group in (alone, world)]
    scores = [[[*r.train.values(), *r.test.values()] for r in loop.run.results.evaluations] for loop in loops]
    np.testing.assert_allclose(*scores, rtol=2e-3, atol=2e-3)
    assert is_mapped(loops[1].run.setup.dataset.train.x) == (copied == 0)


def test_a_bad_file_ends_all_ranks(world, tones):
    if world.rank == 0:
        (tones / "low" / "9.wav").write_text("")
    world.all_gather(0)
    with pytest.raises(AgreedError, match=r"1 of 20 files cannot be decoded, .*9.wav"):
        open_setup(config_for(tones, "mlp:widths=8"), world)
