"""Machines to plan for, in files."""

import pytest

from mpitrain.errors import UserError
from mpitrain.planning import MACHINES, find_machine, read_machine


@pytest.mark.parametrize("name", MACHINES)
def test_machines_can_be_read(name):
    machine = find_machine(name)
    assert machine.levels[-1].bandwidth > 0
    assert machine.speed("fp32").achieved <= machine.speed("fp32").peak


GOOD = """
memory = "16 GB"
bandwidth = 1e12
[speed.fp32]
peak = 2e12
achieved = 1e12
[[level]]
name = "node"
ranks = 8
latency = 1e-6
bandwidth = 1e11
[[level]]
name = "network"
latency = 1e-6
bandwidth = 1e10
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", None),
        ("memory", "memroy", "memroy is no setting of a machine; did you mean 'memory'"),
        ('"16 GB"', '"many"', "memory is a number of bytes"),
        ("bandwidth = 1e12\n", "", "bandwidth is missing"),
        ("peak = 2e12", "peak = -1", "peak must be a positive number, not -1"),
        ("achieved = 1e12", "achieved = 4e12", "achieved is 4e[+]12, more than the peak"),
        ("[speed.fp32]", "[speed.fp23]", "speed.fp23 is no setting of a machine; did you mean 'fp32'"),
        ("ranks = 8", "", "ranks is missing; only the outermost level"),
        ('name = "network"', 'name = "network"\nranks = 12', "must be a multiple of the 8 within"),
        ("[[level]]", "[level]", "is not valid TOML"),
        ('memory = "16 GB"', "memory = 16e9\nmemory = 1", "is not valid TOML"),
        ("latency = 1e-6", "latency = true", "latency must be a positive number, not True"),
        ("latency = 1e-6", "latency = nan", "latency must be a positive number"),
        ('memory = "16 GB"', 'memory = "16 GB"\ndevice = "tpu"', "must be cpu or gpu"),
        ('memory = "16 GB"', 'memory = "16 GB"\noverlap = 2', "overlap is 2, but is a part, at most 1"),
        ('memory = "16 GB"', 'memory = "16 GB"\nshares_memory = 1', "must be true or false"),
    ],
)
def test_wrong_machines_get_one_sentence(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(old, new) if old else GOOD)
    if message is None:
        assert read_machine(path).name == "mine"
        return
    with pytest.raises(UserError, match=message) as error:
        read_machine(path)
    assert "\n" not in str(error.value).removesuffix("\n") or "TOML" in message


def test_unknown_machines_are_refused():
    with pytest.raises(UserError, match=r"there is no machine 'dgxh100' \(did you mean 'dgx-h100'\?\)"):
        find_machine("dgxh100")
    with pytest.raises(UserError, match=r"cannot read the machine none\.toml: No such file"):
        find_machine("none.toml")
