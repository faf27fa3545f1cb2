"""One thread for each process of the tests: several at once, on a busy machine, only get into each other's way."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
