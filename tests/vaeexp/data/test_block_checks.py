"""Large images are checked block by block, when they are first read: no batch holds an image of a
damaged block.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import without_mnist
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sweeps.checksums import Damaged, file_digest
from vaeexp import cache
from vaeexp.data import block_checks, open_dataset, prepare
from vaeexp.data.block_checks import BlockChecks, open_blocks, table_of, write_table
from vaeexp.runs.worker import open_source
from vaeexp.settings import DataSettings
from vaeexp.training.batches import epoch_chunks

SETTINGS = DataSettings(dataset="arrays", binarisation="none")
HEADER = 128


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    """A file of 400 random images. Files above 10 KB are checked by blocks of 512 bytes."""
    monkeypatch.setattr(prepare, "WHOLE", 10_000)
    monkeypatch.setattr(block_checks, "_BLOCK", 512)
    pixels = np.random.default_rng(0).integers(0, 256, (400, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "mine.npy", pixels)
    return tmp_path / "mine.npy"


def opened(file: Path, **changes):
    return open_dataset(SETTINGS.model_copy(update=changes), root=file, say=lambda text: None)


def flip(path: Path, place: int) -> None:
    """Flip a bit of the byte at this place."""
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 16]))


def batches(dataset, **options):
    """Yield the targets of an epoch that streams from the file."""
    source = open_source(dataset, torch.device("cpu"), 0, **options)
    for targets, _ in epoch_chunks(source, seed=3, epoch=0, batch_size=4, latent_size=2):
        yield targets


@examples(max_examples=40)
@given(st.data(), st.integers(1, 60), st.integers(1, 3000))
def test_damage_is_found_if_and_only_if_its_block_is_read(tmp_path_factory, data, count, row):
    path = tmp_path_factory.mktemp("images") / "training_images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (count, 1, 1, row), dtype=np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_checks, "_BLOCK", 512)
        write_table(path)
        rows = data.draw(st.lists(st.integers(0, count - 1), max_size=8))
        start = data.draw(st.integers(0, count - 1))
        stop = data.draw(st.integers(start + 1, count))
        BlockChecks(path).check_rows(np.arange(count))
        damaged = data.draw(st.integers(0, path.stat().st_size - 1))
        flip(path, damaged)
        if damaged < 512:
            with pytest.raises(Damaged, match="first block"):
                BlockChecks(path)
            return

        def meets(first: int, end: int) -> bool:
            return (
                (HEADER + first * row) // 512 <= damaged // 512 <= (HEADER + end * row - 1) // 512
            )

        for check, expected in (
            (
                lambda blocks: blocks.check_rows(np.array(rows, np.int64)),
                any(meets(one, one + 1) for one in rows),
            ),
            (lambda blocks: blocks.check_rows(np.arange(start, stop)), meets(start, stop)),
        ):
            if expected:
                with pytest.raises(Damaged, match=rf"block {damaged // 512:,} \(bytes"):
                    check(BlockChecks(path))
            else:
                check(BlockChecks(path))


@pytest.mark.parametrize("resident_mb", ["auto", 0], ids=["mapped", "streamed"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.79])
def test_no_batch_holds_an_image_of_a_damaged_block_and_the_next_start_mends_it(
    file, caplog, resident_mb, share
):
    dataset = opened(file)
    images = dataset.folder / "training_images.npy"
    whole, expected = images.read_bytes(), list(batches(dataset))
    row = int(share * 320)
    flip(images, HEADER + 64 * row)
    before, dataset = dataset, opened(file)  # a start does not read what may never be needed
    assert caplog.messages == []
    seen = []
    with pytest.raises(Damaged, match="The same command prepares the images again") as caught:
        seen += batches(dataset, resident_mb=resident_mb)
    assert caught.value.place == str(images)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(seen, expected, strict=False))
    assert opened(file) == before
    [line] = caplog.messages
    assert line.endswith("It is made again.")
    assert images.read_bytes() == whole
    assert all(
        torch.equal(one, other) for one, other in zip(batches(opened(file)), expected, strict=True)
    )


@pytest.mark.parametrize(
    ("part", "name"), [("train", "training"), ("validation", "training"), ("test", "test")]
)
def test_no_split_is_handed_out_with_a_damaged_block(file, monkeypatch, part, name):
    monkeypatch.setattr(prepare, "WHOLE", 1000)  # the test images have a table, too
    dataset = opened(file)
    images = dataset.folder / f"{name}_images.npy"
    others = {"train", "validation", "test"} - {part}
    # The validation images are the last.
    flip(images, 1000 if part == "train" else images.stat().st_size - 1)
    for other in others:
        assert len(getattr(opened(file), other).images)
    with pytest.raises(Damaged):
        _ = getattr(opened(file), part).images


def test_a_start_hashes_only_what_is_small(file, monkeypatch):
    dataset, hashed = opened(file), []
    monkeypatch.setattr(
        cache, "file_digest", lambda path: hashed.append(path.name) or file_digest(path)
    )
    assert opened(file) == dataset
    assert "training_images.npy" not in hashed
    assert {"training_labels.npy", "training_images.crc32.npy", "test_images.npy"} <= {*hashed}


@pytest.mark.parametrize("damage", ["header", "table", "no table", "cut"])
def test_damage_that_a_start_can_see_is_mended_at_once(file, caplog, damage):
    dataset = opened(file)
    images = dataset.folder / "training_images.npy"
    whole = images.read_bytes()
    match damage:
        case "header":
            flip(images, 20)
        case "table":
            flip(table_of(images), 140)
        case "no table":
            table_of(images).unlink()
        case "cut":
            images.write_bytes(whole[:-1])
    assert opened(file) == dataset
    assert len(caplog.messages) == 1
    assert images.read_bytes() == whole
    assert open_blocks(images) is not None


def test_blocks_change_no_number(file, monkeypatch):
    by_blocks = list(batches(opened(file)))
    monkeypatch.setattr(prepare, "WHOLE", 2**29)
    (file.parent / "cache").rename(file.parent / "first")
    whole = opened(file)
    assert not table_of(whole.folder / "training_images.npy").exists()
    assert all(
        torch.equal(one, other) for one, other in zip(batches(whole), by_blocks, strict=True)
    )


STUDY = """
question: Does a sweep survive a damaged disk?
data: {dataset: arrays, binarisation: none}
model: {hidden: [16], latent_size: 2}
train: {epochs: 1, batch_size: 100}
evaluation: {importance_samples: 5}
search: {beta: {low: 0.5, high: 2}}
budget: {trials: 2}
"""


@pytest.mark.slow
def test_a_damaged_block_ends_a_sweep_with_one_line_and_the_next_goes_on(tmp_path, monkeypatch):
    """Real workers: they find the damage, and the driver says so."""
    monkeypatch.setattr(prepare, "WHOLE", 10_000)
    (tmp_path / "blocks.yaml").write_text(STUDY)
    np.save(
        tmp_path / "mine.npy",
        np.random.default_rng(0).integers(0, 256, (3000, 28, 28), dtype=np.uint8),
    )
    images = opened(tmp_path / "mine.npy").folder / "training_images.npy"
    flip(images, images.stat().st_size // 2)
    command = [
        sys.executable,
        "-P",
        "-m",
        "vaeexp",
        "sweep",
        "blocks.yaml",
        "--data",
        "mine.npy",
        "--workers",
        "2",
    ]
    options = {
        "cwd": tmp_path,
        "env": without_mnist(tmp_path),
        "capture_output": True,
        "text": True,
    }
    done = [subprocess.run(command, **options, check=False) for _ in range(2)]
    assert [one.returncode for one in done] == [2, 0], [one.stdout + one.stderr for one in done]
    assert f"{images}: is damaged in block" in done[0].stderr
    assert "Traceback" not in done[0].stderr
    assert done[1].stderr.count("It is made again.") == 1
