"""All tests that need a GPU, in the order of what they tell: python -m tests.gpu.session.main (scripts/test gpu).

A GPU may be there for minutes, and a kernel whose barrier is wrong hangs it. So each stage is a process of its own, the
smallest cases come first, and every result is on the disk before the next test begins (session_plugin.py). A stage
whose process ends or hangs goes on behind the test that did it. With --minutes each stage has its share of the time
that is left; what it does not need is given on, and what is left at the end goes to the stages that were cut off.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.gpu.session.results import Results, summary
from tests.gpu.session.stages import STAGES, Stage

ROOT = Path(__file__).parents[3]
LAUNCH_SECONDS = {"cuda": 20, "stand-in": 200}  # of one launch, a hundred times what the longest takes
TEST_SECONDS = {"cuda": 90, "stand-in": 300}
MOST_RESTARTS = 6  # of one stage
GRACE_SECONDS = 15  # for the last test of a stage, after its time
MOST_SAID = 3000  # characters of a dying process
HANGS = (1, 124)  # exit codes of pytest-timeout and of the watch over launches
UNUSED = ("hypothesispytest", "cov", "xdist", "rerunfailures")  # plugins
PYTEST_ENDS = (0, 1, 2, 5)  # all passed, some failed, it was cut off or a file could not be read, none was left to run


class Session:
    """A run of the stages."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.which = "stand-in" if options.stand_in else "cuda"
        self.begin = time.monotonic()
        options.out.mkdir(parents=True, exist_ok=True)
        self.results = Results(options.out / "results.jsonl")
        self.results.path.unlink(missing_ok=True)

    def left(self) -> float:
        """Return the seconds left."""
        minutes = self.options.minutes
        return float("inf") if minutes is None else 60 * minutes - (time.monotonic() - self.begin)

    def run(self, stages: tuple[Stage, ...]) -> int:
        """Run the stages, then those that were cut off; return the exit code."""
        waiting = [stage for stage in stages if self._can(stage)]
        cut: list[Stage] = []
        while waiting:
            stage = waiting.pop(0)
            share = self.left() * stage.share / (stage.share + sum(other.share for other in waiting))
            if not self._stage(stage, share):
                cut.append(stage)
        for stage in cut:
            if self.left() > GRACE_SECONDS:
                self._stage(stage, self.left())
        return self._report(stages)

    def _can(self, stage: Stage) -> bool:
        if not stage.before:
            return True
        why = None if shutil.which(stage.before[0]) else f"{stage.before[0]} is not installed"
        if why is None and self.options.stand_in and not stage.dry:
            why = "it needs a GPU"
        if why is None and stage.before[0] == "mpirun" and not can_launch():
            why = "mpirun does not belong to the MPI library that mpi4py loads"
        if why:
            self._add(stage, what="left out", why=why)
        return not why

    def _stage(self, stage: Stage, seconds: float) -> bool:
        """Run a stage for so long; return whether it came to its end."""
        deadline, before = time.time() + seconds, len(self.results.lines(stage.name))
        print(f"\n== {stage.name}: {stage.tells} ({time.monotonic() - self.begin:.0f} s)", flush=True)
        for _ in range(MOST_RESTARTS):
            code = self._process(stage, deadline, stage.watched)
            test = self.results.unfinished(stage.name)
            if test is None:
                if code is None:
                    self._add(stage, what="cut")
                elif code not in PYTEST_ENDS:
                    self._add(stage, what="error", test="", why=f"exit code {code}: {self._tail()}")
                break
            if code is None:
                self._add(
                    stage, what="end", test=test, outcome="cut off", why="it ran when the time was over", seconds=0
                )
                self._add(stage, what="cut")
                break
            self._died(stage, test, "it hangs" if code in HANGS else f"it ended the process (exit code {code})")
            if not stage.watched and time.time() + LAUNCH_SECONDS[self.which] < deadline:
                self._process(stage, deadline, True, test)  # again, to know at which launch
                if self.results.unfinished(stage.name):
                    self._died(stage, test, "watched")
        for line in self.results.lines(stage.name)[before:]:
            if line.get("outcome") == "failed":
                print(f"failed: {line['test']}")
        return not any(line["what"] == "cut" for line in self.results.lines(stage.name)[before:])

    def _died(self, stage: Stage, test: str, why: str) -> None:
        self._add(stage, what="end", test=test, outcome="died", why=f"{why}: {self._tail()}", seconds=0)
        print(f"{why}: {test}", flush=True)

    def _add(self, stage: Stage, **line: object) -> None:
        self.results.add(stage=stage.name, **line)

    def _process(self, stage: Stage, deadline: float, watched: bool, only: str | None = None) -> int | None:
        """Return the exit code of one process of pytest; None if it had to be killed."""
        options = self.options
        command = [*stage.before, sys.executable, "-m", "pytest", *stage.arguments, f"--gpu={self.which}"]
        command += ["-p", "tests.gpu.session.plugin", "-p", "no:cacheprovider", "--color=no", "-q", "-s", "--tb=short"]
        command += [word for plugin in UNUSED for word in ("-p", f"no:{plugin}")]  # each costs time at every start
        command += [f"--timeout={TEST_SECONDS[self.which]}", "--timeout-method=thread"]
        asked = {
            "results": str(self.results.path),
            "stage": stage.name,
            "deadline": deadline,
            "cases": options.cases,
            "only": only,
        }
        environment = {**os.environ, **stage.environment, "MPITRAIN_TEST_SESSION": json.dumps(asked)}
        if watched:
            environment["MPITRAIN_LAUNCH_TIMEOUT"] = str(LAUNCH_SECONDS[self.which])
        limit = None if deadline == float("inf") else max(1.0, deadline - time.time()) + GRACE_SECONDS
        with open(options.out / "output.txt", "a+") as output:
            self._from = output.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                kill(process)

    def _tail(self) -> str:
        """Return the end of what the last process printed, from our own message on if there is one."""
        text = (self.options.out / "output.txt").read_bytes()[self._from :].decode(errors="replace")
        said = text.rfind("\nmpitrain: ")
        return text[said:][:MOST_SAID].strip() if said >= 0 else text[-MOST_SAID:].strip()

    def _report(self, stages: tuple[Stage, ...]) -> int:
        page, bad = summary(stages, self.results.lines())
        (self.options.out / "summary.md").write_text(page)
        print(f"\n{page}\nall results: {self.results.path}; what the tests printed: {self.options.out / 'output.txt'}")
        return 1 if bad else 0


def can_launch() -> bool:
    """Return whether the mpirun on the PATH starts ranks of one job with this Python."""
    program = "from mpi4py import MPI; print(MPI.COMM_WORLD.size, end='')"
    try:
        done = subprocess.run(
            ["mpirun", "-n", "2", sys.executable, "-c", program], capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return False
    return done.stdout.split() in (["22"], ["2", "2"])


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/test gpu", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, metavar="M", help="all the time there is (no limit)")
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "build" / "gpu-test",
        metavar="DIR",
        help="folder of the results (build/gpu-test)",
    )
    parser.add_argument("--stages", nargs="+", metavar="NAME", choices=[s.name for s in STAGES], help="some of them")
    parser.add_argument("--cases", type=int, metavar="N", help="at most N tests of each stage")
    parser.add_argument("--stand-in", action="store_true", help="a dry run: the kernels are built for the CPU")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse(sys.argv[1:])
    stages = tuple(stage for stage in STAGES if not options.stages or stage.name in options.stages)
    return Session(options).run(stages)


if __name__ == "__main__":
    sys.exit(main())
