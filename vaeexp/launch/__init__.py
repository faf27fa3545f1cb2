"""The command sweep's additions to the driver: execution, plan, job, progress.

`launch.job` and `launch.run` are imported when they are first asked for, because they bring
PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
