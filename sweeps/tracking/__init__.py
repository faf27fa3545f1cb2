"""Tracking in MLflow: one experiment per study, one parent run, one nested run per trial.

`tracker` is what the driver sees; it only appends to an outbox. `recorder` applies what was appended to MLflow, in a
thread of its own. MLflow is imported there and in `models`, and nowhere else.
"""

from sweeps.tracking.tracker import Description, Pending, Tracker

__all__ = ["Description", "Pending", "Tracker"]
