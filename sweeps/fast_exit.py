"""Importing this module lets a process end half a second sooner.

At its end, Python searches all objects of all modules for cycles several times, which takes half a
second where PyTorch or MLflow is loaded. The objects vanish with the process anyway, so they are
taken out of the search.
"""

import atexit
import gc
import sys


@atexit.register
def _leave() -> None:
    # Triton, which PyTorch's compiler brings, reports each of its objects that is left.
    if "triton" not in sys.modules:
        gc.freeze()
