"""``mpitrain serve``: a finished run's model as a service of HTTP, computed by all ranks."""

import importlib.util
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..errors import UserError
from .options import parse_options
from .order import Job
from .terminal import make_console

if TYPE_CHECKING:
    from ..comm.world import World

PACKAGES = ("uvicorn", "httptools", "uvloop", "orjson")


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Options of serve."""

    directory: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run directory written by train."""
    host: str = "localhost"
    """Address to serve at. Any other than that of this host itself asks for a token, which is printed."""
    port: int = 8000
    """Port; 0 takes a free one."""
    token: bool = False
    """Ask for a token at localhost, too: other users of this host could use the model."""
    weights: Literal["last", "best"] = "last"
    """Weights of the last epoch, or of the epoch with the best validation score (or test score)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device, as in train --device."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """Precision on a GPU, as in train --precision; auto takes that of the training, and fp32 on a CPU."""
    mesh: Annotated[str, arg(metavar="AXIS=N,...")] = ""
    """Ranks on each axis, as in train --mesh: with tensor=2 two ranks have a model together; by default each has its
    own."""
    max_batch: int = 64
    """The most samples that a rank computes together: those that have come while all ranks were busy."""
    max_delay: float = 0.0
    """Milliseconds for which a sample waits for others though a rank is free."""
    max_queue: int = 1024
    """The most samples that wait; a request that finds as many is refused (503)."""
    max_body: float = 16.0
    """The most megabytes of a request; longer ones are refused (413)."""
    timeout: float = 30.0
    """Seconds in which a request must be answered; it is dropped then (504)."""
    read_timeout: float = 10.0
    """Seconds in which a client must have sent its request (408)."""
    rank_timeout: float = 60.0
    """Seconds without a sign of a rank that computes, after which its work goes to another one."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    text = "Serve the model of a finished run by HTTP: mpirun -n 4 python -m mpitrain serve RUN."
    options = parse_options(ServeOptions, argv, command="serve", description=text, speaks=speaks)
    if not 0 <= options.port <= 65535:
        raise UserError(f"--port is {options.port}, but must be from 0 to 65535")
    for name in ("max_batch", "max_queue"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, but it is {getattr(options, name)}")
    if not 0 <= options.max_delay <= 10_000:
        raise UserError(f"--max-delay must be from 0 to 10,000 (milliseconds), but it is {options.max_delay:g}")
    for name in ("max_body", "timeout", "read_timeout", "rank_timeout"):
        if not 0 < getattr(options, name) <= 1e6:
            raise UserError(f"--{name.replace('_', '-')} must be more than 0, but it is {getattr(options, name):g}")
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"serve needs the package {missing[0]}: pip install 'mpitrain[serve]'")
    return Job("serve", options, lambda world: serve(options, world))


def serve(options: ServeOptions, world: "World") -> int:
    """Serve until SIGINT or SIGTERM."""
    from ..comm.mailbox import Mailbox
    from ..device import CPU
    from ..serving.model import ServedModel
    from ..serving.service import serve_jobs
    from ..training.devices import take_device_for_runs
    from ..training.directory.trained_model import open_trained_model

    CPU.use_threads(world.cores)
    with world.together():
        run = open_trained_model(options.directory, options.weights)
    run.check_weights_alike(world)
    device = take_device_for_runs(options.device, options.precision, [run.precision], world)
    listener: Any = None
    with world.together():
        if world.rank == 0:
            from ..serving.http import listen

            listener, is_local = listen(options.host, options.port)
    model = ServedModel(run, world, device, options.mesh)
    replies = world.all_gather(model.replies)
    leaders = [next(rank for rank in ranks if replies[rank]) for ranks in model.replicas]
    mailbox = Mailbox(world.group("data")) if world.size > 1 else None
    world.watch(0 if model.whole else options.rank_timeout)
    if world.rank:
        assert mailbox is not None
        code = serve_jobs(model, mailbox)
    else:
        token = "" if is_local and not options.token else secrets.token_urlsafe(24)
        code = _serve_requests(options, world, model, leaders, mailbox, listener, token)
    world.lost_ranks = mailbox is not None and bool(mailbox.lost)
    return code


def _serve_requests(
    options: ServeOptions,
    world: "World",
    model: Any,
    leaders: list[int],
    mailbox: Any,
    listener: Any,
    token: str,
) -> int:
    from ..pages.serve import url_of
    from ..serving.service import Service, Settings

    settings = Settings(
        max_batch=options.max_batch,
        max_delay=options.max_delay / 1000,
        max_queue=options.max_queue,
        max_body=int(options.max_body * 1e6),
        timeout=options.timeout,
        read_timeout=options.read_timeout,
        rank_timeout=options.rank_timeout,
    )
    name = options.directory.resolve().name
    service = Service(model, name, leaders, mailbox, world, listener, token, settings)
    url = url_of(options.host, listener.getsockname()[1], token)
    make_console().say(f"{url} serves {name} on {_ranks(model.replicas)}; Ctrl-C ends")
    sys.stdout.flush()
    return service.run()


def _ranks(replicas: list[tuple[int, ...]]) -> str:
    ranks = sum(map(len, replicas))
    each = f", {len(replicas[0])} for each model" if len(replicas[0]) > 1 else ""
    return f"{ranks} rank{'s' * (ranks > 1)}{each}"
