"""Does vaeexp train as a notebook would? The setting of `mog_mnist`'s row `notebook`, by vaeexp and
by a plain loop.

    python benchmarks/notebook_curve.py --data FOLDER [--epochs 10] [--split-seed 0 1 2] [--seed 0]

The plain loop is written here from the description of the experiment, with nothing of vaeexp:
torch's layers, Adamax, a factorised mixture of 16, batches of 32, targets drawn anew in each epoch,
float32. Both train on the same images of MNIST and are validated on the same targets; initial
weights, order and noise are each one's own. Prints −ELBO in nats per image after each epoch,
training (the mean over the epoch) and validation. How far validation lies from training differs
between splits by much more than between the two.
"""

import argparse
import math
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sweeps.lanes import TrialSpec
from vaeexp.data import open_dataset
from vaeexp.runs.worker import open_source
from vaeexp.settings import DataSettings, ModelSettings, Settings, TrainSettings
from vaeexp.training import fresh_state, open_lane
from vaeexp.training.batches import Source
from vaeexp.training.groups.sequential import SequentialGroup

LATENT, COMPONENTS, BATCH = 20, 16, 32
MODEL = ModelSettings(
    network="mlp",
    hidden=(512, 512),
    activation="leaky_relu",
    latent_size=LATENT,
    prior="factorised_mixture",
    components=COMPONENTS,
)
TRAIN = TrainSettings(batch_size=BATCH, optimizer="adamax", learning_rate=1e-3, epochs=1000)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("VAEEXP_DATA"),
        required=not os.environ.get("VAEEXP_DATA"),
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--split-seed", type=int, nargs="+", default=[0])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for split_seed in options.split_seed:
        data = DataSettings(dataset="mnist", binarisation="dynamic", split_seed=split_seed)
        source = open_source(
            open_dataset(data, root=options.data), torch.device("cpu"), study_seed=0
        )
        ours = Ours(Settings(data=data, model=MODEL, train=TRAIN), source, options.seed)
        plain = Plain(source, options.seed)
        print(
            f"split seed {split_seed}\nepoch   vaeexp: train, validation   plain: train, "
            "validation",
            flush=True,
        )
        for epoch in range(1, options.epochs + 1):
            figures = (*ours.epoch(), *plain.epoch())
            print(f"{epoch:5d}" + "".join(f"{figure:12.3f}" for figure in figures), flush=True)


class Ours:
    """One lane of vaeexp, in the precision that a study takes on a CPU with bf16."""

    def __init__(self, settings: Settings, source: Source, seed: int) -> None:
        lane, vae = open_lane(
            TrialSpec(number=0, params={}, seed=seed),
            settings,
            source.image_shape,
            len(source.train),
        )
        self.group = SequentialGroup(source, "bf16")
        self.group.add(lane, vae, fresh_state(lane, vae, averaged=False))

    def epoch(self) -> tuple[float, float]:
        trained, scored = self.group.train_epoch([0])[0], self.group.evaluate([0], "weights")[0]
        self.group.lanes[0].epoch += 1
        return trained.loss, scored.distortion + scored.rate


class Plain(nn.Module):
    """The notebook's model and its loop."""

    def __init__(self, source: Source, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.images, self.validation = source.train.flatten(1), source.validation.flatten(1)
        self.encoder = _layers(784, 512, 512, 2 * LATENT)
        self.decoder = _layers(LATENT, 512, 512, 784)
        self.means = nn.Parameter(torch.randn(COMPONENTS, LATENT))
        self.log_vars = nn.Parameter(torch.zeros(COMPONENTS, LATENT))
        self.logits = nn.Parameter(torch.zeros(COMPONENTS))
        self.optimizer = torch.optim.Adamax(self.parameters(), lr=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """The negative ELBO of targets x [B, 784], mean over images."""
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        noise = torch.randn_like(mean)
        z = mean + noise * (0.5 * log_var).exp()
        log_q = -0.5 * (log_var + math.log(2 * math.pi) + noise.square()).sum(1)
        squares = (z.unsqueeze(1) - self.means).square() / self.log_vars.exp()  # [B, K, L]
        log_components = -0.5 * (self.log_vars + math.log(2 * math.pi) + squares)
        log_prior = (self.logits.log_softmax(0).unsqueeze(1) + log_components).logsumexp(1).sum(1)
        distortion = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(1)
        return (distortion + log_q - log_prior).mean()

    def epoch(self) -> tuple[float, float]:
        total, batches = 0.0, len(self.images) // BATCH
        for rows in torch.randperm(len(self.images))[: batches * BATCH].split(BATCH):
            loss = self(torch.bernoulli(self.images[rows] / 255))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        with torch.no_grad():
            return total / batches, sum(
                self(x).item() * len(x) for x in self.validation.split(500)
            ) / len(self.validation)


def _layers(*sizes: int) -> nn.Sequential:
    layers = [
        part
        for i in range(len(sizes) - 1)
        for part in (nn.Linear(*sizes[i : i + 2]), nn.LeakyReLU())
    ]
    return nn.Sequential(*layers[:-1])


if __name__ == "__main__":
    main()
