"""Imports of a training up to its first step: every rank makes them, and they are most of its start."""

HOOK = """
import json, sys
from mpitrain import Hook

class Modules(Hook):
    def step_begin(self, info):
        with open("modules.json", "w") as file:
            json.dump(sorted(sys.modules), file)
"""
TRAIN = ["-m", "mpitrain", "--steps", "1", "--model", "mlp:widths=4", "--hook", "hook.py:Modules", "--out", "run"]
MOST = {"mpitrain": 523, "": 900}  # modules, of the package and in all: some more than there are
