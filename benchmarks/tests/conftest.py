"""Lets the tests of the benchmarks import the scripts, in processes like those of all other
tests.
"""

import sys
from pathlib import Path

from each_process import one_thread, prepare_process

__all__ = ["one_thread"]

BENCHMARKS = Path(__file__).resolve().parent.parent
sys.path += [str(BENCHMARKS), str(BENCHMARKS / "search")]
prepare_process()
