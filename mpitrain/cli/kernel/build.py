"""``mpitrain kernel build``: compile ahead of a run, on any machine."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import UserError
from ..options import parse_options
from ..order import LocalJob

if TYPE_CHECKING:
    from ...kernels import Kernel

DESCRIPTION = "Compile the CUDA kernels ahead of a run, for any GPU, also on a login node that has none."


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Options of build."""

    arch: tuple[str, ...] = ()
    """Architectures: sm_75, sm_80, sm_90a ...; the GPU's own where none is given."""
    ladder: bool = False
    """Also the rungs of kernels/ladder."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(BuildOptions, argv, command="kernel build", description=DESCRIPTION, speaks=speaks)
    for arch in options.arch:
        if not (arch.startswith("sm_") and arch[3:].removesuffix("a").isdigit()):
            raise UserError(f"--arch {arch} is no architecture; they are called sm_80, sm_90a ...")
    return LocalJob(lambda: build_archs(options))


def build_archs(options: BuildOptions) -> int:
    """Build everything for every architecture and print a line for each."""
    from ...kernels import nvrtc
    from ...kernels.build import cached, folder
    from ...kernels.catalogue import ladder, others, products

    archs = options.arch or (_own_arch(),)
    kernels = [*products(), *others(), *(ladder() if options.ladder else [])]
    print(f"NVRTC {nvrtc.version()}, into {folder()}")
    for arch in archs:
        fitting = {cached(k, arch): k for k in kernels if k.fits(arch)}
        missing = [path for path in fitting if not path.exists()]
        begin = time.perf_counter()
        build_and_warn([fitting[path] for path in missing], arch)
        seconds = time.perf_counter() - begin
        print(f"{arch}: {len(missing)} compiled in {seconds:.1f} s, {len(fitting) - len(missing)} were there")
    return 0


def build_and_warn(kernels: "Iterable[Kernel]", arch: str) -> None:
    """Build ``kernels``; print what the compiler remarks on wgmma, which then computes the same, only slowly."""
    from ...kernels.build import build_all

    for remark in build_all(kernels, arch):
        print(f"warning: wgmma may be slow on {arch}, {remark}")


def _own_arch() -> str:
    from ...device import assign, discover, open_device

    visible = discover("auto", 0)
    device = open_device(assign([visible])[0])
    arch = getattr(device, "arch", None)
    if arch is None:
        raise UserError(f"no GPU to build for ({visible.reason}): say --arch sm_80, sm_90a ...")
    return str(arch)
