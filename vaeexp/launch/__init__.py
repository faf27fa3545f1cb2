"""The command sweep's additions to the driver: execution, plan, job, progress.

`launch.job` and `launch.run` are imported when they are first asked for, because they bring PyTorch.
"""

from typing import TYPE_CHECKING

from sweeps import lazy

if TYPE_CHECKING:
    from vaeexp.launch import job, run

__all__ = ["job", "run"]
__getattr__ = lazy(__name__, dict.fromkeys(__all__, ()))
