"""``mpitrain doctor``: examine the ranks of a job, and report problems with their remedies."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from ..json_text import to_json
from .options import parse_options
from .order import Job

if TYPE_CHECKING:
    from ..comm.measure.doctor import Finding
    from ..comm.world import World
DESCRIPTION = (
    "Look at the ranks of a job before training on them: mpirun -n 4 python -m mpitrain doctor, "
    "also under srun, or alone. Exit code 1 if something would break training."
)
MARKS = {"ok": "ok", "warn": "!", "bad": "BAD"}


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Options of doctor."""

    mesh: Annotated[str, arg(metavar="AXIS=N,...")] = ""
    """Look at the messages between the stages of a pipeline, too, with ranks on the axes as in train --mesh."""
    json: bool = False
    """Print the findings as JSON."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    options = parse_options(DoctorOptions, argv, command="doctor", description=DESCRIPTION, speaks=speaks)
    return Job("doctor", options, lambda world: consult(options, world))


def consult(options: DoctorOptions, world: "World") -> int:
    """Examine all ranks, print the findings on rank 0, and return the exit code."""
    from .. import cpu_kernels
    from ..comm.measure.doctor import diagnose, diagnose_mesh
    from ..comm.measure.link_survey import survey_links
    from ..comm.measure.probe import probe
    from ..comm.measure.stage_links import survey_stages
    from ..comm.mesh import Mesh
    from ..device import CPU, discover

    CPU.use_threads(world.cores)
    gpus = discover("auto", world.affinity[0])
    kernels = cpu_kernels.why if cpu_kernels.C is not None else f"NumPy ({cpu_kernels.why})"
    ranks = probe(world, gpus=gpus, cpu_kernels=kernels)
    findings = diagnose(ranks, survey_links(world))
    if options.mesh:
        mesh = Mesh(world, options.mesh)
        findings += diagnose_mesh(mesh.placement, survey_stages(mesh) if mesh.sizes["pipe"] > 1 else None)
    if world.rank == 0:
        show(findings, options)
    return int(any(finding.level == "bad" for finding in findings))


def show(findings: list["Finding"], options: DoctorOptions) -> None:
    """Print findings in three columns, each with its remedy below."""
    if options.json:
        print(to_json([dataclasses.asdict(finding) for finding in findings], indent=1))
        return
    from ..training.display.text_table import Column, Row, print_table
    from .terminal import make_console

    rows: list[Row] = []
    for finding in findings:
        rows.append((MARKS[finding.level], finding.about, finding.text))
        if finding.fix:
            rows.append(("", "", f"-> {finding.fix}"))
    console = make_console()
    print_table(console, [Column("", "word"), Column("", "word"), Column("", "text")], rows, head=False)
    levels = [finding.level for finding in findings]
    if "bad" in levels:
        console.say("training will not work like this")
    elif "warn" in levels:
        console.say("training will work; what is marked with ! costs speed or safety")
    else:
        console.say("nothing stands in the way of training")
