"""The example of a model card: numbers of files to codes and back, in Python without vaeexp."""

from collections.abc import Mapping
from typing import Any

from vaeexp.data.formats.levels import WHITE

_ARRAYS = """\
def array(name):  # NaN where there is no limit
    shape, numbers = preparation["scaling"][name]
    return np.array(numbers, float).reshape(shape)


offset, scale, low, high = map(array, ("offset", "scale", "low", "high"))


def to_targets(numbers):
    cut = np.fmin(np.fmax(np.asarray(numbers, float), low), high)
    return ((cut - offset) / scale).astype(np.float32)


def to_numbers(targets):
    return np.asarray(targets, float) * scale + offset


"""
_BYTES = """\
white = preparation["white"]


def to_targets(numbers):
    levels = {levels}
    return (levels / 255).astype(np.float32)


def to_numbers(targets):
    return np.asarray(targets, float) * white


"""
_ONNX = """\
encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
{moments} = encoder.run(None, {{"x": to_targets(numbers)}})
[picture] = decoder.run(None, {{"z": mean}})
reconstructions = to_numbers(picture)
"""
_TORCH = """\
encoder = torch.export.load("encoder.pt2").module()
decoder = torch.export.load("decoder.pt2").module()
with torch.no_grad():
    {moments} = encoder(torch.from_numpy(to_targets(numbers)))
    picture = decoder(mean)
reconstructions = to_numbers(picture.numpy())
"""


def example_of(preparation: Mapping[str, Any], *, stochastic: bool, onnx: bool) -> str:
    """Return the example.

    Args:
        preparation: as in preparation.json.
        stochastic: whether the encoder gives a log-variance, too.
        onnx: for ONNX Runtime; else for PyTorch.
    """
    shape = [2, *preparation["shape"]]
    given = preparation["scaling"]["kind"] == "bytes"
    draw = "np.random.default_rng(0)"
    made = f"offset + scale * {draw}.random({tuple(shape)})"
    if given:
        made = f"{draw}.integers(0, white + 1, {tuple(shape)})"
    moments = "mean, log_variance" if stochastic else "[mean]"
    text = (
        "import json\n\n"
        "import numpy as np\n"
        f"import {'onnxruntime' if onnx else 'torch'}\n\n"
        'with open("preparation.json", encoding="utf-8") as file:\n'
        "    preparation = json.load(file)\n"
        f"{chr(10) * (1 if given else 3)}"
        f"{_BYTES.format(levels=_levels(preparation)) if given else _ARRAYS}"
        f"# Put your numbers here{_layout(preparation)}\n"
        f"numbers = {made}\n"
        f"{(_ONNX if onnx else _TORCH).format(moments=moments)}"
    )
    return text.rstrip("\n").replace("\n\n\n\n", "\n\n\n")


def _levels(preparation: Mapping[str, Any]) -> str:
    """Return the levels 0 to 255 of numbers whose white is `white`, in Python."""
    if preparation["white"] > WHITE:
        return "np.minimum(numbers, white) >> (int(white).bit_length() - 8)"
    return "np.rint(np.minimum(numbers, white) * (255 / white))"


def _layout(preparation: Mapping[str, Any]) -> str:
    """Say how what people have becomes [N, C, H, W]."""
    channels, height, width = preparation["shape"]
    if preparation["features"] is not None:
        return f': frame[preparation["features"]].to_numpy().reshape(-1, 1, 1, {width})'
    if preparation["kept"] is not None:
        return f': array[:, preparation["kept"]].reshape(-1, 1, 1, {width})'
    if channels == 1:
        return f": array.reshape(-1, 1, {height}, {width})"
    return ": images [N, C, H, W]; of [N, H, W, C], images.transpose(0, 3, 1, 2)"
