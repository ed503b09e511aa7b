"""mpitrain submit: scripts that bash runs with stand-ins for the programs of a queue, and what is refused."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from mpitrain.cli.main import main

QUEUES = ("slurm", "pbs", "lsf")
SIZE = ["--nodes", "2", "--ranks-per-node", "2", "--cores", "3", "--time", "1h30m"]
ODD = "csv:my 'own' $HOME \"data\".csv,target=it's"
VARIABLES = {
    "slurm": {"SLURM_JOB_ID": "17"},
    "pbs": {"PBS_JOBID": "17.head", "PBS_O_WORKDIR": "."},
    "lsf": {"LSB_JOBID": "17"},
}
TASK_3 = {
    "slurm": {"SLURM_JOB_ID": "20", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"},
    "pbs": {"PBS_JOBID": "17[3].head", "PBS_ARRAY_INDEX": "3", "PBS_O_WORKDIR": "."},
    "lsf": {"LSB_JOBID": "17", "LSB_JOBINDEX": "4"},
}
RANKS = """#!/bin/bash
# runs its command twice, side by side, after its own options
while [[ $1 == -* ]]; do case $1 in -n) shift 2 ;; *) shift ;; esac done
"$@" &
first=$!
"$@" &
wait $!
code=$?
wait $first && exit $code
"""
PYTHON = """#!/bin/bash
# stands in for Python: tells its folders, or writes down how it was called
case "$*" in
*sys.prefix*) dirname "$(dirname "$0")" ;;
*__path__*) echo "$PWD/package" ;;
*) line=$(printf '%q ' "$0" "$@"); echo "$line" >>"$CALLS"; exit "${CODE:-0}" ;;
esac
"""
NOTED = '#!/bin/bash\nline=$(printf "%q " "${0##*/}" "$@"); echo "$line" >>"$CALLS"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def submit(capsys, *argv):
    code = main(["submit", *argv])
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys, message, *argv):
    code, out, err = submit(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def written(capsys, queue, *argv):
    code, out, err = submit(capsys, queue, "--force", *argv)
    assert (code, err) == (0, "")
    return Path(out.partition(":")[0])


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def call(capsys, queue, *argv, environment=None, code=0):
    """Return the exit code of a script, and the calls of Python and of the queue, with stand-ins for all of them."""
    folder, calls = Path.cwd(), Path("calls")
    for name in ("srun", "mpirun", "mpiexec"):
        program(folder / "bin" / name, RANKS)
    for name in ("scontrol", "qsub"):
        program(folder / "bin" / name, NOTED)
    program(folder / "bin" / "sbcast", '#!/bin/bash\nexec cp "${@:2}"\n')
    program(folder / "bin" / "squeue", "#!/bin/bash\necho N/A\n")
    program(folder / "python" / "bin" / "python", PYTHON)
    script = written(capsys, queue, "--python", str(folder / "python" / "bin" / "python"), *argv)
    calls.unlink(missing_ok=True)
    variables = (environment or VARIABLES)[queue] | {"CALLS": str(calls.absolute()), "CODE": str(code)}
    path = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "PBS", "LSB"))}
    done = subprocess.run(["bash", script], env=plain | path | variables, timeout=60, check=False)
    return done.returncode, [shlex.split(line.replace("\\$", "$")) for line in calls.read_text().splitlines()]


def directives(script):
    return [
        line.partition(" ")[2] for line in script.read_text().splitlines() if line.startswith(("#SBATCH", "#PBS", "#B"))
    ]


def test_scripts_are_valid_bash(capsys):
    """By bash and shellcheck, which need not warn of $ in single quotes and of a number that is not used."""
    parts = [
        [],
        ["--array", "seed=0-3", "--at-most", "2", "--requeue", "--module", "mpi/5 x", "--setup", "export A=1"],
        ["--stage", "--stage-to", "/local disk"],
        ["--container", "my image.sif", "--host-mpi", "/opt/cray mpi", "--gpus", "1"],
        ["--launcher", "mpirun", "--no-requeue"],
    ]
    scripts = [
        written(capsys, queue, "--script", f"{queue}{number}.sh", *SIZE, *part, "--", "--data", ODD)
        for queue in QUEUES
        for number, part in enumerate(parts)
    ]
    command = [Path(sys.executable).with_name("shellcheck"), "--exclude", "SC2016,SC2034", *scripts]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True, timeout=60)


@pytest.mark.parametrize("queue", QUEUES)
def test_the_ranks_get_the_options_as_they_were_given(capsys, queue):
    code, calls = call(capsys, queue, *SIZE, "--", "--data", ODD, "--epochs", "3")
    assert code == 0
    assert len(calls) == 2
    assert calls[0][1:8] == ["-m", "mpitrain", "train", "--data", ODD, "--epochs", "3"]
    end = [] if queue == "slurm" else ["--max-time", "5280s"]
    assert calls[0][8:] == ["--out", "runs/mpitrain-17", "--resume", "auto", *end]
    assert calls[1] == calls[0]


@pytest.mark.parametrize("queue", QUEUES)
def test_a_job_that_left_with_a_checkpoint_continues(capsys, queue):
    code, calls = call(capsys, queue, *SIZE, code=85)
    again = {
        "slurm": [["scontrol", "requeue", "17"]],
        "pbs": [["qsub", "-v", "MPITRAIN_JOB", "mpitrain.pbs.sh"]],
        "lsf": [],
    }
    assert (code, calls[2:]) == (85, again[queue])
    code, calls = call(capsys, queue, *SIZE, "--", "--exit-code", "99", code=99)
    assert (code, len(calls[2:])) == (99, len(again[queue]))
    assert '-Q "99"' in directives(Path("mpitrain.lsf.sh")) if queue == "lsf" else True
    for argv, failure in ((SIZE, 1), ([*SIZE, "--no-requeue"], 85)):
        code, calls = call(capsys, queue, *argv, code=failure)
        assert (code, len(calls)) == (failure, 2)
    assert "--resume" not in calls[0]


@pytest.mark.parametrize("queue", QUEUES)
def test_an_array_gives_each_job_its_value_and_directory(capsys, queue):
    argv = ["--array", "lr=0.1,0.2,0.3,0.4", "--at-most", "2", "--", "--out", "my results", "--weight-decay", "0"]
    code, calls = call(capsys, queue, *argv, environment=TASK_3, code=85)
    assert code == 85
    assert calls[0][-6:] == ["--out", "my results/3", "--resume", "auto", "--lr", "0.4"]
    alone = call(capsys, queue, "--no-requeue", *argv, environment=TASK_3)[1][0]
    assert alone[-4:] == ["--out", "my results/3", "--lr", "0.4"]
    code, calls = call(capsys, queue, *argv, environment=TASK_3, code=85)
    if queue == "pbs":  # the job that it submits is no array
        assert calls[2] == ["qsub", "-v", "MPITRAIN_JOB,MPITRAIN_TASK", "mpitrain.pbs.sh"]
        alone = {"pbs": {"PBS_JOBID": "18.head", "PBS_O_WORKDIR": ".", "MPITRAIN_JOB": "17", "MPITRAIN_TASK": "3"}}
        assert call(capsys, queue, *argv, environment=alone)[1][0] == calls[0]


@pytest.mark.parametrize("queue", QUEUES)
def test_python_is_unpacked_once_on_each_node(capsys, queue):
    """Both ranks run the copy, which is removed afterwards; a disk that is full ends both."""
    Path("package/mpitrain").mkdir(parents=True)
    Path("package/mpitrain/__init__.py").touch()
    Path("local disk").mkdir()
    code, calls = call(capsys, queue, *SIZE, "--stage", "--stage-to", str(Path("local disk").absolute()))
    assert code == 0
    assert len(calls) == 2
    assert calls[0][0].startswith(f"{Path('local disk').absolute()}/mpitrain-python-17-")
    assert calls[0][0].endswith("/bin/python")
    assert not list(Path("local disk").iterdir())
    assert not list(Path().glob(".mpitrain*"))
    program(Path("bin/tar"), '#!/bin/bash\ncase $1 in -x*) exit 2 ;; *) exec /bin/tar "$@" ;; esac\n')
    with pytest.raises(FileNotFoundError):  # no rank has called Python
        call(capsys, queue, *SIZE, "--stage", "--stage-to", str(Path("local disk").absolute()))


def test_a_container_with_the_library_of_the_cluster(capsys):
    program(Path("bin/apptainer"), NOTED)
    Path("mpi/lib").mkdir(parents=True)
    Path("mpi/lib/libmpi.so.12").touch()
    argv = ["--container", "my image.sif", "--host-mpi", str(Path("mpi").absolute()), "--gpus", "1", "--", "doctor"]
    _, calls = call(capsys, "slurm", *argv)
    here, library = str(Path.cwd()), Path("mpi").absolute()
    python = str(Path("python/bin/python").absolute())
    assert calls[0] == [
        *("apptainer", "exec", "--bind", here, "--nv", "--bind", str(library)),
        *("--env", f"MPI4PY_LIBMPI={library}/lib/libmpi.so.12", "my image.sif", python, "-m", "mpitrain", "doctor"),
    ]


def test_directives(capsys):
    argv = [*SIZE, "--gpus", "1", "--partition", "long", "--account", "me", "--array", "seed=0-9", "--at-most", "4"]
    argv += ["--directive=--mail-type=END"]
    assert directives(written(capsys, "slurm", *argv, "--launcher", "pmix")) == [
        "--job-name=mpitrain",
        "--nodes=2 --ntasks-per-node=2 --cpus-per-task=3",
        *("--partition=long", "--account=me", "--time=1:30:00", "--gpus-per-node=2", "--array=0-9%4"),
        *("--open-mode=append --requeue --signal=USR1@120", "--mail-type=END"),
    ]
    assert "srun --mpi=pmix --cpus-per-task=3" in Path("mpitrain.slurm.sh").read_text()
    assert directives(written(capsys, "pbs", *argv)) == [
        *("-N mpitrain", "-l select=2:ncpus=6:mpiprocs=2:ompthreads=3:ngpus=2", "-l walltime=1:30:00"),
        *("-q long", "-A me", "-r y", "--mail-type=END"),
    ]
    assert directives(written(capsys, "lsf", *argv)) == [
        *('-J "mpitrain[1-10]%4"', "-n 4", '-R "span[ptile=2] affinity[core(3)]"', "-W 1:30", "-q long", "-P me"),
        *('-gpu "num=2"', '-Q "85"', "-o mpitrain.%J.%I.out", "-r", "--mail-type=END"),
    ]


@pytest.mark.parametrize("wanted", [signal.SIGUSR1, signal.SIGTERM])
def test_signals_to_the_shell_reach_mpirun_and_its_exit_code_is_kept(capsys, wanted):
    mpirun = Path("python/bin/mpirun")
    program(
        mpirun, "#!/bin/bash\ntrap 'sleep 0.2; exit 85' USR1\ntouch started\nfor i in {1..100}; do sleep 0.1; done\n"
    )
    program(Path("python/bin/python"), PYTHON)
    script = written(capsys, "lsf", "--python", str(Path("python/bin/python").absolute()))
    before = signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a command that ran here may hold signals back
    with subprocess.Popen(["bash", script], env=os.environ | {"LSB_JOBID": "1"}) as job:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while not Path("started").exists() and job.poll() is None:
            time.sleep(0.01)
        job.send_signal(wanted)
        assert job.wait(30) == 85


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--nodes", "0"], "--nodes is 0, but must be at least 1"),
        (["--ranks-per-node", "-1"], "--ranks-per-node is -1, but must be at least 1"),
        (["--cores", "0"], "--cores is 0, but must be at least 1"),
        (["--gpus", "2"], "--gpus is 2, but a rank uses one GPU or none"),
        (["--cores", "4", "--node-cores", "3"], "needs 4 cores on each node, which has 3 (--node-cores)"),
        (["--time", "4:00"], "'4:00' is no time: write 90s, 10m, 1h30m, 2d or 12:30:00"),
        (["--time", "30s"], "--time is 30s, but a job needs at least a minute"),
        (["--name", "my job"], "--name is 'my job', but must consist of letters, digits, dots, - and _"),
        (["--partition", "a b"], "--partition is 'a b', but must consist of"),
        (["--queue", "x;rm"], "--partition is 'x;rm', but must consist of"),
        (["--setup", "a\nb"], "--setup must be one line that is not empty"),
        (["--at-most", "2"], "--at-most limits the jobs of --array, which is not given"),
        (["--array", "seed"], "--array is 'seed', but must be an option and its values: seed=0-9, or lr=0.1,0.01"),
        (["--array", "seed=3-1"], "--array is 'seed=3-1', but must be an option"),
        (["--array", "out=a,b"], "--array cannot set --out"),
        (["--array", "dropout=0.1,2"], "--dropout is 2.0, but must be at least 0 and below 1"),
        (["--stage", "--container", "x"], "--stage does not go with --container, which is one file already"),
        (["--host-mpi", "/opt"], "--host-mpi is for --container"),
        (["--", "--epochs", "0"], "--epochs is 0, but must be at least 1"),
        (["--", "trian"], "the command after -- begins with 'trian', which is no command of mpitrain"),
        (["--", "collective", "list"], "mpitrain collective runs in one process, and needs no job"),
        (["--now", "--script", "-"], "leave one of them out"),
        (["--script", "no/such/file"], "cannot write no/such/file: No such file or directory"),
    ],
)
def test_mistakes_are_one_sentence(capsys, argv, message):
    refused(capsys, message, "slurm", *argv)


def test_a_mesh_must_have_the_ranks_of_the_job(capsys):
    code, _, err = submit(capsys, "slurm", *SIZE, "--", "--mesh", "data=3,pipe=2")
    assert code == 2
    assert "the mesh data=3,pipe=2 has 6 ranks, not 4" in err
    assert submit(capsys, "slurm", *SIZE, "--", "--mesh", "data=2,pipe=2")[0] == 0


def test_a_file_is_overwritten_only_by_force(capsys):
    said = "mpitrain.slurm.sh: 2 ranks on 2 nodes; submit it by sbatch mpitrain.slurm.sh\n"
    for _ in range(2):
        assert submit(capsys, "slurm", "--nodes", "2") == (0, said, "")
    refused(capsys, "mpitrain.slurm.sh exists already: write over it with --force", "slurm", "--nodes", "3")
    assert submit(capsys, "slurm", "--nodes", "3", "--force")[0] == 0
    assert submit(capsys, "slurm", "--nodes", "3", "--script", "-")[1].startswith("#!/bin/bash\n#SBATCH")


@pytest.mark.parametrize(
    ("queue", "name", "called"),
    [
        ("slurm", "sbatch", ["mpitrain.slurm.sh"]),
        ("pbs", "qsub", ["-J", "0-1", "mpitrain.pbs.sh"]),
        ("lsf", "bsub", []),
        ("kubernetes", "kubectl", ["apply", "-f", "mpitrain.kubernetes.json"]),
    ],
)
def test_now_submits_and_shows_the_words_of_the_queue(capsys, monkeypatch, queue, name, called):
    argv = [queue, "--now", "--force", "--array", "seed=0-1"]
    argv += ["--image", "x", "--volume", "results:/data"] if queue == "kubernetes" else []
    monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    code, out, err = submit(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith(f"mpitrain: there is no {name} on the PATH: mpitrain.{queue}.")
    program(Path("bin") / name, '#!/bin/bash\nread -r line\necho "Job 1 of $line: $*"\n')
    code, out, _ = submit(capsys, *argv)
    read = "#!/bin/bash" if queue == "lsf" else ""
    assert (code, out) == (0, f"Job 1 of {read}: {' '.join(called)}".rstrip() + "\n")
    program(
        Path("bin") / name, "#!/bin/bash\necho 'error: invalid partition' >&2\necho 'error: no limit' >&2\nexit 1\n"
    )
    code, out, err = submit(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.endswith(": error: invalid partition error: no limit\n")


def strict(schema):
    """Return ``schema`` so that it refuses unknown keys, which the API server would drop."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if found.pop("x-kubernetes-int-or-string", False):
        found["type"] = ["integer", "string"]
    if isinstance(found.get("properties"), dict) and found["properties"] and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


def test_a_job_of_kubernetes_fits_its_schema(capsys):
    """The schema of the MPI operator; see the comment in it."""
    schema = strict(json.loads(Path(__file__).with_name("mpijob.json").read_text()))
    validate = jsonschema.Draft202012Validator(schema).validate
    argv = [
        "kubernetes",
        *SIZE,
        "--image",
        "me/mpitrain:1",
        "--volume",
        "results:/data",
        "--memory",
        "16Gi",
        "--gpus",
        "1",
    ]
    jobs = []
    for more in ([], ["--mpi", "openmpi", "--namespace", "mine"], ["--array", "seed=0-1"], ["--no-requeue"]):
        made = json.loads(written(capsys, *argv, *more, "--", "--data", "mnist:/data/my mnist").read_text())
        jobs += made["items"] if made["kind"] == "List" else [made]
    assert [job["metadata"]["name"] for job in jobs] == ["mpitrain", "mpitrain", "mpitrain-0", "mpitrain-1", "mpitrain"]
    for job in jobs:
        metadata = job["metadata"]  # its schema is another's: any object
        validate(job | {"metadata": {}})
        assert set(metadata) <= {"name", "namespace", "annotations"}
    first = jobs[0]["spec"]["mpiReplicaSpecs"]
    assert first["Worker"]["replicas"] == 2
    worker = first["Worker"]["template"]["spec"]["containers"][0]
    assert worker["resources"]["limits"] == {"cpu": "6", "nvidia.com/gpu": 2, "memory": "16Gi"}
    assert first["Launcher"]["template"]["spec"]["containers"][0]["command"] == [
        *("mpirun", "-n", "4", "python3", "-m", "mpitrain", "train", "--data", "mnist:/data/my mnist"),
        *("--out", "/data/runs/mpitrain", "--resume", "auto", "--max-time", "5280s"),
    ]
    assert jobs[3]["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]["command"][-8:] == [
        *("--out", "/data/runs/mpitrain/1", "--resume", "auto", "--max-time", "5280s", "--seed", "1")
    ]
    broken = jobs[0] | {"metadata": {}, "spec": jobs[0]["spec"] | {"slots": 2}}
    with pytest.raises(jsonschema.ValidationError, match="'slots' was unexpected"):
        validate(broken)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "a job that continues needs --volume CLAIM:PATH for its checkpoints; or add --no-requeue"),
        (["--name", "My-Job"], "--name is 'My-Job', but must be 40 lower-case letters, digits and - at most"),
        (["--volume", "data"], "--volume is 'data', but must be a claim and a path, as in results:/data"),
        (["--memory", "many"], "--memory is 'many', but must be a size, as in 16Gi"),
        (["--retries", "-1"], "--retries is -1, but must be 0 or more"),
        (["--", "--config", "a.toml"], "--config and --resume name files that only the job has"),
    ],
)
def test_mistakes_for_kubernetes_are_one_sentence(capsys, argv, message):
    refused(capsys, message, "kubernetes", "--image", "x", *argv)


def test_containers_copy_what_the_package_is_built_from():
    root = Path(__file__).parents[2]
    docker = (root / "scripts" / "cluster" / "Dockerfile").read_text()
    copied = {word for line in docker.splitlines() if line.startswith("COPY") for word in line.split()[1:-1]}
    apptainer = (root / "scripts" / "cluster" / "mpitrain.def").read_text()
    files = apptainer.partition("%files\n")[2].partition("\n\n")[0]
    assert copied == {line.split()[0] for line in files.splitlines()}
    assert copied >= {"setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "kernels", "mpitrain"}
    assert all((root / name).exists() for name in copied)
