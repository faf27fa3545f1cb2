"""A toy workload with two metrics that no trial has both lowest, and studies that search for
both.
"""

from dataclasses import replace

from toy_lanes import ToyLanes
from toy_study import Fixed, toy_study

OBJECTIVES = {"rate": "val/rate", "distortion": "val/distortion"}
SPACE = {
    "x": {"kind": "float", "low": 0.0, "high": 1.0},
    "y": {"kind": "float", "low": 0.0, "high": 1.0},
}
MEDIAN = {"pruner": "median", "pruner_options": {"startup_trials": 3}}
PROMOTION = {"pruner": "promotion", "pruner_options": {"rungs": [1, 2], "factor": 3}}


class Plane(ToyLanes):
    """x trades the two objectives against each other, y makes both worse; both fall as training
    goes on.
    """

    def _advance(self, lane):
        progress = super()._advance(lane)
        if progress.failure:
            return progress
        x, y = lane.trial.params["x"], lane.trial.params["y"]
        late = y + 1 / lane.epoch
        metrics = {"val/rate": 10 * x**2 + late, "val/distortion": 50 * (1 - x) ** 2 + late}
        return replace(
            progress, objective=sum(metrics.values()), metrics={**progress.metrics, **metrics}
        )


def study_of(**options):
    study = toy_study(
        SPACE, **{"sampler": "tpe", "trials": 30, "fixed": Fixed(epochs=4), **MEDIAN, **options}
    )
    return replace(study, objectives=OBJECTIVES)
