"""Run any iterative workload as a study: search, confirm, record.

A workload implements `Lanes`; `run_study` does the rest. Nothing here knows VAEs or PyTorch.
`__init__.pyi` lists the names that other packages may import. Each is loaded when it is first used,
so that `import sweeps` costs nothing.
"""

import lazy_loader

__purpose__ = "studies of iterative workloads"
"""Tells this package from the other `sweeps` on PyPI."""

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
