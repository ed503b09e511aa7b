"""Plans: the mesh, schedule and sharding that train a model fastest on a machine, by prices. Pure: no MPI, no weights.

units        a model as rows of units: matrix products, memory traffic, parameters, activations
machine      a machine: speeds, memory and links; read from TOML files
strategy     one way to divide the work
messages     prices of collectives on the ranks of some axes
compute      times of units, by roofline or as measured
stages       cuts into stages
memory       memory of each rank
estimate     time and memory of one strategy
search       the best of all strategies
changes      facts that would lead to another choice
"""

from .estimate import Estimate, Estimator
from .machine import Level, Machine, Speed
from .machine_file import MACHINES, find_machine, read_machine
from .precision import PRECISIONS, Precision
from .search import Found, Wish, search
from .strategy import Strategy
from .units import Model, Product, Unit

__all__ = [
    "MACHINES",
    "PRECISIONS",
    "Estimate",
    "Estimator",
    "Found",
    "Level",
    "Machine",
    "Model",
    "Precision",
    "Product",
    "Speed",
    "Strategy",
    "Unit",
    "Wish",
    "find_machine",
    "read_machine",
    "search",
]
