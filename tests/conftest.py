"""What holds for all tests.

One thread for each process: several at once, on a busy machine, only get into each other's way. And no deadline for the
examples that hypothesis draws: how long one takes says how busy the machine is.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("vaeexp", deadline=None)
settings.load_profile("vaeexp")
