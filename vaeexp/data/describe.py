"""What will be done to the images, in lines for people: shown before anything is trained."""

from vaeexp.data.dataset import Dataset

__all__ = ["describe_plan"]

_BINARISATION = {
    "static": "each pixel drawn once, black or white",
    "dynamic": "each pixel drawn anew in every epoch, black or white",
    "none": "values in [0, 1]",
}


def describe_plan(dataset: Dataset) -> list[str]:
    """Files, size, channels, classes, split and memory of a data set, one line each. No image is read."""
    train, validation, test = dataset.sizes
    channels, height, width = dataset.image_shape
    lines = list(dataset.notes) or [f"Images: {height} × {width} pixels, channels: {channels}"]
    if dataset.classes and not dataset.notes:
        lines.append(f"Classes: {len(dataset.classes)}")
    lines.append(
        f"Sizes: {train:,} images to train on, {validation:,} to validate, {test:,} to test; split seed {dataset.split_seed}"
    )
    lines.append(f"Targets: {_BINARISATION[dataset.binarisation]}")
    megabytes = train * channels * height * width / 2**20
    lines.append(f"Memory: {megabytes:,.1f} MiB of images to train on, as bytes")
    return lines
