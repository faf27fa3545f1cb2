"""Run any iterative workload as a study: search, confirm, record.

A workload implements `Lanes`; `run_study` does the rest. Nothing here knows VAEs or PyTorch. A name is imported when it is
first used, so that `import sweeps` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.engine.run import run_study
    from sweeps.errors import UserError
    from sweeps.results.rankings import Results, read_results
    from sweeps.storage.study_record import Description
    from sweeps.study.study_file import Study, load_study
    from sweeps.tracking.mirror import mirroring, sync
    from sweeps.workload.protocol import Failure, Lanes, Outcome, Progress, Trial, TrialResult

_HOMES = {
    "sweeps.engine.run": ("run_study",),
    "sweeps.errors": ("UserError",),
    "sweeps.results.rankings": ("Results", "read_results"),
    "sweeps.storage.study_record": ("Description",),
    "sweeps.study.study_file": ("Study", "load_study"),
    "sweeps.tracking.mirror": ("mirroring", "sync"),
    "sweeps.workload.protocol": ("Failure", "Lanes", "Outcome", "Progress", "Trial", "TrialResult"),
}

__project__ = "vaeexp"
"""Whose package this is; PyPI has another `sweeps`."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'sweeps' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "Description",
    "Failure",
    "Lanes",
    "Outcome",
    "Progress",
    "Results",
    "Study",
    "Trial",
    "TrialResult",
    "UserError",
    "load_study",
    "mirroring",
    "read_results",
    "run_study",
    "sync",
]
