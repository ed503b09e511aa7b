"""The rungs of the ladder compiled: no spills, no fences, and the code that their predictions count."""

import pytest

from mpitrain.kernels.predicted.ladder import CODE
from tests.kernels import tools
from tests.kernels.compiled import FENCES, by_both, check_resources
from tests.kernels.machine_code import build, check_registers_are_shared_out
from tests.kernels.products import ladder

pytestmark = pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU")


@pytest.mark.parametrize("name", ladder.RUNGS)
def test_rungs(name):
    check_resources(build(f"{name}.cu", ladder.ARCH.get(name, "75"), {}).said)


# One turn of the main loop: what multiplies, and what brings the tiles.
RUNG_TURNS = {
    "gemm_05_2d_tile": ("FFMA", "LDG", {"FFMA": 8 * 8 * 8, "LDG": 8, "STS": 8}),
    "gemm_08_tensor_cores": ("HMMA", "LDG.E.128", {"HMMA": 32, "LDG.E.128": 4, "STS.128": 4}),
}


@by_both
@pytest.mark.parametrize("name", RUNG_TURNS)
def test_rungs_bring_tiles_without_a_loop(name, compiler):
    core, fetch, wanted = RUNG_TURNS[name]
    built = build(f"{name}.cu", ladder.ARCH.get(name, "80"), {}, compiler)
    turn = built.code.turn(core, fetch)
    assert {name: sum(n for full, n in turn.items() if full.startswith(name)) for name in wanted} == wanted
    assert built.registers <= 128, "two blocks of 256 threads share 64 K registers"


@pytest.mark.parametrize("name", [name for name, rung in ladder.RUNGS.items() if rung.number in CODE])
def test_predictions_know_the_code_of_rungs(name):
    rung = ladder.RUNGS[name]
    built, core = build(f"{name}.cu", "90a", {}), "FFMA" if rung.inputs == "fp32" else "HMMA"
    turn = built.code.turn(core, "LDG.E.128" if rung.number > 5 else "LDG")
    assert built.registers == pytest.approx(CODE[rung.number].registers, rel=0.1)
    assert sum(turn.values()) == pytest.approx(CODE[rung.number].instructions, rel=0.1)


@by_both
@pytest.mark.parametrize("name", [name for name, rung in ladder.RUNGS.items() if rung.barriers])
def test_rungs_have_no_fences(name, compiler):
    code = build(f"{name}.cu", "90a", {}, compiler).code
    assert code.count("HGMMA") == (8 if name == "gemm_18_ping_pong" else 4), "of 64 rows each"
    of_cluster_barriers = 2 if ladder.RUNGS[name].cluster > 1 else 0
    assert [code.counts[fence] for fence in FENCES] == [of_cluster_barriers] * 2
    if ladder.RUNGS[name].number >= 13:
        check_registers_are_shared_out(code, 40, 232)
