"""MLflow as a mirror of a study's storage: one experiment per study, one parent run, one nested run per trial.

MLflow is imported by the process that `mirror` starts (`follower`), and nowhere else.
"""

from sweeps.tracking.follower import State
from sweeps.tracking.mirror import Mirror, mirroring, sync

__all__ = ["Mirror", "State", "mirroring", "sync"]
