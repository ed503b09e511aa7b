"""Count the calls of this package's Python functions in one training step on one rank.

Functions in C and those of other packages are not counted; a generator that continues counts as a call.

    scripts/bench calls [--model TEXT] [--step N] [--tree]
"""

import argparse
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import mpitrain

PACKAGE = Path(mpitrain.__file__).parent
STEP = 5  # the first steps make plans and buffers
MOST = 80  # of the default model: tests/unit/test_calls.py fails above this


class Call(NamedTuple):
    """One call: how deep in the stack, and the function with its file."""

    depth: int
    file: str
    function: str


class CountCalls(mpitrain.Hook):
    """Keeps the calls between the beginning of one step and that of the next in ``calls``."""

    def __init__(self, step: int = STEP):
        self._step = step
        self.calls: list[Call] = []

    def step_begin(self, info: mpitrain.StepInfo) -> None:
        """Begin to count in the step, and end in the next."""
        if info.step == self._step:
            sys.setprofile(self._note)
        elif info.step == self._step + 1:
            sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(PACKAGE):
            name = str(file.relative_to(PACKAGE))
            self.calls.append(Call(_depth(frame), name, frame.f_code.co_qualname))


def _depth(frame: FrameType | None) -> int:
    depth = 0
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


def count_calls(model: str = "mlp", step: int = STEP, **settings: Any) -> list[Call]:
    """Return the calls of a step of a run on the digits."""
    hook = CountCalls(step)
    mpitrain.Trainer(model, "digits", hooks=[hook], steps=step + 1, progress="none", **settings).fit()
    return hook.calls


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench calls", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="mlp", metavar="TEXT", help="as in mpitrain train --model (mlp)")
    parser.add_argument("--step", type=int, default=STEP, metavar="N", help=f"the step that is counted ({STEP})")
    parser.add_argument("--tree", action="store_true", help="also print each call, indented by its depth")
    options = parser.parse_args()
    calls = count_calls(options.model, options.step)
    top = min(call.depth for call in calls)
    if options.tree:
        for call in calls:
            print(f"{'  ' * (call.depth - top)}{call.function}  {call.file}")
    files, depth = len({call.file for call in calls}), 1 + max(call.depth for call in calls) - top
    print(f"{options.model}: {len(calls)} calls of functions in {files} files, at most {depth} deep")
    return 0


if __name__ == "__main__":
    sys.exit(main())
