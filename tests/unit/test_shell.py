"""Shell scripts of the repository, by shellcheck; and what those of the cluster lanes say where they cannot run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELLCHECK = Path(sys.executable).with_name("shellcheck")  # of the test environment, which need not be on the PATH
CLUSTER = ROOT / "tests" / "cluster"
SCRIPTS = [
    *(path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix),
    *(ROOT / "scripts" / "lib").glob("*.sh"),
    *CLUSTER.glob("*.sh"),
]


def test_shellcheck_finds_nothing():
    assert len(SCRIPTS) >= 8
    command = [SHELLCHECK, "-x", "-P", ROOT, *SCRIPTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("script", "absent", "message"),
    [
        ("hosts.sh", "ip", "there is no ip or nsenter (on Debian: apt install iproute2 util-linux)"),
        (
            "slurm.sh",
            "sbatch",
            "there is no sbatch (on Debian: apt install --no-install-recommends slurm-wlm munge libpmix2)",
        ),
    ],
)
def test_a_missing_program_is_told_in_one_line(tmp_path, script, absent, message):
    for name in ("bash", "dirname", "readlink"):
        (tmp_path / name).symlink_to(shutil.which(name))
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")  # root
    (tmp_path / "id").chmod(0o755)
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(
        [CLUSTER / script, "missing"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, message + "\n", "")
    assert shutil.which(absent, path=tmp_path) is None
