import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules["tyro"] = None
from mpitrain.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("argv", [[], ["collective", "price"], ["doctor"]])
def test_sources_without_packages_are_one_sentence(argv):
    ran = subprocess.run([sys.executable, "-c", WITHOUT, *argv], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert ran.stderr.startswith("mpitrain: the package tyro is not installed for ")
    assert ran.stderr.count("\n") == 1
