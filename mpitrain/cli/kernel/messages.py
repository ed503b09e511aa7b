"""``mpitrain kernel messages``: test whether this MPI library sends and sums a GPU's memory in place."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import AgreedError
from ..options import parse_options
from ..order import Job

if TYPE_CHECKING:
    from ...comm.world import World

DESCRIPTION = "Test, with all ranks, whether MPI reads GPUs' memory (CUDA-aware): then runs send gradients in place."


@dataclass(frozen=True, kw_only=True)
class MessagesOptions:
    """Options of messages."""

    bytes: int = 0
    """Longest buffer to try, in bytes; 0 tries twice the length of a gradient bucket that training takes by default."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    options = parse_options(MessagesOptions, argv, command="kernel messages", description=DESCRIPTION, speaks=speaks)
    return Job("kernel messages", options, lambda world: try_messages(options, world))


def try_messages(options: MessagesOptions, world: "World") -> int:
    """Run the test and print its result; the exit code is 1 on failure."""
    from ...comm.measure.cuda_aware import BEGUN, WORKS, try_direct
    from ...config import Compute, Config
    from ...device import discover
    from ...plain_text import binary_size
    from ...training.devices import take_device

    if options.bytes < 0:
        raise AgreedError(f"--bytes is {options.bytes}, but must be 0 or more")
    if world.size < 2:
        raise AgreedError("messages need two ranks or more: mpirun -n 2 python -m mpitrain kernel messages")
    visible = world.all_gather(discover("auto", world.node))
    if not any(seen.gpus for seen in visible):
        raise AgreedError(f"no rank has a GPU whose memory MPI could read: {visible[0].reason}")
    device = take_device(Config(compute=Compute(device="cuda")), world)
    if world.mixed:
        raise AgreedError("some ranks have no GPU: start as many ranks as there are, or fewer")
    if world.rank == 0:
        print(f"{world.mpi_version} and {device.name}: trying (if this crashes, the answer is no: {BEGUN})", flush=True)
    longest = options.bytes or 2 * world.group("data").choose_bucket_bytes()
    answer = try_direct(world, device, longest)
    if world.rank == 0:
        where = f"in buckets of up to {binary_size(longest)}, with these ranks, hosts and settings of transports"
        print(f"it works; runs send gradients in place, {where}" if answer == WORKS else f"no: {answer}")
    return 0 if answer == WORKS else 1
