"""The hook of scripts/bench startup: each rank writes down when its first step is done."""

import os
import time
from pathlib import Path

from mpitrain import Hook, StepInfo


class Written(Hook):
    """Writes the time after the first step."""

    def step_end(self, info: StepInfo) -> None:
        """Write the file of this rank."""
        if info.step == 1:
            Path(os.environ["STARTUP_FOLDER"], f"rank-{info.group.rank}").write_text(repr(time.time()))
