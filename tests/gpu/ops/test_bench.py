"""``mpitrain kernel bench`` on the device that stands for a GPU: all of it but the speeds."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from mpitrain.cli.kernel.bench import BenchOptions, measure
from mpitrain.kernels.bench import cases, runs
from mpitrain.kernels.bench.contenders import Contenders
from mpitrain.kernels.bench.runs import Runs
from mpitrain.kernels.bench.stopwatch import WARM_UP, Stopwatch
from mpitrain.kernels.bench.tune import Tuner
from mpitrain.kernels.bench.tune_convolutions import ConvolutionTuner, resnet50
from mpitrain.kernels.convolution import Convolution
from mpitrain.kernels.convolution_plan import convolution_key
from mpitrain.kernels.gemm import TILES, Shape
from mpitrain.kernels.gemm_plan import STREAM, make_plan
from mpitrain.kernels.ladder import RUNGS
from mpitrain.kernels.matrices import Matrices
from mpitrain.kernels.planner import choose, find_table, read_table, shape_key, write_table
from tests.gpu import fake_cublas
from tests.gpu.device import ShimDevice

FLUSH = 1 << 12
ROOT = Path(__file__).parents[3]


@pytest.fixture
def cublas(monkeypatch):
    return fake_cublas.open_cublas(monkeypatch)


@pytest.mark.parametrize("inputs", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("layout", [(False, False), (False, True), (True, False), (True, True)])
def test_cublas_is_asked_for_the_same_product(cublas, inputs, batch, layout):
    """Row-major factors of whatever layout, in the words of a library that counts columns first."""
    rng = np.random.default_rng(0)
    m, n, k = 5, 7, 11
    a, b = rng.standard_normal((batch, m, k)), rng.standard_normal((batch, k, n))
    stored = [x.swapaxes(1, 2) if t else x for x, t in zip((a, b), layout)]
    padded = [np.pad(np.ascontiguousarray(x, np.float32), ((0, 0), (0, 0), (0, 3))) for x in stored]
    if inputs == "bf16":
        padded = [(x.view(np.uint32) >> 16).astype(np.uint16) for x in padded]
    out = np.zeros((batch, m, n), np.float32)
    lies = [Matrices(x.ctypes.data, *y.shape[1:], x.shape[2], batch, x[0].size) for x, y in zip(padded, stored)]
    to = Matrices(out.ctypes.data, m, n, n, batch, m * n)
    layout = {"transpose_a": layout[0], "transpose_b": layout[1]}
    cublas.multiply((m, n, k, batch), *lies, to, **layout, inputs=inputs, outputs="fp32")
    assert fake_cublas.COMPUTES[-1] == (77 if inputs == "tf32" else 68)
    np.testing.assert_allclose(out, a @ b, rtol=0.05 if inputs == "bf16" else 1e-5, atol=0.05)


def test_contenders_take_turns_and_meet_a_cold_cache(device):
    order = []
    stopwatch = Stopwatch(device, FLUSH)
    with device.counted() as counts:
        found = stopwatch.seconds([lambda: order.append("a"), lambda: order.append("b")], 2)
    assert found.shape == (2, 2)
    assert (found > 0).all()
    assert "".join(order) == "ab" + "abbaabbaab", "each once, watched, and then in turns"
    assert counts["calls"] == 2 * (WARM_UP + 2), "the cache is written over before each"


@pytest.mark.slow
def test_our_rows_are_right_and_a_wrong_one_is_found(cublas):
    device = ShimDevice()
    contenders = Contenders(device, cublas)
    bench = Runs(device, contenders, Stopwatch(device, FLUSH), 1)
    layer = cases.Linear("small", 40, 24, 20)
    rows = list(bench.training(read_table(), [layer], ["fp32", "bf16"]))
    assert [(row.precision, row.layout) for row in rows] == [
        (precision, layout) for precision in ("fp32", "bf16") for layout in ("NN", "NT", "TN")
    ]
    assert all(row.right for row in rows)
    assert all(row.share == pytest.approx(row.peer_seconds / row.seconds) for row in rows)
    shape = Shape(40, 20, 24)
    assert contenders.difference(shape, lambda: None) == 1.0
    made = make_plan(dataclasses.replace(shape, k=16), *choose(shape, "sm_80", 4, read_table()))
    shorter = contenders.ours(dataclasses.replace(shape, k=16), made)
    assert contenders.difference(shape, shorter) > runs.MOST_DIFFERENCE


@pytest.mark.slow
@pytest.mark.timeout(600)  # it builds every rung and every tile of Hopper
def test_the_ladder_from_the_first_rung_to_the_last(cublas):
    device = ShimDevice("sm_90a")
    bench = Runs(device, Contenders(device, cublas), Stopwatch(device, FLUSH), 1)
    rows = [row for row in bench.ladder(136) if row.precision != "tf32"]
    names = [row.name for row in rows]
    assert [name[:2] for name in names if name[0].isdigit()] == [f"{i:02}" for i in range(1, len(RUNGS) + 1)]
    assert [name for name in names if not name[0].isdigit()] == ["gemm_simt", "gemm_mma", "gemm_wgmma"]
    assert [row.name for row in rows if not row.right] == []


def test_a_measured_table_is_what_runs_go_by(monkeypatch, tmp_path, cublas):
    monkeypatch.setenv("MPITRAIN_KERNELS", str(tmp_path))
    device, shape = ShimDevice(), Shape(70, 40, 600)
    tuner = Tuner(device, Contenders(device, cublas), Stopwatch(device, FLUSH), 1)
    tuner.stopwatch.medians = lambda contenders, repeat: [1e-5 * (9 - i) for i in range(len(contenders))]  # the last
    table = tuner.table([shape], read_table(), size=64)
    assert find_table("sm_80") == read_table()
    write_table(table, tmp_path / "table-sm_80.json")
    read_table.cache_clear()
    assert find_table("sm_80").measured
    assert find_table("sm_90a").measured is False
    name, splits = table.shapes[shape_key(shape, "sm_80")]
    assert (name, splits) == ("simt_32x32", 2)
    tile, chosen = choose(shape, "sm_80", 4, find_table("sm_80"))
    assert (tile.name, chosen) == (name, splits)
    assert set(table.shares) == set(read_table().shares)
    assert 0 < table.shares["simt_128x128"] != read_table().shares["simt_128x128"]
    assert table.shares["wgmma_128x256"] == read_table().shares["wgmma_128x256"], "nothing new of what cannot run here"


def test_stream_k_is_measured_beside_other_cuts(cublas):
    device, shape = ShimDevice("sm_90a", 132), Shape(768, 3072, 16384, transpose_a=True, inputs="bf16")
    tuner = Tuner(device, Contenders(device, cublas), Stopwatch(device, FLUSH), 1)
    large = next(tile for tile in TILES if tile.name == "wgmma_256x256")
    assert tuner._splits(shape, large) == [1, 2, 4, STREAM]
    assert tuner._splits(dataclasses.replace(shape, m=256, n=256 * 132), large) == [1, 2], "whole waves"
    made = make_plan(shape, large, STREAM, device.num_processors)
    assert runs.describe(made, shape) == "gemm_wgmma 256 x 256, stream-K"
    found = dataclasses.replace(read_table(), shapes={shape_key(shape, device.arch): (large.name, STREAM)})
    assert choose(shape, device.arch, 132, found) == (large, STREAM)


def test_the_fastest_way_of_a_convolution_is_found(cublas):
    device, conv = ShimDevice(), Convolution("dw", 1, (20, 21), 8, 8, (3, 3), (1, 1), (1, 1), inputs="bf16")
    tuner = ConvolutionTuner(device, Contenders(device, cublas), Stopwatch(device, FLUSH), 1)
    tuner.stopwatch.medians = lambda contenders, repeat: [run() or 1e-5 * (9 - i) for i, run in enumerate(contenders)]
    ways = tuner.ways(conv)
    assert {way.tile.name for way in ways} == {f"conv2d_mma_{size}" for size in ("128x128", "128x64", "64x64")}
    assert tuner.shapes([conv]) == {convolution_key(conv, "sm_80"): (ways[-1].tile.name, ways[-1].splits)}
    assert device.launches["conv2d_mma"] == len(ways)


def test_convolutions_to_measure():
    for arch, types in (("sm_75", 1), ("sm_80", 3), ("sm_90a", 3)):
        assert len(resnet50(arch, [32])) == 11 * 3 * types
    assert {conv.kernel for conv in resnet50("sm_80")} == {(7, 7), (3, 3), (1, 1)}


@pytest.mark.slow
def test_the_command(tmp_path, capsys, cublas):
    products = cases.Products({"fp32": (48,)}, (cases.Linear("small", 40, 24, 20),))
    options = BenchOptions(
        parts=("table", "squares", "training"),
        repeat=1,
        size=64,
        table=tmp_path / "table.json",
        json=tmp_path / "rows.json",
    )
    conv = Convolution("dw", 1, (6, 5), 4, 8, (3, 3), (1, 1), (1, 1))
    device = ShimDevice("sm_75")
    assert measure(options, device, cublas, FLUSH, lambda kernels, arch: None, products, [conv]) == 0
    said = capsys.readouterr().out
    assert "fp32 NN square (gemm_simt" in said
    assert "x cuBLAS, geometric mean" in said
    found = json.loads((tmp_path / "rows.json").read_text())
    assert [len(found[part]) for part in ("squares", "training")] == [1, 3]
    assert found["gpu"]["cublas"] == "12.9.3"
    table = read_table(tmp_path / "table.json")
    assert table.measured
    assert table.shapes[convolution_key(conv, "sm_75")][0].startswith("conv2d_simt")
    check_pages(tmp_path, found)


def check_pages(folder, found):
    """Check the pages that scripts/bench gpu writes from these rows, twice over."""
    text = (ROOT / "docs" / "kernel-ladder.md").read_text()
    (folder / "kernel-ladder.md").write_text(text)
    found["ladder"] = found["training"]
    found["steps"] = [{"name": "mlp", "ours_us": 2.0, "graph_us": 1.0, "peer": "PyTorch", "peer_us": 3.0}]
    spec = importlib.util.spec_from_file_location("gpu_report", ROOT / "scripts" / "benchmarks" / "gpu_report.py")
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    page = report.page(found)
    assert "| fp32 NN small, forward | 40 20 24 | gemm_simt" in page
    assert "| mlp | 2 | 1 | PyTorch | 3 | 1.50 | 3.00 |" in page
    for _ in range(2):
        report.put_ladder(folder / "kernel-ladder.md", found)
    written = (folder / "kernel-ladder.md").read_text()
    before, after = (part for part in text.split(text.partition(report.BEGIN)[2].partition(report.END)[0]))
    assert written.startswith(before)
    assert written.endswith(after)
    assert written.count("| small, forward |") == 1
