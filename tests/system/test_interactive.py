"""Interactive use: one process without a launcher, and several ranks that a notebook or program calls."""

import ast
import subprocess
import sys

import pytest

from .conftest import ENVIRONMENT, OPEN_MPI

ONE = """
import mpitrain as mt
world = mt.World()
trainer = mt.Trainer("mlp:widths=16", "digits", epochs=1, progress="none")
first = trainer.fit()
again = mt.Trainer("mlp:widths=16", "digits", epochs=1, progress="none", world=world).fit()
classes = trainer.predict(trainer.setup.dataset.test.x)
print(world.rank, world.size, trainer.world.size, first.test == again.test, len(classes))
"""


def python(directory, arguments, text=None):
    done = subprocess.run(
        [sys.executable, *arguments],
        input=text,
        cwd=directory,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("how", ["command", "script on stdin", "prompt"])
def test_one_process_without_a_launcher(tmp_path, how):
    arguments, text = {"command": (["-c", ONE], ""), "script on stdin": (["-"], ONE), "prompt": (["-i"], ONE)}[how]
    assert python(tmp_path, arguments, text).split() == ["0", "1", "1", "True", "360"]


def test_an_error_leaves_the_prompt_usable(tmp_path):
    text = 'import mpitrain as mt\nmt.Trainer("mlp", "digits", epoch=3)\nprint("still", mt.World().size)\n'
    assert python(tmp_path, ["-i"], text).split() == ["still", "1"]


POOL = '''
from mpi4py import futures

def train(seed):
    """Runs on each worker: they are the ranks of one world."""
    import mpitrain as mt
    world = mt.World(futures.get_comm_workers())
    trainer = mt.Trainer("mlp:widths=16", "digits", epochs=1, seed=seed, progress="none", world=world)
    result = trainer.fit()
    return world.rank, world.size, round(result.test["accuracy"], 4)

def on_all_workers(pool, function, *arguments):
    return [call.result() for call in [pool.submit(function, *arguments) for _ in range(pool.num_workers)]]

if __name__ == "__main__":
    with futures.MPIPoolExecutor() as pool:
        for seed in (0, 1):
            print(sorted(on_all_workers(pool, train, seed)))
'''


def test_several_ranks_through_mpi4py_futures(mpitrain, tmp_path):
    """Works the same on MPICH and Open MPI: rank 0 runs the program, the other ranks are the workers."""
    (tmp_path / "pool.py").write_text(POOL)
    code, out, err = mpitrain(3, "pool.py", program=("-m", "mpi4py.futures"))
    assert code == 0, err
    first, second = (ast.literal_eval(line) for line in out.splitlines() if line.startswith("["))
    for ranks in (first, second):
        assert [(rank, size) for rank, size, _ in ranks] == [(0, 2), (1, 2)]
        assert ranks[0][2] == ranks[1][2] > 0.5
    code, out, err = mpitrain(
        1, "-c", 'import mpitrain as mt; t = mt.Trainer("mlp:widths=16", "digits", epochs=1, progress="none"); '
        'print(round(t.fit().test["accuracy"], 4))', program=()
    )  # fmt: skip
    assert float(out) == pytest.approx(first[0][2], abs=0.01)  # law 1, to rounding


PROMPT = """
from mpi4py.futures import MPIPoolExecutor
from pool import on_all_workers, train
pool = MPIPoolExecutor(2, main=False)
print(sorted(on_all_workers(pool, train, 0)))
pool.shutdown()
"""


@pytest.mark.skipif(OPEN_MPI, reason="with Open MPI, a process without mpirun cannot start others everywhere")
@pytest.mark.parametrize("how", ["-", "-i"])
def test_several_ranks_from_a_prompt(tmp_path, how):
    """A notebook starts the ranks itself; their function is in a file, since they do not see the notebook."""
    (tmp_path / "pool.py").write_text(POOL)
    (ranks,) = ast.literal_eval("[" + python(tmp_path, [how], PROMPT) + "]")
    assert [(rank, size) for rank, size, _ in ranks] == [(0, 2), (1, 2)]
