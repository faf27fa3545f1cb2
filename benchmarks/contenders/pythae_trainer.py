"""pythae's trainer with our two networks, its own loss (BCE of sigmoid outputs) and its own data
set and loader.

A stretch is one of its training epochs (`train_step`); validation and checkpoints, which come
between, do not count.
"""

import logging
import tempfile

import torch

from contenders import BATCH, Stretch, Task, Train, timed
from contenders.digits import training_images
from contenders.models import LATENT_SIZES, PlainVAE

__all__ = ["open_train"]


def open_train(task: Task) -> Train:
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    logging.getLogger("pythae").setLevel(logging.WARNING)

    class Encoder(BaseEncoder):
        def __init__(self, plain: PlainVAE) -> None:
            super().__init__()
            self.layers = plain.encoder

        def forward(self, x):
            mean, log_var = self.layers(x).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_var)

    class Decoder(BaseDecoder):
        def __init__(self, plain: PlainVAE) -> None:
            super().__init__()
            self.layers = plain.decoder

        def forward(self, z):
            return ModelOutput(reconstruction=self.layers(z).sigmoid())

    plain = PlainVAE(task.model)
    size = VAEConfig(
        input_dim=(1, 28, 28), latent_dim=LATENT_SIZES[task.model], reconstruction_loss="bce"
    )
    model = VAE(size, Encoder(plain), Decoder(plain))
    config = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(prefix="pythae-"),
        per_device_train_batch_size=BATCH,
        learning_rate=1e-3,
        optimizer_cls="Adam",
        no_cuda=task.device == "cpu",
    )

    def train(images: int) -> Stretch:
        data = BaseDataset(
            torch.from_numpy(training_images()[:images])[:, None], torch.zeros(images)
        )
        trainer = BaseTrainer(model, data, training_config=config)
        trainer.prepare_training()
        return timed(task.device, lambda: trainer.train_step(1))

    return train
