"""Start a master: executed by path, in an isolated interpreter that knows no site-packages.

The package `overseer` is made here by hand, without running its `__init__`, which imports what a program
needs and a master must not have.
"""

import sys
from types import ModuleType

if "overseer" not in sys.modules:
    _package = ModuleType("overseer")
    _package.__path__ = [__file__.rpartition("/master/")[0]]
    sys.modules["overseer"] = _package

from overseer.master.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
