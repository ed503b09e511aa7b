"""Attention on Hopper, on the CPU: forward and backward against float64, over ragged sizes, masks and layouts."""

import functools
import subprocess

import pytest

from mpitrain.kernels import attention_wgmma as tiles
from mpitrain.kernels.kernel import path_of
from mpitrain.kernels.on_cpu import SHIM
from mpitrain.kernels.plan import shared_bytes_limit
from tests.gpu.device import ShimDevice
from tests.kernels import card, cpu
from tests.kernels.attention import hopper
from tests.kernels.attention.cases import Case

pytestmark = cpu.needs_gxx

# Less than a tile and a row more; tiles that some consumers pass over; a query that sees no key; all blocks persistent.
CASES = {
    "one of each": Case(queries=1, keys=1),
    "less than a tile": Case(2, 1, 5, 7, apart=16),
    "causal, ragged": Case(1, 2, 200, 200, causal=True),
    "more keys than queries": Case(1, 1, 66, 290, causal=True),
    "more queries than keys": Case(1, 1, 300, 70, causal=True, spread=3),
    "no key seen": Case(3, 1, 70, 140, lengths=(0, 140, 3)),
    "packed sequences": Case(2, 1, 330, 330, causal=True, segments=((1, 127, 2, 130, 70), (200, 130))),
    "a block of longer rows": Case(1, 2, 100, 150, causal=True, query=150, key=20, after=40, lengths=(160,)),
    "keys behind all queries": Case(1, 1, 70, 70, causal=True, query=0, key=200),
    "heads share keys": Case(1, 4, 130, 140, size=80, group=2, causal=True),
    "heads of 128": Case(1, 2, 150, 260, size=128, causal=True, apart=24),
    "a scale": Case(1, 1, 40, 130, size=128, scale=0.7),
}
MORE = {  # of sizes of heads that are built for these alone
    "heads of 32": Case(1, 3, 200, 150, size=32, causal=True, group=3),
    "heads of 96": Case(2, 1, 140, 270, size=96, segments=None, lengths=(200, 0)),
    "heads of 96, packed sequences": Case(1, 1, 280, 280, size=96, segments=((140, 1, 139),)),
    "heads of 32, long": Case(1, 1, 700, 900, size=32, causal=True),
}
EACH = [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]


@pytest.mark.parametrize("name", EACH)
def test_forward(name):
    hopper.check_forward(hopper.forward((CASES | MORE)[name], seed=len(name)))


@pytest.mark.parametrize("name", EACH)
def test_backward(name):
    hopper.backward((CASES | MORE)[name], seed=len(name)).check("dq", "dk", "dv", tolerance=hopper.CLOSE)


@pytest.mark.parametrize("run", [hopper.forward, hopper.backward])
def test_the_same_bits_in_any_order_of_threads(run):
    """Copies land and warps run at other moments; nothing is added up in the order of their arrival."""
    found = []
    for seed in range(3):
        inputs = run(Case(1, 2, 200, 200, causal=True), 5)
        names = ("y",) if run is hopper.forward else ("dq", "dk", "dv")
        tile, own = (tiles.forward(64), "q") if run is hopper.forward else (tiles.backward_keys(64), "kv")
        hopper.launch(inputs, tile, own, "kv" if run is hopper.forward else ("q", "dy"), seed=seed)
        found.append([inputs.arrays[name].tobytes() for name in names])
    assert found[0] == found[1] == found[2]


def test_contents_of_hidden_keys_do_not_count():
    """Beyond a length, and zeros where a copy hangs over the last token: neither may reach a result."""
    found = []
    for contents in (0, 0x4480):  # 1024 in bf16
        inputs = hopper.Inputs(Case(1, 1, 70, 140, lengths=(100,)), 1, 3)
        for name in "kv":
            inputs.arrays[name][:, :, 100:] = contents
        hopper.launch(inputs, tiles.forward(64), "q", "kv")
        found.append(inputs.arrays["y"].tobytes())
    assert found[0] == found[1]


@pytest.mark.shim
def test_records_and_maps_have_the_addresses_of_the_device(monkeypatch):
    """As with --gpu: arrays are copied, and every address that a launch is given is one of a copy."""
    monkeypatch.setattr(cpu, "elsewhere", functools.partial(card.build, ShimDevice("sm_90a")))
    case = Case(2, 2, 40, 70, causal=True, lengths=(70, 30))
    hopper.check_forward(hopper.forward(case))
    hopper.backward(case).check("dq", "dk", "dv", tolerance=hopper.CLOSE)


@pytest.mark.parametrize("size", tiles.HEADS)
@pytest.mark.parametrize("make", [tiles.forward, tiles.backward_keys, tiles.backward_queries])
def test_plans(make, size):
    tile = make(size)
    assert tile.shared_bytes <= shared_bytes_limit(90)
    assert tile.kernel.fits("sm_90a")
    assert not tile.kernel.fits("sm_100a")
    assert tile.launch(1024, 192, 132).grid == (132, 1, 1)
    assert tile.launch(1, 3, 132).grid == (3, 1, 1), "no more blocks than tiles"
    assert tile.counts(1 << 20, 1024)
    assert not tile.counts(1 << 20, 1 << 20)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("make", [tiles.forward, tiles.backward_keys, tiles.backward_queries])
def test_plans_know_the_shared_memory_of_the_kernels(make, size):
    tile = make(size)
    text = f'#include "{path_of(tile.file)}"\nstatic_assert(SHARED_BYTES == {tile.shared_bytes});'
    text += f"static_assert(THREADS == {tile.threads} && STAGES == {tile.stages} && 64 * CONSUMERS == {tile.own});"
    command = [cpu.COMPILER, "-std=c++17", "-fsyntax-only", "-w", "-include", SHIM / "cuda_on_cpu.h"]
    command += [f"-I{cpu.KERNELS}", f"-DHEAD_SIZE={size}", "-x", "c++", "-"]
    done = subprocess.run(command, input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
