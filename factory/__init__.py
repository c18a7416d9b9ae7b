"""Model Factory: accepted examples become frozen versions, versions become adapters, gains become credits.

Modules import in one direction, from right to left:

    base  <  intake  <  training  <  adapters  <  credit  <  line  <  api, charts, demo  <  __main__, pages, app

`tests/test_structure.py` keeps it so. Read `factory/line.py` first: it is the whole program in sixty lines.
"""

import os
import sys
from importlib.abc import MetaPathFinder

# How OpenMP's threads wait for each other. Those that spin for long make short steps several times slower as soon as
# anything else runs; those that sleep at once have to be woken for each of a step's thousands of parts. A thousand turns (of
# GNU's runtime; others sleep) is full speed on an idle machine and nearly as good beside a busy one
# (docs/training-speed.md). They are read when torch is loaded, so they are set here, before any module of ours can load it.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
for name, value in WAITING.items():
    os.environ.setdefault(name, value)


class _NotForSqliteUtils(MetaPathFinder):
    """sqlite_utils takes in pandas where it finds it, which doubles the start of commands and trainers that need none."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        loading = sys.modules.get("sqlite_utils.db")
        if fullname == "pandas" and loading is not None and not hasattr(loading, "Database"):
            raise ModuleNotFoundError("pandas is loaded where it is used", name="pandas")


sys.meta_path.insert(0, _NotForSqliteUtils())

__version__ = "0.1.0"
