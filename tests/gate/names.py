"""The names that differ between checkouts: role → places, of which the first that imports is used.

The recording uses only interfaces that last: the door `sweeps`, the command line, files, and
Optuna's own classes. What has no such interface is listed here. A module that moves gets its new
place in front of the old one.
"""

import importlib
from functools import cache
from typing import Any

NAMES: dict[str, tuple[str, ...]] = {
    "worker pool": (
        "sweeps.lanes.worker_pool:WorkerPool",
        "sweeps.workload.worker_pool:WorkerPool",
    ),
    "open storage": ("sweeps.storage:open_storage",),
    "seed of a text": ("sweeps.seeds:seed_of",),
    "seed of a trial": (
        "sweeps.search.searched_trials:trial_seed",
        "sweeps.engine:trial_seed",
        "sweeps.engine.searched_trials:trial_seed",
    ),
    "seed of a repeat": ("sweeps.engine.repeats:fresh_seeds", "sweeps.seeds:fresh_seeds"),
    "write a large study": ("report_scale:write_study",),
}
"""Role → `module:name` of each place."""

BENCHMARKS = ("benchmarks", "tests/benchmarks")
"""Folders of a checkout that may hold the benchmarks."""


@cache
def find(role: str) -> Any:
    """Import what has this role. Raises LookupError where none of its places has it."""
    for place in NAMES[role]:
        module, name = place.split(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise LookupError(f"no place has the {role}: {', '.join(NAMES[role])}. Add its place to NAMES.")
