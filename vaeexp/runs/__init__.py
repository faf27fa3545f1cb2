"""The kept files of a trained trial, and their later uses.

`runs.drawing` and the other modules named here are imported when they are first asked for, because
they bring PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
