"""Model Factory: accepted examples become frozen versions, versions become adapters, gains become credits.

Modules import in one direction, from right to left:

    base  <  intake  <  training  <  adapters  <  credit  <  line  <  api, charts, demo  <  __main__, pages, app

`tests/test_structure.py` keeps it so. Read `factory/line.py` first: it is the whole program in sixty lines.
"""

__version__ = "0.1.0"
