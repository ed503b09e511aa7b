import numpy as np
import pytest

from mpitrain.kernels.kernel import sources
from tests.kernels import cpu
from tests.kernels.products import ladder

pytestmark = cpu.needs_gxx
SHAPES = [(1, 1, 1), (128, 128, 32), (129, 127, 33), (5, 300, 0), (200, 3, 17), (64, 36, 8)]


@pytest.mark.parametrize("name", ladder.RUNGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_float64(name, shape):
    assert ladder.run(cpu.build(f"{name}.cu"), name, *shape, seed=1) < 1e-6


@pytest.mark.parametrize("name", [name for name, rung in ladder.RUNGS.items() if rung.barriers])
@pytest.mark.parametrize("shape", [(300, 600, 650), (130, 1030, 264)], ids=str)
def test_several_tiles_and_laps_of_the_ring(name, shape):
    assert ladder.run(cpu.build(f"{name}.cu"), name, *shape, seed=2) < 1e-6


@pytest.mark.parametrize("name", ladder.RUNGS)
@pytest.mark.parametrize("seed", range(3))
def test_random_shapes(name, seed):
    shape = np.random.default_rng(seed).integers(1, [150, 150, 60])
    assert ladder.run(cpu.build(f"{name}.cu"), name, *map(int, shape), seed=seed) < 1e-6


def test_every_rung_is_run():
    assert sources("ladder") == sorted(f"{name}.cu" for name in ladder.RUNGS)
