"""Run any iterative workload as a study: search, confirm, record.

A workload implements `Lanes`; `run_study` does the rest. Nothing here knows VAEs or PyTorch. A name is imported when it is
first used, so that `import sweeps` costs nothing.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.engine import run_study
    from sweeps.engine.events import Observer
    from sweeps.errors import UserError
    from sweeps.lanes import Failure, Lanes, Outcome, Progress, TrialResult, TrialSpec
    from sweeps.program import Program, use_program
    from sweeps.results import Results, read_results
    from sweeps.state.record import Description
    from sweeps.study.study import Study, load_study
    from sweeps.tracking import mirroring, sync

__purpose__ = "studies of iterative workloads"
"""Tells this package from the other `sweeps` on PyPI."""


def lazy(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return a package's `__getattr__`, which imports a name when it is first used. `homes`: module → names; none: the module itself."""

    def load(name: str) -> Any:
        for module, names in homes.items():
            if name in (names or (module,)):
                loaded = importlib.import_module(f"{package}.{module}")
                return getattr(loaded, name) if names else loaded
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    return load


__getattr__ = lazy(
    __name__,
    {
        "engine": ("run_study",),
        "engine.events": ("Observer",),
        "errors": ("UserError",),
        "program": ("Program", "use_program"),
        "results": ("Results", "read_results"),
        "state.record": ("Description",),
        "study.study": ("Study", "load_study"),
        "tracking": ("mirroring", "sync"),
        "lanes": ("Failure", "Lanes", "Outcome", "Progress", "TrialSpec", "TrialResult"),
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "Description",
    "Failure",
    "Lanes",
    "Observer",
    "Outcome",
    "Program",
    "Progress",
    "Results",
    "Study",
    "TrialResult",
    "TrialSpec",
    "UserError",
    "load_study",
    "mirroring",
    "read_results",
    "run_study",
    "sync",
    "use_program",
]
