"""Lightning, Optuna and MLflow as their documentation shows them: an objective that fits a
LightningModule with a Trainer.

The data set and the loader are those of the notebook's loop; MLflow's store is an SQLite file in a
temporary folder. Each stretch is one trial of one epoch. The clock runs from the start of the
training epoch to its end: the set-up of the trainer counts until the first step, and checkpoints,
which a trainer writes after each epoch, do not count.
"""

import logging
import os
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from contenders import BATCH, Stretch, Task, Train
from contenders.models import PlainVAE
from contenders.notebook import Digits
from vaeexp.training.device import peak_memory_mb

__all__ = ["open_train"]


def open_train(task: Task) -> Train:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import lightning
    import optuna
    from lightning.pytorch.loggers import MLFlowLogger

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    class LitVAE(lightning.LightningModule):
        def __init__(self, learning_rate: float) -> None:
            super().__init__()
            self.learning_rate, self.model = learning_rate, PlainVAE(task.model)

        def training_step(self, batch, batch_index):
            loss = self.model(batch[0])
            self.log("train_loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    class Clock(lightning.Callback):
        began = ended = 0.0

        def on_train_epoch_start(self, trainer, module) -> None:
            self.began = time.time()

        def on_train_epoch_end(self, trainer, module) -> None:
            if task.device == "cuda":
                torch.cuda.synchronize()
            self.ended = time.time()

    folder = Path(tempfile.mkdtemp(prefix="lightning-"))
    study = optuna.create_study()

    def train(images: int) -> Stretch:
        clock = Clock()

        def objective(trial: "optuna.Trial") -> float:
            logger = MLFlowLogger(
                experiment_name="vae", tracking_uri=f"sqlite:///{folder}/mlflow.db"
            )
            trainer = lightning.Trainer(
                max_epochs=1,
                accelerator=task.device,
                devices=1,
                logger=logger,
                callbacks=[clock],
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=folder,
            )
            loader = DataLoader(Digits(images), batch_size=BATCH, shuffle=True)
            trainer.fit(LitVAE(trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)), loader)
            return trainer.callback_metrics["train_loss"].item()

        study.optimize(objective, n_trials=1)
        return Stretch(clock.began, clock.ended, peak_memory_mb(torch.device(task.device)))

    return train
