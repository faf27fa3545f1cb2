"""Builds convolutional encoders and decoders for images of any size and number of channels, and for
signals.

Shapes: B images, C channels, H × W pixels, L latent dimensions. The decoder goes through the
encoder's sizes backwards. The padding and output padding of each transposed convolution are
computed, so that the output has exactly the image's size.

A signal of T values is an image of height 1. Its kernels are (1, k), its strides (1, s) and its
paddings (0, p), so that its convolutions are those of one dimension and lanes fuse as with images.

Fused lanes are independent of their neighbours to the last bit if all channels are multiples of 4.
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
"""Name in a study file → module for a number of channels. `group` makes gcd(8, channels) groups."""


Pair = tuple[int, int]


def _is_signal(image_shape: ImageShape) -> bool:
    return image_shape[1] == 1


class Block(NamedTuple):
    """A convolution or transposed convolution, its normalisation and an activation."""

    channels: int
    """Channels of the output."""
    kernel: int
    stride: int
    padding: int = 0
    """Padding of a convolution. A transposed convolution ignores it and takes the padding that
    gives the target size.
    """
    normalisation: str = "none"
    bias: bool = True

    def window(self, image_shape: ImageShape) -> tuple[Pair, Pair, Pair]:
        """Return kernel, stride and padding in (height, width)."""
        if _is_signal(image_shape):
            return (1, self.kernel), (1, self.stride), (0, self.padding)
        return (
            (self.kernel, self.kernel),
            (self.stride, self.stride),
            (self.padding, self.padding),
        )


@dataclass(frozen=True, kw_only=True)
class ConvNetwork:
    """An architecture of blocks, with the `encoder` and `decoder` of a `Network`."""

    down: tuple[Block, ...]
    """Blocks of the encoder, starting at the image."""
    up: tuple[Block, ...]
    """Hidden blocks of the decoder, starting at the smallest size."""
    last: Block
    """The decoder's output layer, without normalisation and activation; the image decides its
    channels. A transposed convolution, or a plain one if `up` ends at the image's size."""
    activation: str
    up_activation: str
    head: tuple[int, ...] = ()
    """Widths of the fully connected layers between the blocks and the latent space."""
    signals: bool = False
    """Whether it is built in one dimension for images of height 1."""

    def encoder(
        self, settings: "ModelSettings", image_shape: ImageShape, outputs: int
    ) -> nn.Module:
        """Build the encoder: x [B, C, H, W] → [B, outputs]. Raises ValueError if the images are too
        small.
        """
        features = self._features(image_shape)
        channels = image_shape[0]
        layers: list[nn.Module] = []
        for block in self.down:
            layers += [
                nn.Conv2d(channels, block.channels, *block.window(image_shape), bias=block.bias),
                *_after(block, self.activation),
            ]
            channels = block.channels
        sizes = [prod(features), *self.head, outputs]
        return nn.Sequential(*layers, nn.Flatten(1), *linear_layers(sizes, self.activation))

    def decoder(
        self, settings: "ModelSettings", image_shape: ImageShape, latent_size: int, parameters: int
    ) -> nn.Module:
        """Build the decoder: z [B, L] → [B, parameters·C, H, W]. Raises ValueError if the images
        are too small.
        """
        features = self._features(image_shape)
        sizes = feature_sizes(self.down, image_shape)[::-1]
        widths = [latent_size, *self.head, prod(features)]
        layers = [*linear_layers(widths, self.up_activation), nn.Unflatten(1, features)]
        channels = features[0]
        outputs = parameters * image_shape[0]
        for block, (small, large) in zip(self.up, pairwise(sizes), strict=False):
            layers += [
                _transposed(channels, block, block.window(image_shape), small, large),
                *_after(block, self.up_activation),
            ]
            channels = block.channels
        last = self.last._replace(channels=outputs)
        kernel, stride, padding = last.window(image_shape)
        if len(self.up) == len(self.down):
            layers.append(nn.Conv2d(channels, outputs, kernel, padding=padding))
        else:
            layers.append(_transposed(channels, last, (kernel, stride, padding), *sizes[-2:]))
        return nn.Sequential(*layers)

    def _features(self, image_shape: ImageShape) -> tuple[int, int, int]:
        """Return channels, height and width after the last block of the encoder."""
        if _is_signal(image_shape) and not self.signals:
            raise ValueError(
                f"network: it is one of images; got vectors or signals of {image_shape[2]} values. "
                "Try `network: mlp`, or `network: conv` for signals."
            )
        return (self.down[-1].channels, *feature_sizes(self.down, image_shape)[-1])


def feature_sizes(blocks: Sequence[Block], image_shape: ImageShape) -> list[Pair]:
    """Return (height, width) of the image and after each block.

    Raises ValueError if the input of a block, with its padding, is smaller than the kernel.
    """
    sizes = [image_shape[1:]]
    for number, block in enumerate(blocks, 1):
        windows = list(zip(sizes[-1], *block.window(image_shape), strict=True))
        if any(n + 2 * padding < kernel for n, kernel, _, padding in windows):
            raise ValueError(_too_small(blocks, number, image_shape, sizes[-1]))
        down, across = (
            (n + 2 * padding - kernel) // stride + 1 for n, kernel, stride, padding in windows
        )
        sizes.append((down, across))
    return sizes


def _too_small(blocks: Sequence[Block], number: int, image_shape: ImageShape, size: Pair) -> str:
    """Say that block `number` gets images of this size, which are too small for it."""
    _, height, width = image_shape
    kind, whole, present = (
        ("signals", f"{width} values", f"{size[1]}")
        if _is_signal(image_shape)
        else ("images", f"{height} × {width} pixels", f"{size[0]} × {size[1]}")
    )
    block = blocks[number - 1]
    after = f"after block {number - 1} they are {present}, and " if number > 1 else ""
    return (
        f"channels: {kind} of {whole} are too small for {len(blocks)} blocks: {after}block "
        f"{number} has a kernel of {block.kernel} with padding {block.padding}. Try fewer blocks, "
        f"smaller kernels or strides, more padding, or larger {kind}."
    )


def _transposed(
    channels: int, block: Block, window: tuple[Pair, Pair, Pair], small: Pair, large: Pair
) -> nn.Module:
    """Build the transposed convolution with the block's channels, kernel and stride that leads from
    size `small` to size `large`.
    """
    kernels, strides, _ = window
    # The pixels that a transposed convolution without padding makes too many; too few if negative.
    excess = [
        (n - 1) * stride + kernel - wanted
        for n, wanted, kernel, stride in zip(small, large, kernels, strides, strict=True)
    ]
    down, across = (max(0, -(-pixels // 2)) for pixels in excess)
    extra = (2 * down - excess[0], 2 * across - excess[1])
    return nn.ConvTranspose2d(
        channels, block.channels, kernels, strides, (down, across), extra, bias=block.bias
    )


def _after(block: Block, activation: str) -> list[nn.Module]:
    return [NORMALISATIONS[block.normalisation](block.channels), ACTIVATIONS[activation]()]


def conv_network(settings: "ModelSettings") -> ConvNetwork:
    """Return the architecture of the settings; its decoder mirrors its encoder. Raises ValueError
    if the settings contradict each other.
    """
    kernels, strides, paddings = (
        _per_block(settings, name) for name in ("kernel", "stride", "padding")
    )
    for kernel, padding in zip(kernels, paddings, strict=True):
        if padding >= kernel:
            why = "because the border would see only padding"
            raise ValueError(f"padding: {padding} must be less than the kernel, {kernel}, {why}.")
    # No bias before BatchNorm: BatchNorm removes it, and the optimizer would move it by rounding
    # errors alone.
    after = (settings.normalisation, settings.normalisation != "batch")
    down = [
        Block(*sizes, *after)
        for sizes in zip(settings.channels, kernels, strides, paddings, strict=True)
    ]
    # Each block of the decoder mirrors a block of the encoder and outputs the channels of the block
    # before that.
    up = [
        outer._replace(kernel=inner.kernel, stride=inner.stride) for outer, inner in pairwise(down)
    ]
    return ConvNetwork(
        down=tuple(down),
        up=tuple(reversed(up)),
        last=down[0]._replace(bias=True),
        activation=settings.activation,
        up_activation=settings.activation,
        head=(settings.head,) if settings.head else (),
        signals=True,
    )


def _per_block(settings: "ModelSettings", name: str) -> list[int]:
    """Return the value of a setting for each block, from one value for all blocks or a list with a
    value per block.
    """
    setting = getattr(settings, name)
    count = len(settings.channels)
    values = [setting] if isinstance(setting, int) else list(setting)
    if len(values) not in (1, count):
        raise ValueError(
            f"{name}: got {len(values)} values for {count} blocks; must be 1 or {count}."
        )
    return values * count if len(values) == 1 else values
