"""Methods of ``--sync`` by name."""

from ...registry import Registry
from .adasum import Adasum
from .base import SyncMethod
from .daso import DASO
from .diloco import DiLoCo
from .easgd import EASGD
from .gossip import Gossip
from .local import Local
from .post_local import PostLocal
from .server import Server
from .stale import Stale

SYNCS: Registry[SyncMethod] = Registry(
    "sync",
    {
        "local": Local,
        "post_local": PostLocal,
        "diloco": DiLoCo,
        "adasum": Adasum,
        "gossip": Gossip,
        "stale": Stale,
        "daso": DASO,
        "easgd": EASGD,
        "server": Server,
    },
    arguments=("parts",),
    result=SyncMethod,
)
