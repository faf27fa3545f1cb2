"""A notebook's loop: a data set of PIL images, ToTensor, DataLoader, torch.optim. Variant: the
number of loader workers.

The data set does what `torchvision.datasets.MNIST` does for an item, and uses torchvision's
ToTensor; where torchvision is not installed, the same steps written out.
"""

import resource
import sys

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from contenders import BATCH, Stretch, Task, Train, timed
from contenders.digits import training_images
from contenders.models import PlainVAE

__all__ = ["Digits", "open_train"]

try:
    from torchvision.transforms import ToTensor
except ImportError:

    class ToTensor:
        """What torchvision's does with a grey PIL image."""

        def __call__(self, image: Image.Image) -> Tensor:
            levels = torch.from_numpy(np.array(image, copy=True)).view(
                image.size[1], image.size[0], 1
            )
            return levels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class Digits(Dataset):
    """The first `images` digits; an item is (image [1, 28, 28] in [0, 1], label)."""

    def __init__(self, images: int) -> None:
        self.images = torch.from_numpy(training_images()[:images] * 255)
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].numpy())), 0


def open_train(task: Task) -> Train:
    workers, device = int(task.variant), torch.device(task.device)
    model = PlainVAE(task.model).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def epoch(loader: DataLoader) -> None:
        total = 0.0
        for x, _ in loader:
            loss = model(x.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()

    def train(images: int) -> Stretch:
        loader = DataLoader(Digits(images), batch_size=BATCH, shuffle=True, num_workers=workers)
        stretch = timed(task.device, lambda: epoch(loader))
        if task.device == "cpu" and workers:
            stretch = stretch._replace(memory_mb=stretch.memory_mb + workers * _largest_child_mb())
        return stretch

    return train


def _largest_child_mb() -> float:
    """Peak of the largest process that has ended; on Linux what it took over from its parent
    counts.
    """
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
