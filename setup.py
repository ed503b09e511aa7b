"""The optional extension; everything else is in setup.cfg.

Where there is no C compiler or no Python.h, installing goes on and NumPy does the work (``mpitrain kernel list`` says so).
"""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = ("module.c", "pool.c", "level_baseline.c", "level_avx2.c", "level_avx512.c")

setup(
    ext_modules=[
        Extension(
            "mpitrain._native",
            [f"kernels/cpu/{name}" for name in SOURCES],
            depends=[str(path) for path in sorted(Path("kernels/cpu").iterdir())],
            # no flag names a machine: each level_*.c asks for its own instructions, and the fastest is chosen at import
            extra_compile_args="-O3 -fno-math-errno -fno-trapping-math -Wno-psabi -pthread -fvisibility=hidden".split(),
            extra_link_args=["-pthread"],
            py_limited_api=True,
            optional=True,
        )
    ]
)
