"""The optional extension; everything else is in setup.cfg.

Where there is no C compiler or no Python.h, installing goes on and NumPy does the work.
"""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = ("module.c", "threads.c", "level_baseline.c", "level_avx2.c", "level_avx512.c")
# none names a machine: each level_*.c asks for its own instructions, and the fastest level is chosen at import
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-pthread", "-fvisibility=hidden"]

setup(
    ext_modules=[
        Extension(
            "mpitrain._cpu_kernels",
            [f"kernels/cpu/{name}" for name in SOURCES],
            depends=[str(path) for path in sorted(Path("kernels/cpu").iterdir())],
            extra_compile_args=FLAGS,
            extra_link_args=["-pthread"],
            py_limited_api=True,
            optional=True,
        )
    ]
)
