"""Choice of the tables whose gradients are kept as rows."""

from ...arena import Arena
from ...comm.mesh import Mesh
from ...config import Config
from ...device import CPU, Device
from ...errors import UserError
from ...layers import ColumnEmbeddings, Layer, Linear
from ...run_rules import EVERY_STEP
from ..recipe import make_optimizer


def keep_rows(config: Config, mesh: Mesh, model: Layer, device: Device) -> None:
    """Set ``by_rows`` of the large tables of ``model`` that are trained, if the optimizer and the other settings can.

    Raises
    ------
    UserError
        If the optimizer is lazy, and other settings need whole gradients.
    """
    columns = [layer for layer in model.layers() if isinstance(layer, ColumnEmbeddings)]
    tables = [layer.tables[number].weight for layer in columns for number in layer.large]
    tables = [p for p in tables if not p.frozen and p.uses == 1]
    if not tables:
        return
    optimizer = make_optimizer(config.optimizer, Arena(Linear(1, 1).named_parameters()))
    if not optimizer.updates_rows:
        return
    if reason := _needs_whole_gradients(config, mesh, device):
        if getattr(optimizer, "lazy", False):
            raise UserError(f"{reason} needs gradients of whole tables: leave lazy=true out")
        return
    for p in tables:
        p.by_rows = True


def _needs_whole_gradients(config: Config, mesh: Mesh, device: Device) -> str:
    """Return the setting that needs gradients in the arena; "" for none."""
    p = config.parallel
    axis = next((axis for axis, size in mesh.sizes.items() if size > 1 and axis not in ("data", "expert")), "")
    for name, needs in (
        (f"--shard {p.shard}", p.shard not in ("auto", "none")),
        (f"--sync {p.sync}", p.sync != EVERY_STEP),
        (f"--compress {p.compress}", p.compress != "none"),
        ("--gradient-hook", bool(p.gradient_hook)),
        ("--elastic", p.elastic),
        ("--reproducible", bool(p.reproducible)),
        ("--offload-optimizer", bool(p.offload_optimizer)),
        (f"axis {axis} of the mesh", bool(axis)),
        ("a device other than the CPU", device is not CPU or mesh.over(*mesh.sizes).has_devices),
    ):
        if needs:
            return name
    return ""
