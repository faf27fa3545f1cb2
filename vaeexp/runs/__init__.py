"""What is kept of a trained trial, and what can be done with it again.

`runs.drawing` and the other modules named here are imported when they are first asked for, because they bring PyTorch.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaeexp.runs import drawing, export, reproduce, run

__all__ = ["drawing", "export", "reproduce", "run"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return importlib.import_module(f"{__name__}.{name}")
