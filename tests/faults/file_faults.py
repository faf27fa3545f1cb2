"""Faults of disks and files: no room, changed bytes, missing files."""

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from place import NAME, SHELL
from scene import NotDone, NotRecovered, Scene, continue_to_end, repair, stop_half_way, vaeexp

FULL = """
set -e
mkdir -p mlruns
mount -t tmpfs -o size="$0"k tmpfs mlruns
"$@" > first.txt 2>&1 || echo $? > first.status
mount -o remount,size=256m mlruns
"$@" > second.txt 2>&1 || echo $? > second.status
cp -a mlruns kept
"""
"""In a namespace of mounts of its own: the folder of runs on a small disk, which later gets
room.
"""


def fill_disk(scene: Scene) -> None:
    """Sweep onto a disk with little room; then make room and sweep again."""
    size = scene.draw.randrange(64, 3000)
    begun = time.monotonic()
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        raise NotDone("no namespace of mounts can be made here")
    made = subprocess.run(
        ["unshare", "-rm", *SHELL, FULL, str(size), *scene.sweep],
        cwd=scene.folder, env=scene.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        raise NotRecovered(made.stderr[-2000:])
    first = (scene.folder / "first.txt").read_text(encoding="utf-8")
    shutil.rmtree(scene.folder / "mlruns", ignore_errors=True)
    (scene.folder / "kept").rename(scene.folder / "mlruns")
    scene.done = f"{size} KiB of disk"
    if not (scene.folder / "first.status").exists():
        raise NotDone(f"{size} KiB of disk were enough")
    if "Traceback" in first or ("No space" not in first and "full" not in first):
        raise NotRecovered(f"the first command did not say that the disk is full: {first[-1500:]}")
    scene.recovery += time.monotonic() - begun
    continue_to_end(scene)


def damage(path: Path, draw: random.Random) -> str:
    """Change the bytes of a file at its head, middle or end, as disks and half-written blocks do;
    the harm in words.
    """
    whole = path.read_bytes()
    content, size = bytearray(whole), len(whole)
    while content == whole:  # zeros over zeros change nothing
        part = draw.choice(["head", "middle", "end"])
        low, high = {
            "head": (0, min(size, 128)),
            "middle": (0, size),
            "end": (max(0, size - 128), size),
        }[part]
        place = draw.randrange(low, high)
        kind = draw.choice(["a bit", "50 bits", "4 KB of zeros", "cut off", "garbage"])
        if kind == "a bit":
            content[place] ^= 1 << draw.randrange(8)
        elif kind == "50 bits":
            for _ in range(50):
                content[draw.randrange(size)] ^= 1 << draw.randrange(8)
        elif kind == "4 KB of zeros":
            content[place : place + 4096] = bytes(len(content[place : place + 4096]))
        elif kind == "cut off":
            del content[place:]
        else:
            content[place : place + 64] = draw.randbytes(len(content[place : place + 64]))
    path.write_bytes(content)
    return f"{path.name}: {kind}, {part} (byte {place} of {size})"


def damage_between(pattern: str) -> Callable[[Scene], None]:
    """Stop half-way, damage a file that the next command reads, continue."""

    def harm(scene: Scene) -> None:
        stop_half_way(scene)
        files = sorted(
            path for path in scene.folder.glob(pattern) if path.is_file() and path.stat().st_size
        )
        if not files:
            raise NotDone(f"no {pattern} was there")
        scene.done = damage(scene.draw.choice(files), scene.draw)
        continue_to_end(scene)

    return harm


def damage_taken_over(part: str) -> Callable[[Scene], None]:
    """Damage what the cache of the undisturbed study gave: compiling takes long, and half-way no
    classifier is trained.
    """

    def harm(scene: Scene) -> None:
        shutil.copytree(scene.wanted.folder / "cache" / part, scene.folder / "cache" / part)
        damage_between(f"cache/{part}/**/*")(scene)

    return harm


def damage_finished(file: str, read_by_evaluate: bool) -> Callable[[Scene], None]:
    """Finish, damage or lose a file of a run, read the run, repair, restore."""

    def harm(scene: Scene) -> None:
        continue_to_end(scene)
        scene.recovery = 0.0
        path = scene.draw.choice(
            sorted((scene.folder / "mlruns" / "trials" / NAME).glob(f"*/{file}"))
        )
        if scene.draw.random() < 0.15:
            path.unlink()
            scene.done = f"{path.name} deleted"
        else:
            scene.done = damage(path, scene.draw)
        kind, _, number = path.parent.name.partition("-")
        name = f"{NAME}/{'r' if kind == 'repeat' else ''}{int(number)}"
        output = ["--output", "figures.json"]
        status, _ = vaeexp(
            scene, "evaluate", name, "--data", "data", "--importance-samples", "5", *output
        )
        if status == 0 and read_by_evaluate:
            scene.believed.append("evaluate")
        repair(scene)
        scene.remedies.append("reproduce --restore")
        status, said = vaeexp(scene, "reproduce", name, "--restore", "--data", "data")
        if status:
            raise NotRecovered(said[-2000:])

    return harm
