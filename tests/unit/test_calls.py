"""A training step calls few Python functions: on small models these calls are the step."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "benchmarks"))
import calls


def test_a_step_of_the_default_mlp():
    found = calls.count_calls()
    functions = [call.function for call in found]
    for function in ("TrainingLoop._train_step", "forward_backward", "SGD.update", "Prefetcher.__next__"):
        assert functions.count(function) == 1, function  # one step, and all of it
    assert len(found) <= calls.MOST, "\n".join(functions)
