"""What the command sweep adds to the driver: execution, plan, job, progress.

`sweep.job` and `sweep.run` are imported when they are first asked for, because they bring PyTorch.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaeexp.sweep import job, run

__all__ = ["job", "run"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return importlib.import_module(f"{__name__}.{name}")
