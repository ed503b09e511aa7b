"""Calibrations and what is chosen by them."""

import json

import pytest

from mpitrain.collectives.price import (
    Calibration,
    Curve,
    Wire,
    calibration_path,
    candidates,
    choose,
    load_calibration,
    predict,
    save_calibration,
)
from mpitrain.collectives.price.calibration import DEFAULT
from mpitrain.comm.measure.bench import Row, tune
from mpitrain.errors import UserError

SLOW_NATIVE = Curve([(4, 5e-6), (1 << 16, 3e-4), (1 << 26, 0.3)])
MACHINE = Calibration(
    Wire.line(2e-6, 1e-10, 1e-6), Wire.line(4e-6, 2e-10, 1e-6), Curve.line(0.0, 1e-10), ranks=4, ranks_per_node=4
)


def with_native(curve, **changes):
    return Calibration(**{**vars(MACHINE), "native": curve, **changes})


def test_short_is_native_and_long_is_ours_with_the_reason():
    machine = with_native(SLOW_NATIVE)
    assert choose(4, 4, machine).name == "native"
    long = choose(4, 1 << 26, machine)
    assert long.name != "native"
    assert long.seconds == pytest.approx(predict(4, 1 << 26, machine, algorithms=[long.name])[long.name])
    assert f"{long.name} from " in long.reason
    assert " predicted, " in long.reason


def test_native_wins_ties():
    names = ["ring"]
    tie = Curve([(n, 0.97 * predict(4, n, MACHINE, algorithms=names)["ring"]) for n in (4, 1 << 20, 1 << 26)])
    slower = Curve([(n, 1.03 * predict(4, n, MACHINE, algorithms=names)["ring"]) for n in (4, 1 << 20, 1 << 26)])
    much = Curve([(n, 1.10 * predict(4, n, MACHINE, algorithms=names)["ring"]) for n in (4, 1 << 20, 1 << 26)])
    assert choose(4, 1 << 20, with_native(tie), algorithms=names).name == "native"
    assert choose(4, 1 << 20, with_native(slower), algorithms=names).name == "native"
    assert choose(4, 1 << 20, with_native(much), algorithms=names).name == "ring"


def test_an_oversubscribed_world_is_not_predicted():
    choice = choose(4, 1 << 26, with_native(SLOW_NATIVE, oversubscribed=True))
    assert (choice.name, choice.seconds) == ("native", None)
    assert "ranks outnumber cores" in choice.reason


@pytest.mark.no_cover
def test_one_rank_and_unmeasured_ranks_have_an_answer():
    assert choose(1, 1000, MACHINE).name == "native"
    for size in (3, 64):
        assert "estimated" in choose(size, 4, MACHINE).reason


def test_segments_are_chosen_too():
    assert "pipelined_ring:segments=8" in candidates()
    assert "pipelined_ring" not in candidates()


def rows(table):
    for (name, n), us in table.items():
        native = table["native", n]
        yield Row(name, 4, n, us, native, native / us)


def test_tune_takes_what_is_faster_by_more_than_a_tie():
    table = {("native", 4): 5, ("ring", 4): 9, ("native", 1024): 10, ("ring", 1024): 9.8}
    table |= {("native", 4096): 50, ("ring", 4096): 20, ("tree", 4096): 19.9, ("native", 1 << 20): 900}
    table |= {("ring", 1 << 20): 400, ("tree", 1 << 20): 800}
    tuned = tune(MACHINE, list(rows(table)))
    assert [row[:2] for row in tuned.best] == [(4.0, "native"), (4096.0, "tree"), (float(1 << 20), "ring")]
    assert choose(4, 2048, tuned).name == "native"
    assert choose(4, 5000, tuned).reason.startswith("tree from 4 KiB: ")
    assert choose(4, 1 << 30, tuned).name == "ring"
    assert choose(8, 5000, tuned).name != "tree" or "predicted" in choose(8, 5000, tuned).reason


def test_a_calibration_comes_back_from_its_file(tmp_path):
    tuned = MACHINE.tuned([(4.0, "native", 1e-6, 1e-6)], {"native": SLOW_NATIVE, "ring": Curve([(4, 1e-5)])})
    path = tmp_path / "new" / "file.json"
    save_calibration(tuned, path)
    back = load_calibration(path)
    assert back.to_json() == tuned.to_json()
    assert choose(4, 100, back).name == "native"
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 99}'])
def test_a_damaged_calibration_is_one_sentence(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"c\.json"):
        load_calibration(path)
    with pytest.raises(UserError, match="cannot read the calibration"):
        load_calibration(tmp_path / "none.json")


def test_the_shipped_table_is_whole():
    table = load_calibration()
    assert json.loads(DEFAULT.read_text())["version"] == 1
    assert not table.oversubscribed
    assert all(wire.one_way(1 << 20) > wire.one_way(0) > 0 for wire in (table.inside, table.across))
    assert table.reduce(1 << 20) > 0


def test_the_file_is_named_after_machine_library_and_ranks(monkeypatch):
    monkeypatch.setenv("MPITRAIN_CALIBRATION", "/there")
    assert calibration_path("A b", "MPICH 5.0", 4).as_posix() == "/there/calibration-a-b-mpich-5.0-4.json"


def test_curves():
    curve = Curve([(0, 2.0), (10, 1.0), (20, 4.0)])
    assert [float(curve(n)) for n in (0, 10, 15, 30)] == pytest.approx([1.5, 1.5, 2.75, 6.5])
    line = Curve([(n, 3.0 + 0.5 * n) for n in (0, 10, 1000)]).fit()
    assert (line.alpha, line.beta, line.max_error) == pytest.approx((3.0, 0.5, 0.0), abs=1e-9)
