"""``mpitrain submit kubernetes``: an MPIJob of the MPI operator (kubeflow.org/v2beta1)."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tyro.conf import arg

from ...errors import UserError
from ...json_text import to_json
from ..options import parse_options
from ..order import LocalJob
from .deliver import Delivery, deliver
from .options import JobOptions, check_job, leave_after
from .program import Program, quote, read_program, split_program

DESCRIPTION = (
    "Write a job for the MPI operator of Kubernetes, or submit it: mpitrain submit kubernetes --image IMAGE -- train "
    "OPTIONS."
)
HOME = "/home/mpiuser"  # of the user in the image, which scripts/cluster/Dockerfile makes
HOSTS = "/etc/mpi/hostfile"  # written by the operator
SSHD = ["/usr/sbin/sshd", "-De", "-f", f"{HOME}/.sshd_config"]
LONGEST = 40  # characters of a name: pods are named after it, and their names are parts of host names


@dataclass(frozen=True, kw_only=True)
class KubernetesOptions(JobOptions):
    """Options of submit kubernetes."""

    image: str
    """Container image with mpitrain and an SSH server (scripts/cluster/Dockerfile makes one)."""
    mpi: Literal["mpich", "openmpi"] = "mpich"
    """MPI library in the image."""
    volume: Annotated[str, arg(metavar="CLAIM:PATH")] = ""
    """Persistent volume claim, and the path where all pods see it; the results are written there."""
    memory: Annotated[str, arg(metavar="SIZE")] = ""
    """Memory of each node's pod, such as 16Gi."""
    namespace: Annotated[str, arg(metavar="NAME")] = ""
    """Namespace of the job; empty takes the current one."""
    retries: int = 10
    """Times that the job may start again, after a checkpoint or a failure."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    own, words = split_program(argv)
    options = parse_options(KubernetesOptions, own, command="submit kubernetes", description=DESCRIPTION, speaks=speaks)
    check(options)
    program = read_program(words, options, reads_files=False)
    if program.resumes and options.requeue and not options.volume:
        raise UserError("a job that continues needs --volume CLAIM:PATH for its checkpoints; or add --no-requeue")
    text = to_json(manifest(options, program, argv), indent=2) + "\n"
    made = Delivery("Kubernetes", "kubernetes.json", text, ("kubectl", "apply", "-f", "{file}"))
    return LocalJob(lambda: deliver(options, made))


def check(options: KubernetesOptions) -> None:
    """Raise a UserError for a value outside its range."""
    check_job(options)
    for option, name in (("--name", options.name), ("--namespace", options.namespace or "default")):
        if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name) or len(name) > LONGEST:
            most = f"{LONGEST} lower-case letters, digits and - at most, beginning with a letter"
            raise UserError(f"{option} is {name!r}, but must be {most}")
    if options.volume and not re.fullmatch(r"[a-z0-9.-]+:/[^:]*", options.volume):
        raise UserError(f"--volume is {options.volume!r}, but must be a claim and a path, as in results:/data")
    if options.memory and not re.fullmatch(r"\d+(\.\d+)?([KMGTP]i?)?", options.memory):
        raise UserError(f"--memory is {options.memory!r}, but must be a size, as in 16Gi")
    if options.retries < 0:
        raise UserError(f"--retries is {options.retries}, but must be 0 or more")


def manifest(options: KubernetesOptions, program: Program, argv: list[str]) -> dict[str, Any]:
    """Return the MPIJob, or a list of them for an array. JSON is YAML too."""
    written = quote(["mpitrain", "submit", "kubernetes", *argv]).replace(" \\\n    ", " ")
    if not program.values:
        return _job(options, options.name, _command(options, program, None), written)
    jobs = [
        _job(options, f"{options.name}-{task}", _command(options, program, task), written)
        for task in range(len(program.values))
    ]
    return {"apiVersion": "v1", "kind": "List", "items": jobs}


def _command(options: KubernetesOptions, program: Program, task: int | None) -> list[str]:
    """Return mpirun with the command of the ranks, of job ``task`` of an array."""
    hosts = ["--hostfile", HOSTS, "--bind-to", "none"] if options.mpi == "openmpi" else []
    words = ["mpirun", *hosts, "-n", str(options.ranks), "python3", "-m", "mpitrain", *program.words]
    if program.resumes and (options.requeue or program.values):
        out = program.out or f"{options.volume.partition(':')[2].rstrip('/')}/runs/{options.name}"
        words += ["--out", out if task is None else f"{out}/{task}"]
    if program.resumes and options.requeue:
        words += ["--resume", "auto"]
        if options.seconds and not program.max_time:
            words += ["--max-time", f"{leave_after(options)}s"]
    return words if task is None else [*words, program.option, program.values[task]]


def _job(options: KubernetesOptions, name: str, command: list[str], written: str) -> dict[str, Any]:
    policy: dict[str, Any] = {"cleanPodPolicy": "Running", "backoffLimit": options.retries if options.requeue else 0}
    if options.seconds:
        policy["activeDeadlineSeconds"] = options.seconds
    metadata = {"name": name, "annotations": {"mpitrain/written-by": written}}
    if options.namespace:
        metadata["namespace"] = options.namespace
    launcher = {"command": command, "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
    worker = {"command": SSHD, "resources": {"limits": _limits(options)}}
    return {
        "apiVersion": "kubeflow.org/v2beta1",
        "kind": "MPIJob",
        "metadata": metadata,
        "spec": {
            "slotsPerWorker": options.ranks_per_node,
            "runPolicy": policy,
            "sshAuthMountPath": f"{HOME}/.ssh",
            "mpiImplementation": "OpenMPI" if options.mpi == "openmpi" else "MPICH",
            "mpiReplicaSpecs": {
                "Launcher": _replicas(options, 1, launcher),
                "Worker": _replicas(options, options.nodes, worker),
            },
        },
    }


def _limits(options: KubernetesOptions) -> dict[str, Any]:
    limits: dict[str, Any] = {"cpu": str(options.ranks_per_node * options.cores)}
    if options.gpus:
        limits["nvidia.com/gpu"] = options.ranks_per_node
    return limits | ({"memory": options.memory} if options.memory else {})


def _replicas(options: KubernetesOptions, number: int, container: dict[str, Any]) -> dict[str, Any]:
    """Return a kind of pods, as the user that the image has; their shared memory may be as large as all memory."""
    claim, _, path = options.volume.partition(":")
    volumes: list[dict[str, Any]] = [{"name": "shm", "emptyDir": {"medium": "Memory"}}]
    mounts = [{"name": "shm", "mountPath": "/dev/shm"}]
    if options.volume:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": "data", "mountPath": path})
    pod = {
        "name": "mpitrain",
        "image": options.image,
        "securityContext": {"runAsUser": 1000},
        **container,
        "volumeMounts": mounts,
    }
    spec = {"containers": [pod], "volumes": volumes}
    policy = "OnFailure" if options.requeue else "Never"
    return {"replicas": number, "restartPolicy": policy, "template": {"spec": spec}}
