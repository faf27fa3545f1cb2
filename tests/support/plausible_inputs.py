"""Plausible inputs: folders, arrays and images as people have them, drawn from a seed, each with
the truth about it.
"""

import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Draw = np.random.Generator


@dataclass(kw_only=True)
class Member:
    """An input and the truth about it.

    path: given as `--data`.
    description: one line for people.
    pictures: what a person sees, float [N, H, W] or [N, H, W, 3] from 0 to 1.
    size: what they are resized to, if at all.
    splits: train, val or test of each picture; empty where the input has no splits.
    labels: name of the class of each picture, None without one; empty where the input has none.
    plain: whether it must be read, without a warning; else it may be refused or doubted.
    doubted: whether it must be refused or doubted.
    said: words that the notes must hold, because something is left out.
    """

    path: Path
    description: str
    pictures: np.ndarray
    dataset: str = "folder"
    splits: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    plain: bool = False
    doubted: bool = False
    said: str = ""


def pictures(draw: Draw, count: int, *, colour: bool = False, side: int = 8) -> np.ndarray:
    """Soft random pictures that use the whole range from 0 to 1, all different, float [count, side,
    side(, 3)].
    """
    coarse = draw.random((count, 4, 4, 3 if colour else 1))
    soft = coarse.repeat(side // 4, axis=1).repeat(side // 4, axis=2)
    soft = (soft + np.roll(soft, 1, axis=1) + np.roll(soft, 1, axis=2)) / 3
    low, high = soft.min(axis=(1, 2, 3), keepdims=True), soft.max(axis=(1, 2, 3), keepdims=True)
    stretched = (soft - low) / (high - low)
    return stretched if colour else stretched[..., 0]


def bytes_of(values: np.ndarray) -> np.ndarray:
    return np.rint(values * 255).astype(np.uint8)


def _pick(draw: Draw, *choices: Any) -> Any:
    return choices[int(draw.integers(len(choices)))]


def _save(path: Path, pixels: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def _ending(draw: Draw) -> tuple[str, dict[str, Any]]:
    name = _pick(draw, ".png", ".PNG", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".pgm")
    options = {"quality": 95, "subsampling": 0} if name in (".jpg", ".jpeg") else {}
    return name, {"lossless": True} if name == ".webp" else options


# ---- folders ----

_SPLITS = (
    ("train", "test"),
    ("train", "val", "test"),
    ("Train", "Test"),
    ("TRAIN", "VAL"),
    ("train", "valid"),
    ("train", "validation", "test"),
    ("training", "testing"),
    ("training_set", "test_set"),
    ("seg_train", "seg_test"),
    ("train", "eval"),
    ("train", "dev"),
    ("images/training", "images/validation"),
    ("trainset", "testset"),
    ("train_images", "test_images"),
    ("train-set", "test-set"),
    ("seg_train/seg_train", "seg_test/seg_test"),
    ("data/train", "data/test"),
    ("train/images", "test/images"),
    ("Training", "Validation", "Testing"),
)
_COMMON = 6
"""Of these names, the first are those that everybody has."""


def _kind(folder: str) -> str:
    """Return the split that a folder name means."""
    name = folder.lower()
    return (
        "train"
        if "train" in name
        else "val"
        if any(word in name for word in ("valid", "val", "dev")) and "eval" not in name
        else "test"
    )


def folder_tree(draw: Draw, root: Path) -> Member:
    """Splits, classes, nesting, endings and modes."""
    at = int(draw.integers(len(_SPLITS)))
    folders = _pick(draw, ("",), _SPLITS[at], _SPLITS[at])
    classes = _pick(
        draw,
        (),
        ("cat", "dog"),
        ("0", "1", "2"),
        ("é à", "b'c", "x (1)"),
        ("n01443537", "n01629819"),
    )
    above = _pick(draw, "", "", "archive/", "data set/images/")
    (ending, options), colour = _ending(draw), bool(draw.integers(2)) or False
    colour = colour and ending != ".pgm"
    count = 12 * len(folders) + 12
    seen = pictures(draw, count, colour=colour)
    splits, labels = [], []
    for number, picture in enumerate(seen):
        folder = folders[number % len(folders)]
        label = classes[number // len(folders) % len(classes)] if classes else None
        splits += [_kind(folder)] if folder else []
        labels += [label] if label else []
        _save(
            root / above / folder / (label or "") / f"img {number}{ending}",
            bytes_of(picture),
            **options,
        )
    return Member(
        path=root,
        description=f"folders {folders}, classes {classes}, below '{above}', {ending}, "
        f"{'colour' if colour else 'grey'}",
        pictures=seen,
        splits=splits,
        labels=labels,
        plain=at < _COMMON or folders == ("",),
    )


def flat_split(draw: Draw, root: Path) -> Member:
    """A split without class folders beside a train/ with classes."""
    flat, inner = _pick(draw, "val", "test"), _pick(draw, "", "images")
    seen, splits, labels = pictures(draw, 36), [], []
    for number, picture in enumerate(seen):
        split, label = ("train", ("a", "b", "c")[number % 3]) if number < 24 else (flat, None)
        folder = root / split / (label or inner)
        if label and inner:
            folder = folder / "images"
        _save(folder / f"{number}.png", bytes_of(picture))
        splits.append(split)
        labels.append(label)
    return Member(
        path=root,
        description=f"{flat}/{inner} without classes",
        pictures=seen,
        splits=splits,
        labels=labels,
    )


def extra_files(draw: Draw, root: Path) -> Member:
    """Files and folders that are no images: an empty class, system files, masks of macOS, lists."""
    seen = pictures(draw, 30)
    for number, picture in enumerate(seen):
        _save(root / ("ant", "bee")[number % 2] / f"{number}.png", bytes_of(picture))
    extra = _pick(
        draw,
        "empty class",
        ".DS_Store",
        "__MACOSX",
        "Thumbs.db",
        "labels.csv",
        ".ipynb_checkpoints",
    )
    if extra == "empty class":
        (root / "cow").mkdir()
    elif extra in ("__MACOSX", ".ipynb_checkpoints"):
        (root / extra / "ant").mkdir(parents=True)
        (root / extra / "ant" / "._0.png").write_bytes(b"\0\5\26\7")
    else:
        (root / "ant" / extra).write_bytes(b"not an image")
    labels = [("ant", "bee")[number % 2] for number in range(30)]
    plain = extra in (".DS_Store", "Thumbs.db", "labels.csv")
    return Member(
        path=root, description=f"classes with {extra}", pictures=seen, labels=labels, plain=plain
    )


_FORMATS = (".heic", ".avif", ".jp2")


def unread(draw: Draw, root: Path) -> Member:
    """Some files that cannot be read, or have the ending of another format."""
    seen = pictures(draw, 30)
    what = _pick(draw, "cut", "empty", "text", *_FORMATS, ".jfif", ".jpe", "wrong ending")
    for number, picture in enumerate(seen):
        path = root / f"{number:02d}.png"
        _save(path, bytes_of(picture))
        if number % 5:
            continue
        if what in (".jfif", ".jpe"):
            Image.open(path).save(path.with_suffix(what), format="JPEG", quality=98)
            path.unlink()
        elif what == "wrong ending":
            Image.open(path).save(path, format="BMP")
        elif what in _FORMATS:
            path.rename(path.with_suffix(what)).write_bytes(os.urandom(200))
        else:
            content = {"cut": path.read_bytes()[:60], "empty": b"", "text": b"<html>404</html>"}[
                what
            ]
            path.write_bytes(content)
    read = what in (".jfif", ".jpe", "wrong ending")
    kept = seen if read else np.delete(seen, np.arange(0, 30, 5), axis=0)
    said = "" if read else what if what in _FORMATS else "cannot be read"
    member = Member(
        path=root, description=f"every fifth file: {what}", pictures=kept, plain=read, said=said
    )
    member.settings = {} if read or draw.integers(2) else {"unreadable_share": 0.5}
    return member


def deep_files(draw: Draw, root: Path) -> Member:
    """Whole numbers of 16 or 32 bits that use 8, 10, 12, 14 or 16 of them."""
    bits, ending = _pick(draw, 8, 10, 12, 14, 16), _pick(draw, ".png", ".tif", ".tiff")
    kind = np.int32 if ending != ".png" and draw.integers(3) == 0 else np.uint16
    seen = pictures(draw, 30)
    for number, picture in enumerate(seen):
        _save(root / f"{number}{ending}", np.rint(picture * (2**bits - 1)).astype(kind))
    description = f"{np.dtype(kind)} {ending} files with {bits} bits"
    return Member(path=root, description=description, pictures=seen, plain=kind is np.uint16)


def masks(draw: Draw, root: Path) -> Member:
    """Masks with the values 0 to k, of files or arrays."""
    most = _pick(draw, 1, 2, 3, 5, 9, 15, 255)
    form = _pick(draw, "png", "npy", "1-bit png", "bool npy")
    most = 1 if form in ("1-bit png", "bool npy") else most
    levels = np.rint(pictures(draw, 40) * (1 if most == 255 else most))
    seen = levels / levels.max()
    stored = (levels * (255 if most == 255 else 1)).astype(np.uint8)
    if form == "npy":
        np.save(root / "masks.npy", stored)
    elif form == "bool npy":
        np.save(root / "masks.npy", stored > 0)
    else:
        for number, picture in enumerate(stored):
            _save(root / f"{number}.png", picture > 0 if form == "1-bit png" else picture)
    path, dataset = (root / "masks.npy", "arrays") if "npy" in form else (root, "folder")
    return Member(
        path=path,
        dataset=dataset,
        description=f"masks of 0 to {most}, {form}",
        pictures=seen,
        plain=True,
    )


def see_through(draw: Draw, root: Path) -> Member:
    """Shapes in the alpha channel, on white when they are shown."""
    mode = _pick(draw, "RGBA", "LA", "palette", "opaque")
    alpha = (pictures(draw, 30) > 0.5).astype(float)
    alpha = np.ones_like(alpha) if mode == "opaque" else alpha
    ink = pictures(draw, 30, colour=mode in ("RGBA", "opaque")) * 0.6
    wide = alpha[..., None] if ink.ndim == 4 else alpha
    seen = ink * wide + (1 - wide)
    for number in range(30):
        layers = [
            *np.moveaxis(np.atleast_3d(bytes_of(ink[number])), -1, 0),
            bytes_of(alpha[number]),
        ]
        image = Image.fromarray(np.stack(layers, axis=-1), "RGBA" if len(layers) == 4 else "LA")
        if mode == "palette":
            image = Image.fromarray(
                np.where(alpha[number] > 0, bytes_of(ink[number]), 255).astype(np.uint8)
            ).convert("P")
            image.save(root / f"{number}.png", transparency=255)
            continue
        image.save(root / f"{number}.png")
    if mode == "palette":
        seen = np.where(alpha > 0, bytes_of(ink) / 255, 1.0)
    return Member(path=root, description=f"transparency: {mode}", pictures=seen)


def modes(draw: Draw, root: Path) -> Member:
    """Palettes, CMYK, YCbCr, rotated by EXIF, animated, several pages."""
    kind = _pick(
        draw,
        "palette",
        "grey palette",
        "CMYK",
        "rotated",
        "animated gif",
        "pages",
        "float tiff",
        "grey as RGB",
    )
    colour = kind in ("palette", "CMYK", "rotated")
    seen = pictures(draw, 30, colour=colour)
    for number, picture in enumerate(bytes_of(seen)):
        image = Image.fromarray(picture)
        if kind == "palette":
            image.quantize(256).save(root / f"{number}.png")
        elif kind == "grey palette":
            image.convert("P").save(root / f"{number}.gif")
        elif kind == "CMYK":
            image.convert("CMYK").save(root / f"{number}.tif")
        elif kind == "rotated":
            exif = Image.Exif()
            exif[0x0112] = 6
            Image.fromarray(np.rot90(picture, 1).copy()).save(root / f"{number}.png", exif=exif)
        elif kind == "float tiff":
            Image.fromarray(seen[number].astype(np.float32)).save(root / f"{number}.tif")
        elif kind == "grey as RGB":
            image.convert("RGB").save(root / f"{number}.png")
        else:
            others = [Image.fromarray(255 - picture)]
            image.save(
                root / f"{number}.{'gif' if kind == 'animated gif' else 'tif'}",
                save_all=True,
                append_images=others,
            )
    said = "frame" if kind in ("animated gif", "pages") else ""
    return Member(path=root, description=f"mode: {kind}", pictures=seen, said=said)


def sizes(draw: Draw, root: Path) -> Member:
    """Files of several sizes, with and without the setting that makes them one."""
    asked = _pick(draw, None, 8, 8)
    seen = pictures(draw, 30)
    for number, picture in enumerate(bytes_of(seen)):
        scale = 1 + number % 3
        _save(root / f"{number}.png", picture.repeat(scale, axis=0).repeat(scale, axis=1))
    settings = {"image_size": asked} if asked else {}
    return Member(
        path=root,
        description=f"three sizes, image_size {asked}",
        pictures=seen,
        settings=settings,
        plain=bool(asked),
    )


def doubles(draw: Draw, root: Path) -> Member:
    """Test images that are training images, as copies, links or arrays."""
    way = _pick(draw, "copies", "hard links", "re-encoded", "arrays")
    seen = pictures(draw, 30)
    again = np.concatenate([seen, seen[:10]])
    splits = ["train"] * 30 + ["test"] * 10
    if way == "arrays":
        np.savez(root / "mine.npz", train_images=bytes_of(seen), test_images=bytes_of(seen[:10]))
        return Member(
            path=root / "mine.npz",
            dataset="arrays",
            description="doubles: arrays",
            pictures=again,
            splits=splits,
            doubted=True,
        )
    for number, picture in enumerate(seen):
        path, other = root / "train" / f"{number}.png", root / "test" / f"other{number}.png"
        _save(path, bytes_of(picture))
        other.parent.mkdir(exist_ok=True)
        if number < 10 and way == "copies":
            shutil.copy(path, other)
        elif number < 10 and way == "hard links":
            os.link(path, other)
        elif number < 10:
            Image.open(path).save(other.with_suffix(".tif"))
    return Member(
        path=root, description=f"doubles: {way}", pictures=again, splits=splits, doubted=True
    )


# ---- arrays ----


def _arrays(
    root: Path, description: str, seen: np.ndarray, arrays: dict[str, Any], **facts: Any
) -> Member:
    path = root / "mine.npz"
    np.savez(path, **arrays)
    return Member(
        path=path, dataset="arrays", description=f"npz: {description}", pictures=seen, **facts
    )


def plain_arrays(draw: Draw, root: Path) -> Member:
    """Types and orders that are read, with and without splits and labels."""
    kind = _pick(draw, "u1", "f2", "f4", "f8", ">f4", ">f8")
    colour, axis, fortran = bool(draw.integers(2)), bool(draw.integers(2)), bool(draw.integers(2))
    names = _pick(
        draw, ("images", "labels"), ("x", "y"), ("{}_images", "{}_labels"), ("x_{}", "y_{}"), None
    )
    seen = pictures(draw, 40, colour=colour)
    stored = bytes_of(seen) if kind == "u1" else seen.astype(kind)
    stored = stored[..., None] if axis and not colour else stored
    stored = np.asfortranarray(stored) if fortran else stored
    description = f"{kind} {list(stored.shape)}, {'Fortran' if fortran else 'C'} order, {names}"
    if names is None:
        np.save(root / "mine.npy", stored)
        return Member(
            path=root / "mine.npy",
            dataset="arrays",
            description=f"npy: {description}",
            pictures=seen,
            plain=True,
        )
    labels = draw.integers(0, 4, 40)
    facts = {"labels": [str(label) for label in labels], "plain": True}
    if "{}" not in names[0]:
        return _arrays(root, description, seen, {names[0]: stored, names[1]: labels}, **facts)
    arrays, splits = {}, ["train"] * 24 + ["val"] * 6 + ["test"] * 10
    for split, part in (("train", slice(24)), ("val", slice(24, 30)), ("test", slice(30, 40))):
        arrays |= {names[0].format(split): stored[part], names[1].format(split): labels[part]}
    return _arrays(root, description, seen, arrays, splits=splits, **facts)


def label_kinds(draw: Draw, root: Path) -> Member:
    """Labels of any kind: what names one class for each image, and what does not."""
    seen, numbers = pictures(draw, 40), np.arange(40) % 4
    words = np.array(["bird", "cat", "dog", "é"])
    kinds: dict[str, tuple[np.ndarray, list[str]]] = {
        "float": (numbers.astype(float), [str(number) for number in numbers]),
        "one-hot": (np.eye(4)[numbers], [str(number) for number in numbers]),
        "one-hot bytes": (np.eye(4, dtype=np.uint8)[numbers], [str(number) for number in numbers]),
        "column": (numbers[:, None], [str(number) for number in numbers]),
        "bool": (numbers > 1, [str(number > 1) for number in numbers]),
        "text": (words[numbers], words[numbers].tolist()),
        "bytes": (np.char.encode(words[numbers], "utf-8"), words[numbers].tolist()),
        "large ids": (numbers * 10**9, [str(number * 10**9) for number in numbers]),
        "±1": (np.where(numbers % 2, 1, -1), [str(sign) for sign in np.where(numbers % 2, 1, -1)]),
        "uint64": (numbers.astype(np.uint64), [str(number) for number in numbers]),
        "multi-label": (draw.integers(0, 2, (40, 14)), []),
        "−1 for none": (numbers - 1, []),
        "NaN for none": (np.where(numbers, numbers, np.nan), []),
        "ages": (draw.normal(40, 9, 40), []),
        "ids": (draw.permutation(40) * 10**7, []),
        "file names": (np.array([f"{number}.png" for number in range(40)]), []),
        "masks": (seen > 0.5, []),
        "soft": (np.full((40, 4), 0.25), []),
        "boxes": (draw.random((40, 5, 4)), []),
        "dates": (np.full(40, "2026-01-01", "M8[s]"), []),
    }
    name = _pick(draw, *kinds)
    stored, labels = kinds[name]
    arrays = {"images": bytes_of(seen), "labels": stored}
    said = "" if labels else "Labels left out"
    return _arrays(root, f"labels {name}", seen, arrays, labels=labels, plain=True, said=said)


def half_labels(draw: Draw, root: Path) -> Member:
    """Labels of one split alone."""
    seen, names = pictures(draw, 40), np.array(["0", "1", "2"])
    numbers, how = np.arange(30) % 3, _pick(draw, "absent", "−1", "NaN")
    arrays = {"x_train": bytes_of(seen[:30]), "y_train": numbers, "x_test": bytes_of(seen[30:])}
    if how != "absent":
        arrays["y_test"] = np.full(10, -1 if how == "−1" else np.nan)
    splits = ["train"] * 30 + ["test"] * 10
    facts = {
        "splits": splits,
        "labels": names[numbers].tolist(),
        "plain": True,
        "said": "none for the test images",
    }
    return _arrays(root, f"labels of train alone, of test {how}", seen, arrays, **facts)


def wrong_labels(draw: Draw, root: Path) -> Member:
    """Not as many labels as images."""
    seen, count = pictures(draw, 40), int(_pick(draw, 39, 41, 1, 80))
    stored = _pick(draw, np.arange(count) % 3, np.eye(3)[np.arange(count) % 3])
    return _arrays(
        root,
        f"{list(stored.shape)} labels for 40 images",
        seen,
        {"images": bytes_of(seen), "labels": stored},
        doubted=True,
    )


def ranges(draw: Draw, root: Path) -> Member:
    """Floats and whole numbers of any range; what is read has the range from 0 to 1."""
    seen = pictures(draw, 40)
    kinds = {
        "a hair beyond": (seen * (1 + 1e-6) - 1e-9).astype(np.float32),
        "1 + 1 ulp": np.where(seen == 1, np.nextafter(np.float32(1), np.float32(2)), seen).astype(
            np.float32
        ),
        "float16": seen.astype(np.float16),
        "−1 to 1": seen * 2 - 1,
        "0 to 255": np.rint(seen * 255),
        "0 to 255 int64": np.rint(seen * 255).astype(np.int64),
        "0 and 1 int64": (seen > 0.5).astype(np.int64),
        "standardised": (seen - 0.5) / 0.3,
        "divided by 255 twice": seen / 255,
        "percent": seen * 100,
        "uint16": np.rint(seen * 65_535).astype(np.uint16),
        "12 bits": np.rint(seen * 4095).astype(np.uint16),
        "int8": (bytes_of(seen) // 2).astype(np.int8),
        "negative int": np.rint(seen * 255).astype(np.int16) - 128,
        "complex": seen * 1j,
        "text": seen.astype(str),
    }
    name = _pick(draw, *kinds)
    plain = name in ("a hair beyond", "1 + 1 ulp", "float16", "uint16", "12 bits")
    # Zeros and ones are black and white, whatever they were made of.
    read = kinds[name].astype(np.float64) if name == "0 and 1 int64" else seen
    return _arrays(root, f"range {name}", read, {"images": kinds[name]}, plain=plain)


def not_finite(draw: Draw, root: Path) -> Member:
    """NaN or infinity somewhere."""
    seen, value = pictures(draw, 40), _pick(draw, np.nan, np.inf, -np.inf)
    stored = seen.astype(_pick(draw, np.float16, np.float32, np.float64))
    stored.reshape(-1)[draw.integers(0, stored.size, int(draw.integers(1, 9)))] = value
    return _arrays(root, f"some {value} in {stored.dtype}", seen, {"images": stored}, doubted=True)


def axes(draw: Draw, root: Path) -> Member:
    """Other orders of axes, rows of pixels, films, other numbers of channels."""
    colour = bytes_of(pictures(draw, 40, colour=True))
    grey = bytes_of(pictures(draw, 40))
    four = np.concatenate([colour, colour[..., :1]], axis=-1)
    two = np.stack([grey, 255 - grey], axis=-1)
    rows = {"rows of grey": grey.reshape(40, -1), "rows of colour": colour.reshape(40, -1)}
    read = {"N, H, W, 4": four, "N, H, W, 2": two}
    kinds = {
        "N, C, H, W": colour.transpose(0, 3, 1, 2),
        "N, 1, H, W": grey[:, None],
        **rows,
        **read,
        "films": colour.reshape(8, 5, 8, 8, 3),
        "a number": np.array(3),
        "no image": grey[:0],
    }
    name = _pick(draw, *kinds)
    seen = read.get(name, grey)
    seen = rows[name][:, None] if name in rows else seen
    plain = name in rows or name in read
    arrays = {"images": kinds[name]}
    return _arrays(root, f"axes {name}", seen / 255, arrays, plain=plain, doubted=not plain)


def names(draw: Draw, root: Path) -> Member:
    """Arrays of other names, and names that exclude each other."""
    seen = bytes_of(pictures(draw, 40))
    kinds = {
        "imgs": {"imgs": seen, "latents_values": np.zeros((40, 6))},
        "arr_0": {"arr_0": seen, "arr_1": np.arange(40) % 3},
        "data": {"data": seen, "target": np.arange(40) % 3},
        "test alone": {"test_images": seen},
        "both": {"images": seen, "train_images": seen},
        "none": {},
        "objects": {"images": np.array([*[seen[0]] * 9, seen[0][:3]], object)},
        "other sizes": {"train_images": seen, "test_images": seen[:9, :7]},
        "another depth": {
            "train_images": seen,
            "test_images": bytes_of(pictures(draw, 9, colour=True)),
        },
        "another type": {"train_images": seen, "test_images": pictures(draw, 9)},
        "other masks": {
            "train_images": seen,
            "test_images": (pictures(draw, 9) > 0.5).astype(np.uint8),
        },
    }
    name = _pick(draw, *kinds)
    return _arrays(
        root, f"names {name}: {', '.join(kinds[name])}", seen / 255, kinds[name], doubted=True
    )


def nothing_to_see(draw: Draw, root: Path) -> Member:
    """Constant images, or almost."""
    level, form = int(_pick(draw, 0, 1, 128, 255)), _pick(draw, "npy", "png")
    stored = np.full((30, 8, 8), level, np.uint8)
    if form == "npy":
        np.save(root / "mine.npy", stored)
    else:
        for number, picture in enumerate(stored):
            _save(root / f"{number}.png", picture)
    path, dataset = (root / "mine.npy", "arrays") if form == "npy" else (root, "folder")
    return Member(
        path=path,
        dataset=dataset,
        description=f"constant {level}, {form}",
        pictures=stored / 255,
        doubted=True,
    )


def idx_files(draw: Draw, root: Path) -> Member:
    """IDX files of one's own under the names of MNIST."""
    seen, labels = pictures(draw, 40, side=28), draw.integers(0, 10, 40)
    folder = root / _pick(draw, "MNIST/raw", "raw", "")
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", slice(30)), ("t10k", slice(30, 40))):
        for kind, array in (
            ("images-idx3", bytes_of(seen[part])),
            ("labels-idx1", labels[part].astype(np.uint8)),
        ):
            header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
            (folder / f"{name}-{kind}-ubyte").write_bytes(header + array.tobytes())
    splits = ["train"] * 30 + ["test"] * 10
    names = [str(label) for label in labels]
    settings = {"validation_size": 5}
    return Member(
        path=root,
        dataset="mnist",
        description="own IDX files",
        pictures=seen,
        splits=splits,
        labels=names,
        settings=settings,
        plain=True,
    )


KINDS: tuple[Callable[[Draw, Path], Member], ...] = (
    folder_tree,
    plain_arrays,
    label_kinds,
    deep_files,
    masks,
    flat_split,
    half_labels,
    ranges,
    folder_tree,
    see_through,
    axes,
    unread,
    modes,
    names,
    doubles,
    extra_files,
    sizes,
    not_finite,
    wrong_labels,
    nothing_to_see,
    idx_files,
)


def make_member(number: int, root: Path) -> Member:
    """Make member `number` below the empty folder `root`, always the same for a number."""
    return KINDS[number % len(KINDS)](np.random.default_rng([61, number]), root)
