"""Calibrating, measuring and tuning on a few ranks: what comes out is whole, and the same everywhere."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mpitrain.cli.collective.bench import BenchOptions
from mpitrain.cli.collective.bench import run as run_bench
from mpitrain.cli.collective.calibrate import CalibrateOptions, measure
from mpitrain.cli.collective.trace import TraceOptions
from mpitrain.cli.collective.trace import trace as run_trace
from mpitrain.cli.collective.tune import TuneOptions
from mpitrain.cli.collective.tune import run as run_tune
from mpitrain.collectives import find
from mpitrain.collectives.price import Calibration, Curve, Pricer, choose, save_calibration
from mpitrain.comm.measure.bench import bench, tune
from mpitrain.comm.measure.calibrate import calibrate
from mpitrain.comm.measure.compare import compare_tuned
from mpitrain.comm.measure.timing import PairTimer, Samples
from mpitrain.errors import AgreedError

SIZES = (4, 4096, 65536)

pytestmark = pytest.mark.mpi


@pytest.fixture(autouse=True)
def _two_ranks(world):
    if world.size == 1:  # there is nobody to send to; the other runs of scripts/test have 2 to 4 ranks
        pytest.skip("needs two ranks")


def test_a_calibration_is_whole_and_the_same_on_all_ranks(world):
    found = calibrate(world, sizes=SIZES, repeats=2)
    assert all(other == found.to_json() for other in world.all_gather(found.to_json()))
    assert Calibration.from_json(found.to_json()).to_json() == found.to_json()
    assert (found.ranks, found.oversubscribed) == (world.size, world.oversubscribed)
    assert found.inside.one_way(65536) > 0
    assert 0 <= found.overlap <= 1
    assert Pricer(find("ring"), world.size).price(1e6, found).seconds > 0


def test_messages_take_time_where_a_late_start_took_longer(world, monkeypatch):
    """A busy machine may be slower once, in the measurement of a start, than in all messages."""
    monkeypatch.setattr(Samples, "typical", lambda self, key, share: 1.0 if key == "once" else 1e-6)
    found = calibrate(world, sizes=SIZES, repeats=1)
    for n in SIZES:
        assert found.inside.one_way(n) > 0
        assert found.inside.exchange(n) > 0


def test_what_tune_finds_is_what_is_chosen(world):
    calibration = Calibration.line(1e-6, 1e-9, 1e-10)
    rows = bench(world, ["ring", "tree"], SIZES)
    assert [(row.algorithm, row.bytes) for row in rows] == [
        (name, n) for n in SIZES for name in ("native", "ring", "tree")
    ]
    assert all(other == rows for other in world.all_gather(rows))
    tuned = tune(calibration, rows)
    for start, name, seconds, native in tuned.best:
        assert seconds <= native
        if tuned.ranks == world.size:
            assert choose(world.size, start, tuned).name == name


def test_an_unknown_algorithm_ends_on_all_ranks(world):
    with pytest.raises(AgreedError, match="no all-reduce 'circle'"):
        bench(world, ["circle"], SIZES)


class Counted:
    """Counts what it is told."""

    def __init__(self):
        self.told, self.steps, self.done = [], 0, 0

    def begin(self, stage, steps):
        self.told.append(stage)
        self.steps += steps

    def step(self):
        self.done += 1


def test_stages_are_told_and_come_to_their_end(world):
    counted = Counted()
    calibrate(world, sizes=SIZES, repeats=2, stages=counted)
    bench(world, ["ring"], SIZES[:2], stages=counted)
    assert counted.done == counted.steps == 2 + 16 * 2
    assert counted.told == [
        f"messages and reductions of {world.size} ranks, in 2 passes",
        "2 lengths by 2 algorithms, in 16 passes",
    ]


NOWHERE = Path("/proc/nohome/x.json")


@pytest.mark.parametrize(
    ("run", "options"),
    [
        (measure, CalibrateOptions(output=NOWHERE)),
        (run_tune, TuneOptions(output=NOWHERE)),
        (run_bench, BenchOptions(json=NOWHERE)),
        (run_bench, BenchOptions(plot=NOWHERE)),
        (run_trace, TraceOptions(algorithm="ring", out=NOWHERE)),
    ],
)
def test_a_file_that_cannot_be_written_is_found_out_before_anything_is_measured(world, monkeypatch, run, options):
    def too_late(*_, **__):
        raise AssertionError("it was measured all the same")

    for name in ("calibrate.calibrate", "bench.bench", "trace.record"):
        monkeypatch.setattr(f"mpitrain.comm.measure.{name}", too_late)
    with pytest.raises(AgreedError, match=r"cannot write /proc/nohome/x\.json: No such file or directory"):
        run(options, world)


def test_tuned_and_untuned_are_compared_in_one_job(world, monkeypatch, tmp_path):
    monkeypatch.setattr(world.group()._planner._auto, "path", tmp_path / "calibration.json")
    with pytest.raises(AgreedError, match=f"{world.size} ranks are not tuned yet"):
        compare_tuned(world, ["tree"], SIZES)
    tuned = Calibration.line(1e-6, 1e-9, 1e-10).tuned([(4.0, "ring", 1e-6, 2e-6)], {"ring": Curve([(4, 1e-6)])})
    save_calibration(replace(tuned, ranks=world.size), world.calibration_path)
    rows = compare_tuned(world, ["tree", "auto"], SIZES)
    assert all(other == rows for other in world.all_gather(rows))
    assert [(row.bytes, row.tuned) for row in rows] == [(n, "ring") for n in SIZES]
    for row in rows:
        assert row.untuned == world.choose_untuned(row.bytes).name == "shared"
        assert row.fastest_us <= min(row.native_us, row.untuned_us, row.tuned_us)


def test_the_comparison_is_printed_and_written(world, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(world.group()._planner._auto, "path", tmp_path / "calibration.json")
    tuned = Calibration.line(1e-6, 1e-9, 1e-10).tuned([(4.0, "ring", 1e-6, 2e-6)], {"ring": Curve([(4, 1e-6)])})
    save_calibration(replace(tuned, ranks=world.size), world.calibration_path)
    out = tmp_path / "rows.json"  # of each rank, but rank 0 alone writes
    options = BenchOptions(algorithms=("tree",), bytes=("4", "64KiB"), compare_tuned=True, json=out)
    assert run_bench(options, world) == 0
    lines = capsys.readouterr().out.splitlines()
    assert out.exists() == bool(lines) == (world.rank == 0)
    if world.rank:
        return
    rows = json.loads(out.read_text())
    chosen = [(row["bytes"], row["untuned"], row["tuned"]) for row in rows]
    assert chosen == [(4, "shared", "ring"), (65536, "shared", "ring")]
    assert lines[0] == f"auto on {world.size} ranks, {world.mpi_version}"
    for line, row in zip(lines[2:], rows, strict=True):
        cells = line.split()
        assert ("shared" in cells, "ring" in cells, row["fastest"] in cells) == (True, True, True)
        assert cells[-2:] == [f"{row[name] / row['untuned_us']:.2f}" for name in ("tuned_us", "native_us")]


@pytest.mark.parametrize("text", ["64KiB", "65536"])
def test_a_trace_takes_sizes(world, tmp_path, capsys, text):
    out = Path(world.all_gather(str(tmp_path / "run.html"))[0])
    assert run_trace(TraceOptions(algorithm="ring", bytes=text, repeats=1, out=out), world) == 0
    if world.rank == 0:
        assert "64 KiB: " in capsys.readouterr().out
    with pytest.raises(AgreedError, match="--bytes is a number of bytes, as 4096, 64KiB"):
        run_trace(TraceOptions(algorithm="ring", bytes="1 mile", out=out), world)


def test_lengths_that_take_long_are_extrapolated(world, monkeypatch):
    """A slow link would keep the ranks for minutes: 100 MB/s here, of which a few runs are disturbed."""
    runs = []

    def slow(self, body, pair, num_bytes, turns):
        runs.append(num_bytes)
        disturbed = 9.0 if len(runs) % 3 == 0 else 0.0
        return turns * 1e-8 * num_bytes + disturbed

    monkeypatch.setattr(PairTimer, "run", slow)
    found = calibrate(world, repeats=1)
    kept = found.inside.exchange.sizes
    assert kept[0] == 4
    assert kept[-1] == 1 << 22  # 42 ms, of which a pass of 26 messages takes 1.1 s
    assert not found.inside.cold_exchange or found.inside.cold_exchange.sizes[-1] == kept[-1]
    assert found.native is not None
    assert found.native.sizes[-1] == kept[-1]
    assert max(runs) == 1 << 23


def test_a_link_so_slow_that_nothing_is_affordable_has_one_length(world, monkeypatch):
    monkeypatch.setattr(PairTimer, "run", lambda self, body, pair, num_bytes, turns: turns * 1.0)
    found = calibrate(world, sizes=SIZES, repeats=1)
    assert list(found.inside.exchange.sizes) == [4]
