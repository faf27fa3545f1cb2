"""Trains a small classifier of a data set's labelled images; its features judge generated images.

The classifier is trained once on the training images and kept in the cache beside the prepared
data.

Shapes: B images, C channels, H × W pixels, n classes.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaeexp.cache import build_once, cache_folder, read_facts, seal_folder
from vaeexp.data.dataset import TARGETS, draw_thresholds, targets
from vaeexp.evaluation import FEATURES

if TYPE_CHECKING:
    from vaeexp.data import Dataset

_RECIPE = 1  # increased with every change that gives another classifier for the same images
_FILE = "classifier.safetensors"
_BATCH = 128
_LEARNING_RATE = 3e-3
_SEED = 0
_SEEN = 250_000  # images shown in training, repeats counted, for a data set of any size …
_EPOCHS = 30  # … but each image at most this often


class ImageClassifier(nn.Module):
    """Convolutions that halve the image until it is at most 4 × 4, a layer of features, and logits.

    Images with a side of more than 64 pixels are first averaged down to 64.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.sides = min(height, 64), min(width, 64)
        widths = [channels]
        sides = list(self.sides)
        while len(widths) == 1 or max(sides) > 4:
            widths.append(min(8 * 2 ** len(widths), 64))
            sides = [-(-side // 2) for side in sides]
        blocks: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
            blocks += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
        self.body = nn.Sequential(
            *blocks, nn.Flatten(1), nn.Linear(widths[-1] * math.prod(sides), FEATURES)
        )
        self.head = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the activations of the last hidden layer [B, 128], ≥ 0, of targets x [B, C, H, W]
        in [0, 1].
        """
        return F.relu(self.body(F.adaptive_avg_pool2d(x, self.sides)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B, n] of targets x [B, C, H, W]."""
        return self.head(self.features(x))


@dataclass(frozen=True)
class Classifier:
    """A trained classifier in evaluation mode."""

    model: ImageClassifier
    accuracy: float
    """Share of the test images that it classifies correctly, in [0, 1]."""
    binarised: bool
    """Whether it was trained on images of zeros and ones instead of grey levels or colours."""


def open_classifier(dataset: "Dataset", *, say: Callable[[str], None] = print) -> Classifier | None:
    """Return the classifier of this data set's targets, from the user's cache or newly trained.

    None without at least two classes, and where training images or test images have no labels, or
    test images have classes that no training image has: then nothing says that the classifier knows
    the images that it judges. None of vectors and signals, which its convolutions do not suit.

    The classifier depends on the training images, their binarisation, their scale and the version
    of the recipe.
    Among several processes one trains and the others wait. A damaged classifier is trained again.
    `say` announces the training, half a minute for MNIST on one core. Raises UserError when the
    cache cannot be written.
    """
    classes = len(dataset.classes or ())
    if classes < 2 or dataset.image_shape[1] == 1 or not dataset.taught:
        return None
    known = [_RECIPE, dataset.fingerprint, dataset.sizes[0]]
    if not dataset.scaling.bytes:  # the fingerprint is of the numbers before they are scaled
        known.append(dataset.scaling.record())
    key = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
    folder = cache_folder() / "classifiers" / f"{dataset.name}-{key}"
    return build_once(
        folder, partial(_load, dataset, classes), partial(_build, dataset, classes, say)
    )


def _build(dataset: "Dataset", classes: int, say: Callable[[str], None], folder: Path) -> None:
    from safetensors.torch import save

    say(f"{dataset.title}: training a classifier, once, to judge generated images …")
    train = dataset.train
    model = train_classifier(
        train.images, train.labels, dataset.target_kind, classes=classes, seed=_SEED
    )
    test = targets(dataset.test.images, dataset.target_kind, _SEED)
    with torch.no_grad():
        guesses = torch.cat([model(x).argmax(1) for x in test.split(1000)])
    accuracy = int((guesses == _labels(dataset.test.labels)).sum()) / len(test)
    say(f"{dataset.title}: the classifier recognises {100 * accuracy:.1f} % of the test images.")
    (folder / _FILE).write_bytes(
        save({name: tensor.contiguous() for name, tensor in model.state_dict().items()})
    )
    seal_folder(folder, {"accuracy": accuracy, "recipe": _RECIPE})


def _load(dataset: "Dataset", classes: int, folder: Path) -> Classifier | None:
    """Return the classifier in `folder`; None if there is no folder. Raises Damaged."""
    from safetensors.torch import load_file

    if (facts := read_facts(folder)) is None:
        return None
    with torch.random.fork_rng(devices=[]):
        model = ImageClassifier(dataset.image_shape, classes)
    model.load_state_dict(load_file(folder / _FILE))
    return Classifier(model.eval(), facts["accuracy"], binarised=dataset.binarisation != "none")


def train_classifier(
    images: np.ndarray, labels: np.ndarray, kind: str, *, classes: int, seed: int
) -> ImageClassifier:
    """Train a classifier on prepared images [N, C, H, W] of this kind, with labels [N]; return it
    in evaluation mode, on the CPU.

    Cross-entropy, AdamW, one cycle of the learning rate (Smith & Topin 2018) over 250,000 images or
    30 epochs, whichever is less. Dynamic binarisation draws new images in each epoch. Global
    generators stay untouched.
    """
    generator = torch.Generator().manual_seed(seed)
    answers = _labels(labels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = ImageClassifier(tuple(images.shape[1:]), classes)
    epochs = max(1, min(_EPOCHS, round(_SEEN / len(answers))))
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE)
    steps = epochs * -(-min(len(answers), _SEEN) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(answers), generator=generator)[:_SEEN].split(_BATCH):
            # By batches, because the memory map may be larger than memory.
            x = torch.from_numpy(images[rows.numpy()])
            thresholds = draw_thresholds(x, generator) if kind == "dynamic" else None
            loss = F.cross_entropy(model(TARGETS[kind](x, thresholds)), answers[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _labels(labels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(labels).astype(np.int64))
