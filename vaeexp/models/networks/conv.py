"""Convolutional encoders and decoders for images of any size and number of channels.

Shapes: B images, C channels, H × W pixels, L latent dimensions. The decoder passes through the encoder's sizes backwards:
padding and output padding of each transposed convolution are computed, so that the image comes out at exactly its own size.

Fused lanes are independent of their neighbours to the last bit where channels are multiples of 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd, prod
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from vaeexp.models.networks.mlp import ACTIVATIONS, ImageShape, linear_layers

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

NORMALISATIONS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(gcd(8, channels), channels),
    "none": nn.Identity,
}
"""Name in a study file → module for a number of channels. `group` makes 8 groups, or the most that divide both."""


class Block(NamedTuple):
    """A convolution, or a transposed one, followed by its normalisation and an activation."""

    channels: int
    """That come out."""
    kernel: int
    stride: int
    padding: int = 0
    """Of a convolution; a transposed one takes the padding that leads to the size wanted."""
    normalisation: str = "none"
    bias: bool = True


@dataclass(frozen=True, kw_only=True)
class ConvNetwork:
    """An architecture of blocks, with the `encoder` and `decoder` of a `Network`."""

    down: tuple[Block, ...]
    """The encoder, from the image on."""
    up: tuple[Block, ...]
    """Hidden blocks of the decoder, from the smallest size on."""
    last: Block
    """Makes the image, without normalisation and activation; its `channels` are those of the image. A transposed
    convolution; a plain one where `up` has reached the image's size already."""
    activation: str
    up_activation: str
    head: int | None = None
    """Width of a fully connected layer between the blocks and the latent space."""

    def encoder(self, settings: "ModelSettings", image_shape: ImageShape, outputs: int) -> nn.Module:
        """x [B, C, H, W] → [B, outputs]."""
        features, channels = self._features(image_shape), image_shape[0]
        layers: list[nn.Module] = []
        for block in self.down:
            layers.append(
                nn.Conv2d(channels, block.channels, block.kernel, block.stride, block.padding, bias=block.bias)
            )
            layers += _after(block, self.activation)
            channels = block.channels
        head = [self.head] if self.head else []
        return nn.Sequential(*layers, nn.Flatten(1), *linear_layers([prod(features), *head, outputs], self.activation))

    def decoder(
        self, settings: "ModelSettings", image_shape: ImageShape, latent_size: int, parameters: int
    ) -> nn.Module:
        """z [B, L] → [B, parameters·C, H, W]."""
        features, sizes = self._features(image_shape), feature_sizes(self.down, image_shape)[::-1]
        head = [self.head] if self.head else []
        layers = [*linear_layers([latent_size, *head, prod(features)], self.up_activation), nn.Unflatten(1, features)]
        channels, outputs = features[0], parameters * image_shape[0]
        for block, (small, large) in zip(self.up, pairwise(sizes), strict=False):
            layers += [_transposed(channels, block.channels, block, small, large), *_after(block, self.up_activation)]
            channels = block.channels
        if len(self.up) == len(self.down):
            layers.append(nn.Conv2d(channels, outputs, self.last.kernel, padding=self.last.padding))
        else:
            layers.append(_transposed(channels, outputs, self.last, *sizes[-2:]))
        return nn.Sequential(*layers)

    def _features(self, image_shape: ImageShape) -> tuple[int, int, int]:
        """Channels, height and width after the last block of the encoder."""
        return (self.down[-1].channels, *feature_sizes(self.down, image_shape)[-1])


def conv_encoder(settings: "ModelSettings", image_shape: ImageShape, outputs: int) -> nn.Module:
    """Convolutions as in the settings, then a linear layer: x [B, C, H, W] → [B, outputs]."""
    return _from_settings(settings).encoder(settings, image_shape, outputs)


def conv_decoder(settings: "ModelSettings", image_shape: ImageShape, latent_size: int, parameters: int) -> nn.Module:
    """Mirror of the encoder: z [B, L] → [B, parameters·C, H, W]."""
    return _from_settings(settings).decoder(settings, image_shape, latent_size, parameters)


def feature_sizes(blocks: Sequence[Block], image_shape: ImageShape) -> list[tuple[int, int]]:
    """(height, width) of the image and after each block.

    Raises ValueError where a block has less in front of it than its kernel covers.
    """
    sizes = [image_shape[1:]]
    for number, block in enumerate(blocks, 1):
        height, width = sizes[-1]
        room = min(height, width) + 2 * block.padding
        if room < block.kernel:
            after = f"after block {number - 1} they are {height} × {width}, and " if number > 1 else ""
            raise ValueError(
                f"channels: images of {image_shape[1]} × {image_shape[2]} pixels are too small for {len(blocks)} blocks: "
                f"{after}block {number} has a kernel of {block.kernel} with padding {block.padding}. "
                "Give fewer blocks, smaller kernels or strides, more padding, or larger images."
            )
        down, across = ((n + 2 * block.padding - block.kernel) // block.stride + 1 for n in (height, width))
        sizes.append((down, across))
    return sizes


def _transposed(channels: int, outputs: int, block: Block, small: tuple[int, int], large: tuple[int, int]) -> nn.Module:
    """The transposed convolution of this kernel and stride that leads from one size to the other."""
    # A transposed convolution without padding makes this many pixels too many; fewer than 0: too few.
    excess = [(n - 1) * block.stride + block.kernel - wanted for n, wanted in zip(small, large, strict=True)]
    down, across = (max(0, -(-pixels // 2)) for pixels in excess)
    extra = (2 * down - excess[0], 2 * across - excess[1])
    return nn.ConvTranspose2d(channels, outputs, block.kernel, block.stride, (down, across), extra, bias=block.bias)


def _after(block: Block, activation: str) -> list[nn.Module]:
    return [NORMALISATIONS[block.normalisation](block.channels), ACTIVATIONS[activation]()]


def _from_settings(settings: "ModelSettings") -> ConvNetwork:
    """Raises ValueError where the settings contradict each other."""
    count = len(settings.channels)
    kernels, strides, paddings = (_of_each(settings, name, count) for name in ("kernel", "stride", "padding"))
    for kernel, padding in zip(kernels, paddings, strict=True):
        if padding >= kernel:
            raise ValueError(
                f"padding: {padding} must be less than the kernel, {kernel}: the border would see nothing of the image."
            )
    # BatchNorm takes away what a bias adds, and an optimizer would move that bias by rounding errors alone.
    after = (settings.normalisation, settings.normalisation != "batch")
    down = [Block(*sizes, *after) for sizes in zip(settings.channels, kernels, strides, paddings, strict=True)]
    # Each block on the way up undoes one on the way down, and makes the channels of the one before it.
    up = [outer._replace(kernel=inner.kernel, stride=inner.stride) for outer, inner in pairwise(down)]
    return ConvNetwork(
        down=tuple(down),
        up=tuple(reversed(up)),
        last=down[0]._replace(bias=True),
        activation=settings.activation,
        up_activation=settings.activation,
        head=settings.head,
    )


def _of_each(settings: "ModelSettings", name: str, count: int) -> list[int]:
    """The value of a setting for each block: one for all, or a list with one for each."""
    setting = getattr(settings, name)
    values = [setting] if isinstance(setting, int) else list(setting)
    if len(values) not in (1, count):
        raise ValueError(f"{name}: got {len(values)} values for {count} blocks; must be 1 or {count}.")
    return values * count if len(values) == 1 else values
