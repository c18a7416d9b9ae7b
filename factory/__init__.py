"""Model Factory: accepted examples become frozen versions, versions become adapters, gains become credits.

Modules import in one direction, from right to left:

    base  <  intake  <  training  <  adapters  <  credit  <  line  <  api, charts, demo  <  __main__, pages, app

`tests/test_structure.py` keeps it so. Read `factory/line.py` first: it is the whole program in sixty lines.
"""

import os

# OpenMP threads that spin while they wait make short steps several times slower as soon as anything else runs. It is read
# when torch is loaded, so it is set here, before any module of ours can load it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
