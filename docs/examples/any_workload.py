"""Sweep a workload that is no VAE: a linear classifier of scikit-learn on its digits, trained epoch by epoch."""

from pathlib import Path
from types import SimpleNamespace

from pydantic import BaseModel
from sklearn import datasets, linear_model, metrics, model_selection

import sweeps

STUDY = """
question: Which penalty, and how much of it, classifies handwritten digits best?
train: {epochs: 10}
search: {penalty: {values: [l1, l2]}, alpha: {low: 1.0e-5, high: 1.0, log: true}}
pruner: {name: median, startup_trials: 4, warmup_epochs: 2}
budget: {trials: 24}
"""


class Training(BaseModel):
    epochs: int = 10
    penalty: str = "l2"
    alpha: float = 1e-4


class DigitLanes(sweeps.Lanes):
    width = 4  # trials side by side

    def __init__(self) -> None:
        digits = model_selection.train_test_split(*datasets.load_digits(return_X_y=True), random_state=0)
        (self.x, self.x_held, self.y, self.y_held), self.lanes = digits, {}

    def add(self, trial):
        model = linear_model.SGDClassifier(loss="log_loss", random_state=trial.seed % 2**32, **trial.params)
        self.lanes[trial.number] = SimpleNamespace(trial=trial, model=model, epoch=0)

    def replay(self):  # a resumed trial trains again up to its last reported epoch
        for number, lane in self.lanes.items():
            while lane.epoch < lane.trial.epoch:
                next(self.advance([number]))

    def advance(self, numbers):
        for number in numbers:
            lane = self.lanes[number]
            lane.model.partial_fit(self.x / 16, self.y, classes=range(10))
            lane.epoch += 1
            loss = metrics.log_loss(self.y_held, lane.model.predict_proba(self.x_held / 16))
            yield [sweeps.Progress(number=number, epoch=lane.epoch, objective=loss, finished=lane.epoch == 10)]

    def finish(self, ending):
        scores = {number: self.lanes.pop(number).model.score(self.x_held / 16, self.y_held) for number in ending}
        return [sweeps.TrialResult(number=number, metrics={"accuracy": score}) for number, score in scores.items()]


if __name__ == "__main__":
    Path("digits.yaml").write_text(STUDY)
    study = sweeps.load_study("digits.yaml", sections={"train": Training}, epochs="epochs")
    with sweeps.mirroring(study):  # in MLflow
        sweeps.run_study(study, DigitLanes)
    print(sweeps.read_results("mlruns", "digits").trials.sort_values("objective").head().T)
