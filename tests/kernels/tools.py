"""The CUDA tools that tests use, from the PATH, /usr/local/cuda, or a wheel (nvidia-cuda-nvdisasm)."""

import os
import shutil
import sysconfig
from pathlib import Path


def find(name: str) -> str | None:
    """Return the path of a tool, or None."""
    wheels = Path(sysconfig.get_path("purelib")).glob("nvidia/*/bin")
    places = [os.environ.get("PATH", ""), "/usr/local/cuda/bin", *map(str, wheels)]
    return shutil.which(name, path=os.pathsep.join(places))


NVCC = find("nvcc")
NVDISASM = find("nvdisasm")
