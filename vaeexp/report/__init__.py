"""The report of a study: `reports/<study>/README.md` with its plots, `trials.csv` and
`summary.json`, readable on any git host.

The names below are imported when they are first asked for, because they bring matplotlib and
pandas.
"""

import lazy_loader

PAGE = "report.html"
"""The report as one file."""
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
