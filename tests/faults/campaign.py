"""Seeded runs with a fault at a random point: every run must end by itself, and no sample be lost or used twice.

    python tests/faults/campaign.py --runs 200 --seed 0 --python mpich=.venv-mpich/bin/python openmpi=...

A run is right if it ends in bounded time with a finished training, or with a message and checkpoints (or none yet) from
which a second run, on another mesh, finishes. In both cases each epoch has used every sample exactly once. With
--pipelines all runs are pipelines, otherwise some are.
"""

import argparse
import collections
import concurrent.futures
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

KINDS = ("kill", "stop", "delay", "raise", "mismatch", "corrupt", "full")
# how often a rank comes by a point in a run of 3 epochs; those that are rare are hit early
CALLS = {
    **{"step": 60, "input": 60, "forward": 120, "backward": 120, "start": 60, "poll": 120, "wait": 60, "update": 60},
    **{"sum": 6, "gather": 40, "evaluate": 3, "write": 6},
}
STAGE_CALLS = {  # the same in a pipeline
    **{"step": 60, "input": 60, "forward": 300, "backward": 300, "update": 60, "sum": 60, "gather": 60, "evaluate": 3},
    **{"write": 6, "task": 500, "message": 300, "send": 300, "evaluation": 6},
}
MESHES = {
    **{1: ["data=1"], 2: ["data=2", "pipe=2"], 3: ["data=3", "pipe=3"]},
    **{4: ["data=4", "pipe=4", "data=2,pipe=2"], 5: ["data=5", "pipe=5"]},
}
SCHEDULES = ["1f1b", "gpipe", "zb_h1", "interleaved:chunks=2", "breadth_first:chunks=2", "greedy:memory=0.5"]
SAMPLES, BATCH, EPOCHS = 1437, 64, 3
OPTIONS = [
    *("--model", "mlp", "--epochs", str(EPOCHS), "--batch-size", str(BATCH)),
    *("--checkpoint-every", "7", "--progress", "none", "--out", "run"),
]
TIMEOUT = 3.0  # seconds that a rank may wait; five times that in the first step
LIMIT = 90.0  # seconds after which a run is said to hang
DOOMED = Path(__file__).with_name("doomed.py")
WORDS = ("mpitrain:", "KILLED BY SIGNAL", "BAD TERMINATION", "noticed that process rank", "terminated by signals")


class Drawn(NamedTuple):
    """Plan of a run; the mesh is that of the second run where there are two."""

    mpi: str
    size: int
    elastic: bool
    fault: dict
    all_reduce: str
    mesh: str
    pipeline: str
    microbatches: int
    then: str

    @property
    def width(self):
        """Hidden widths: enough layers for the stages."""
        return ["16"] * (1 if "pipe" not in self.mesh else 10)

    def options(self, life):
        """Return the options of the first run, or of the one after it."""
        mesh = self.then if life else self.mesh
        if not mesh:
            return ["--widths", *self.width]
        own = ["--pipeline", self.pipeline, "--accumulate", str(self.microbatches)] if "pipe" in mesh else []
        if life and not own:
            own = ["--pipeline", "1f1b"]  # the run directory may have another one
        return ["--widths", *self.width, "--mesh", mesh, *own]


def draw(seed, pythons, pipelines=False):
    """Return what run ``seed`` is to be."""
    rng = random.Random(seed)
    mpi = rng.choice(sorted(pythons))
    size, kind, point = rng.randint(2, 5), rng.choice(KINDS), rng.choice(sorted(CALLS))
    elastic = mpi == "openmpi" and rng.random() < 0.6
    many = 2 if elastic and size > 2 and rng.random() < 0.3 else 1
    ranks = rng.sample(range(size), many)
    fault = {"kind": kind, "ranks": ranks, "point": point, "call": rng.randrange(CALLS[point])}
    all_reduce = rng.choice(["tree", "ring", "native", *([] if elastic else ["shared"])])
    mesh = rng.choice([mesh for mesh in MESHES[size] if "pipe" in mesh or not pipelines])
    if "pipe" not in mesh or (elastic and not pipelines):
        mesh = ""
    else:
        elastic, point = False, rng.choice(sorted(STAGE_CALLS))
        fault |= {"ranks": ranks[:1], "point": point, "call": rng.randrange(STAGE_CALLS[point])}
    others = [other for size in range(1, 5) for other in MESHES[size] if other != mesh]
    if not mesh:  # a model of few layers
        others = [other for other in others if other not in ("pipe=3", "pipe=4")]
    return Drawn(
        mpi, size, elastic, fault, all_reduce, mesh, rng.choice(SCHEDULES), rng.choice([1, 2, 5, 8]), rng.choice(others)
    )


def size_of(mesh):
    """Return the number of ranks of a mesh."""
    return math.prod(int(axis.partition("=")[2]) for axis in mesh.split(","))


def launch(python, drawn, directory, life):
    """Run once; return the exit code (None for a hang), what was said, and the seconds it took."""
    environment = os.environ | {
        **{"PATH": f"{Path(python).parent}:{os.environ['PATH']}", "NO_COLOR": "1", "TERM": "dumb"},
        **{"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"},
        **{"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "OMP_NUM_THREADS": "1"},
        **{"DEALT": str(directory / "dealt"), "LIFE": str(life)},
    }
    size, elastic = (size_of(drawn.then), False) if life else (drawn.size, drawn.elastic)
    ulfm = ["--with-ft", "ulfm"] if elastic else []
    job = [python, str(DOOMED), json.dumps(None if life else drawn.fault), *OPTIONS, *drawn.options(life)]
    job += ["--all-reduce", "tree" if life else drawn.all_reduce]
    job += ["--elastic"] * elastic + ["--timeout", str(120 if life else TIMEOUT)] + ["--resume", "auto"] * (life > 0)
    command = ["timeout", "-s", "KILL", str(LIMIT), "mpirun", *ulfm, "-n", str(size), *job]
    begin = time.monotonic()
    with tempfile.TemporaryFile() as output:
        code = subprocess.run(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ).returncode
        output.seek(0)
        text = output.read().decode(errors="replace")
    seconds = time.monotonic() - begin
    return (None if seconds >= LIMIT else code), text, seconds


def used(path):
    """Return the samples that each epoch has used, by the last time that each of its steps was done."""
    dealt, done = collections.defaultdict(list), {}
    for line in path.read_text().splitlines() if path.exists() else []:
        note = json.loads(line)
        place = note["epoch"], note["step"]
        if "done" in note:
            done[place] = max(done.get(place, 0), note["number"])
        else:
            dealt[place, note["number"]] += note["samples"]
    epochs = collections.defaultdict(list)
    for (epoch, step), number in done.items():
        epochs[epoch] += dealt[(epoch, step), number]
    return epochs


def judge(seed, drawn, python):
    """Return (verdict, right or not, story) of run ``seed``."""
    story = {"seed": seed, **drawn._asdict(), **drawn.fault}
    with tempfile.TemporaryDirectory(prefix="mpitrain-fault-") as name:
        directory = Path(name)
        report = directory / "run" / "report.json"
        code, text, seconds = launch(python, drawn, directory, 0)
        story |= {"code": code, "seconds": round(seconds, 1), "said": text[-2000:]}
        if code is None:
            return "hung", False, story
        verdict = "finished"
        if report.exists():
            losses = json.loads(report.read_text())["losses"]
            verdict = "finished with fewer ranks" if losses else verdict
        else:
            if not any(word in text for word in WORDS):
                return "ended without a word", False, story
            verdict = "ended, resumed and finished"
            code, text, _ = launch(python, drawn, directory, 1)
            story |= {"resume_code": code, "resume_said": text[-2000:]}
            if code != 0 or not report.exists():
                return "could not be resumed", False, story
        epochs = used(directory / "dealt")
        right = all(sorted(epochs[e]) == list(range(SAMPLES)) for e in range(1, EPOCHS + 1))
        return verdict if right else "samples lost or used twice", right, story


def main():
    """Run the campaign, print counts, exit with 1 if a run was not right."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no new run after so long")
    parser.add_argument("--pipelines", action="store_true", help="runs on a mesh with a pipeline only")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--log", type=Path, help="a line of JSON for each run")
    parser.add_argument("--python", nargs="+", required=True, metavar="MPI=PYTHON")
    options = parser.parse_args()
    pythons = {mpi: str(Path(path).absolute()) for mpi, path in (pair.split("=") for pair in options.python)}
    begin, counts, wrong = time.monotonic(), collections.Counter(), 0

    def run(seed):
        drawn = draw(seed, pythons, options.pipelines)
        return None if time.monotonic() - begin > options.seconds else judge(seed, drawn, pythons[drawn.mpi])

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(run, range(options.seed, options.seed + options.runs)):
            if result is None:
                continue
            verdict, right, story = result
            counts[story["mpi"], story["kind"], verdict] += 1
            if not right:
                wrong += 1
                print(f"WRONG: {verdict}: {json.dumps(story, indent=1)}", flush=True)
            if options.log:
                with options.log.open("a") as file:
                    file.write(json.dumps({"verdict": verdict, "right": right, **story}) + "\n")
    for (mpi, kind, verdict), count in sorted(counts.items()):
        print(f"{mpi:8} {kind:9} {verdict:28} {count:4}")
    print(f"{sum(counts.values())} runs, {wrong} wrong, {time.monotonic() - begin:.0f} s", flush=True)
    return 1 if wrong or not counts else 0


if __name__ == "__main__":
    sys.exit(main())
