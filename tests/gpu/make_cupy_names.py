"""Write cupy.json: what CuPy has of NumPy's functions, with their parameters, and of its arrays' methods.

Run where CuPy is installed (pip install 'mpitrain[cuda12]'; no GPU is needed): python tests/gpu/make_cupy_names.py
"""

import inspect
import json
from pathlib import Path

import cupy
import numpy as np


def parameters(function):
    """Return the names of a function's parameters, null where it takes any."""
    try:
        kinds = inspect.signature(function).parameters.values()
    except ValueError:  # compiled
        return None
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in kinds):
        return None
    return [p.name for p in kinds]


functions, ufuncs = {}, []
for name in sorted(set(dir(np)) & set(dir(cupy))):
    ours, theirs = getattr(np, name), getattr(cupy, name)
    if ours is theirs or isinstance(theirs, type) or not callable(theirs):
        continue
    if isinstance(ours, np.ufunc):
        ufuncs.append(name)
    elif callable(ours):
        functions[name] = parameters(theirs)
methods = [name for name in dir(cupy.ndarray) if not name.startswith("_")]
table = {
    "cupy": cupy.__version__,
    "numpy": np.__version__,
    "functions": functions,
    "ufuncs": ufuncs,
    "methods": methods,
}
lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in table.items())
Path(__file__).with_name("cupy.json").write_text("{\n" + lines + "\n}\n")
