"""Prices of collectives: a LogGP model of the schedule on a calibrated machine."""

from .calibration import Calibration, Wire, calibration_path, load_calibration, save_calibration
from .choose import Choice, candidates, choose, choose_bucket_bytes, predict
from .curve import Curve, Line
from .price import Price, Pricer, price
from .topologies import TOPOLOGIES, parse_topology
from .topology import Network, Switch

__all__ = [
    "TOPOLOGIES",
    "Calibration",
    "Choice",
    "Curve",
    "Line",
    "Network",
    "Price",
    "Pricer",
    "Switch",
    "Wire",
    "calibration_path",
    "candidates",
    "choose",
    "choose_bucket_bytes",
    "load_calibration",
    "parse_topology",
    "predict",
    "price",
    "save_calibration",
]
