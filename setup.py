"""The optional extension and the README as a page of PyPI; everything else is in setup.cfg.

Where there is no C compiler or no Python.h, installing goes on and NumPy does the work. ``MPITRAIN_CPU=numpy`` compiles
nothing, and leaves an extension that lies in the tree alone.
"""

import os
import re
from pathlib import Path

from setuptools import Extension, setup

SOURCES = ("module.c", "threads.c", "level_baseline.c", "level_avx2.c", "level_avx512.c")
# none names a machine: each level_*.c asks for its own instructions, and the fastest level is chosen at import
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-pthread", "-fvisibility=hidden"]
REPOSITORY = "https://github.com/mpitrain/mpitrain"


def readme() -> str:
    """Return the README with absolute links and images, since relative ones are broken on PyPI."""
    text = Path("README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\1{REPOSITORY}/raw/main/", text)
    return re.sub(r"((?<!!)\[[^]]*\]\()(?!https?:)", rf"\1{REPOSITORY}/blob/main/", text)


setup(
    long_description=readme(),
    long_description_content_type="text/markdown",
    ext_modules=[]
    if os.environ.get("MPITRAIN_CPU") == "numpy"
    else [
        Extension(
            "mpitrain._cpu_kernels",
            [f"kernels/cpu/{name}" for name in SOURCES],
            depends=[str(path) for path in sorted(Path("kernels/cpu").iterdir())],
            extra_compile_args=FLAGS,
            extra_link_args=["-pthread"],
            py_limited_api=True,
            optional=True,
        )
    ],
)
