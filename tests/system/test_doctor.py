"""The doctor as it is called."""

import json

import pytest


@pytest.mark.parametrize("ranks", [1, 3])
def test_doctor_looks_at_the_ranks(mpitrain, ranks):
    code, out, err = mpitrain(ranks, "doctor", "--json")
    assert code == 0, err
    found = {finding["about"]: finding for finding in json.loads(out[out.index("[") : out.rindex("]") + 1])}
    assert found["sums"]["level"] == found["versions"]["level"] == "ok"
    assert ("links inside nodes" in found) == (ranks > 1)
    assert "bad" not in {finding["level"] for finding in found.values()}


def test_doctor_looks_at_the_stages(mpitrain):
    code, out, err = mpitrain(4, "doctor", "--mesh", "pipe=2", "--json")
    assert code == 0, err
    found = {finding["about"]: finding for finding in json.loads(out)}
    assert found["mesh"]["text"] == "data=2,pipe=2: all ranks are on one node"
    assert found["stages"]["text"].startswith("1 MiB takes ")
    code, _, err = mpitrain(2, "doctor", "--mesh", "pipe=3")
    assert code == 2
    assert "pipe=3 does not divide the number of ranks" in err
