"""What holds for all tests.

One thread for each process: several at once, on a busy machine, only get into each other's way. And no deadline for the
examples that hypothesis draws: how long one takes says how busy the machine is.
"""

import os

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("vaeexp", deadline=None)
settings.load_profile("vaeexp")

LONGEST = (
    "test_benchmarks.py",
    "test_mirror.py",
    "test_whole.py",
    "test_fused_step.py",
    "test_secrets.py",
    "test_any_workload.py",
    "test_compiled.py",
    "test_docs_commands.py",
    "test_notebook_example.py",
    "test_learning.py",
    "test_own_network.py",
    "test_api.py",
)
"""Files that take from twenty seconds to minutes, longest first. `make test` begins with them, because one that began last
would leave all cores but one idle at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
