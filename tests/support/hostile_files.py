"""A program that opens damaged and hostile data files, and reports every answer that is neither a
data set nor a UserError.

    python hostile_files.py COUNT SEED FOLDER

It runs as a process of its own, so that a crash, a hang or an endless hunger for memory is an
answer too. Each mutant is made of a whole file by a few cuts, swaps, bit flips and borrowed pieces,
before or after compression. Every mutant follows from the seed and its number. SVHN is missing:
scipy reads it, and a MATLAB file can be forged so that scipy crashes.
"""

import gzip
import io
import itertools
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from image_files import noise, write_cifar, write_image
from mnist_files import write_files
from PIL import Image

from sweeps.errors import UserError
from vaeexp.data import open_dataset
from vaeexp.settings import DataSettings

SECONDS = 5
"""A mutant of a few kilobytes that takes longer hangs."""
MEMORY = 2**30
"""Bytes that a mutant may ask for, above those of the whole files."""
WATCHED = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
)
"""Events of Python's audit that no data file may cause."""
PIECES = (
    b"\0" * 8,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"-1",
    b"9" * 30,
    b"O",
    b"|O",
    b"(",
    b"'",
    b"\n",
    b"1e400",
    b"{",
    b"../",
)


class _Harm:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.system, ("touch harm",)


def write_whole_files(folder: Path) -> dict[str, tuple[DataSettings, list[str]]]:
    """Write one small data set of each format; name → settings, and the files to damage."""
    settings = {
        name: DataSettings(dataset=name, binarisation="none", validation_size=2)
        for name in ("mnist", "cifar10", "celeba", "folder", "arrays")
    }
    labels = np.arange(12) % 3
    np.save(folder / "plain.npy", noise(12, 6, 5, 3))
    np.save(folder / "floats.npy", noise(12, 6, 5) / 255)
    np.savez(folder / "stored.npz", images=noise(12, 6, 5), labels=labels)
    np.savez_compressed(
        folder / "packed.npz",
        x_train=noise(12, 6, 5),
        y_train=labels,
        x_test=noise(12, 6, 5),
        y_test=labels,
    )
    np.savez(folder / "objects.npz", images=np.array([_Harm()] * 12, dtype=object))
    write_files(folder / "idx", training=12, test=6)
    write_files(folder / "raw", training=12, test=6, suffix="")
    write_cifar(folder / "cifar", each=3)
    (folder / "cifar" / "data_batch_2").write_bytes(
        pickle.dumps({"data": noise(3, 3072), "labels": [1, 2, 3]}, protocol=4)
    )
    pixels, kinds = noise(8, 8, 3), ("png", "jpg", "bmp", "gif", "tif", "webp", "ppm")
    for number in range(14):
        write_image(
            folder / "images" / "ab"[number % 2] / f"{number:02d}.{kinds[number % 7]}", pixels
        )
        write_image(folder / "faces" / "img_align_celeba" / f"{number:02d}.jpg", pixels)
    partition = [f"{number:02d}.jpg {number % 3}" for number in range(14)]
    (folder / "faces" / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    files = {
        "arrays": ("plain.npy", "floats.npy", "stored.npz", "packed.npz", "objects.npz"),
        "mnist": ("idx", "raw"),
        "cifar10": ("cifar",),
        "celeba": ("faces",),
        "folder": ("images",),
    }
    return {
        root: (
            settings[name].model_copy(
                update={"image_size": 8, "unreadable_share": 1.0}
                if name in ("folder", "celeba")
                else {}
            ),
            _files(folder / root),
        )
        for name, roots in files.items()
        for root in roots
    }


def _files(root: Path) -> list[str]:
    return (
        [""]
        if root.is_file()
        else sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    )


def mutate(content: bytes, draw: random.Random, donors: list[bytes]) -> bytes:
    """A few random changes to bytes."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        # Headers decide most, so half of the changes are among the first bytes.
        place = (
            draw.randrange(min(len(changed), 160) + 1)
            if draw.random() < 0.5
            else draw.randrange(len(changed) + 1)
        )
        kind = draw.randrange(7)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == 1 and place < len(changed):
            changed[place] = draw.randrange(256)
        elif kind == 2:
            del changed[place : place + draw.choice((1, 2, 8, 1000))]
        elif kind == 3:
            changed[place:place] = draw.choice(PIECES)
        elif kind == 4:
            piece = draw.choice(PIECES)
            changed[place : place + len(piece)] = piece
        elif kind == 5:
            donor = draw.choice(donors)
            start = draw.randrange(len(donor))
            changed[place : place + draw.randrange(64)] = donor[start : start + draw.randrange(64)]
        else:
            del changed[draw.choice((place, len(changed) // 2, 0)) :]
    return bytes(changed)


def mutate_unpacked(name: str, content: bytes, draw: random.Random, donors: list[bytes]) -> bytes:
    """A mutant of a compressed file whose compression is sound, or of the file as it is."""
    if name.endswith(".gz") and draw.random() < 0.6:
        return gzip.compress(mutate(gzip.decompress(content), draw, donors), compresslevel=1)
    if name.endswith(".npz") and draw.random() < 0.6:
        packed = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
            for number, member in enumerate(old.namelist()):
                whole = old.read(member)
                new.writestr(
                    member,
                    whole if number else mutate(whole, draw, donors),
                    draw.choice((0, 8, 12, 14)),
                )
        return packed.getvalue()
    return mutate(content, draw, donors)


def mutants(folder: Path, count: int, seed: int) -> Iterator[tuple[str, DataSettings, Path]]:
    """Name, settings and folder (or file) of each mutant; folders of images are damaged in several
    files at once.
    """
    whole = write_whole_files(folder / "whole")
    donors = [path.read_bytes() for path in sorted((folder / "whole").rglob("*")) if path.is_file()]
    number = 0
    for root in itertools.cycle(whole):
        if number >= count:
            return
        settings, files = whole[root]
        source, target = folder / "whole" / root, folder / "mutant" / root
        shutil.rmtree(folder / "mutant", ignore_errors=True)
        target.parent.mkdir()
        draw = random.Random(f"{seed} {number}")
        chosen = draw.sample(files, 5) if root in ("images", "faces") else [draw.choice(files)]
        if source.is_dir():
            shutil.copytree(source, target)
        for name in chosen:
            path = target / name if name else target
            path.write_bytes(
                mutate_unpacked(
                    path.name, (source / name if name else source).read_bytes(), draw, donors
                )
            )
        yield f"mutant {number}: {root} {' '.join(chosen)}", settings, target
        number += len(chosen)


def main(count: int, seed: int, folder: Path) -> dict:
    """Open all mutants; the answers by kind, and every failure in words."""
    (folder / "whole").mkdir(parents=True)
    os.environ |= {"VAEEXP_CACHE": str(folder / "cache"), "VAEEXP_OFFLINE": "1"}
    os.chdir(folder)
    answers: Counter[str] = Counter()
    failures: list[str] = []
    name = "whole files"
    for root, (settings, _) in write_whole_files(folder / "whole").items():
        if root != "objects.npz":
            open_dataset(settings, root=folder / "whole" / root, say=lambda text: None)
    Image.init()
    watching = True

    def watch(event: str, arguments: tuple) -> None:
        if watching and event in WATCHED:
            failures.append(f"{name}: {event} {arguments}"[:300])

    def hang(*arguments: object) -> None:
        raise TimeoutError(f"no answer after {SECONDS} s")

    sys.addaudithook(watch)
    signal.signal(signal.SIGALRM, hang)
    shutil.rmtree(folder / "whole")
    (folder / "whole").mkdir()
    with open("/proc/self/statm", encoding="utf-8") as file:
        held = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    for name, settings, root in mutants(folder, count, seed):
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            data = open_dataset(settings, root=root, say=lambda text: None)
            int(data.train.images.sum()) + int(data.test.images.sum())
            answers[f"opened {settings.dataset}"] += 1
        except UserError as error:
            answers[f"refused {settings.dataset}"] += 1
            str(error).encode()
            if "\n" in str(error):
                failures.append(f"{name}: more than one line: {str(error)!r}"[:300])
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            failures.append(
                f"{name}: {type(error).__name__}: {error} ({last.filename}:{last.lineno})"[:400]
            )
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    watching = False
    if (folder / "harm").exists():
        failures.append("a file ran code")
    return {"answers": answers, "failures": failures}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).resolve())))
