"""The kept files of a trained trial, and their later uses.

`runs.drawing` and the other modules named here are imported when they are first asked for, because they bring PyTorch.
"""

from typing import TYPE_CHECKING

from sweeps import lazy

if TYPE_CHECKING:
    from vaeexp.runs import drawing, export, reproduce, run

__all__ = ["drawing", "export", "reproduce", "run"]
__getattr__ = lazy(__name__, dict.fromkeys(__all__, ()))
