"""Images that may not lie on the device stream from the memory map, with the same numbers to the
last bit.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fused import BASE, images, make_lanes, run, same_bits, source, trial

from vaeexp.data import open_dataset
from vaeexp.data.values import as_values
from vaeexp.runs.worker import open_source
from vaeexp.settings import DataSettings
from vaeexp.training.batches import CHUNK, Source, chunk_batches, epoch_chunks


@pytest.mark.parametrize("binarisation", ["static", "dynamic", "none"])
@pytest.mark.parametrize("batch_size", [7, 32])
def test_chunks_are_the_same_bits(binarisation, batch_size):
    resident = replace(
        source(binarisation), train=images(700) * (1 if binarisation == "static" else 255)
    )
    streamed = replace(resident, streamed=True)

    def chunks(data):
        return list(epoch_chunks(data, seed=5, epoch=2, batch_size=batch_size, latent_size=3))

    pairs = list(zip(chunks(resident), chunks(streamed), strict=True))
    assert len(pairs) == math.ceil(700 // batch_size / CHUNK)
    for (targets, noise), (same_targets, same_noise) in pairs:
        assert torch.equal(targets, same_targets)
        assert torch.equal(noise, same_noise)


def test_a_low_limit_streams_from_the_memory_map(tmp_path):
    np.save(
        tmp_path / "mine.npy",
        np.random.default_rng(0).integers(0, 256, (400, 16, 16, 3), dtype=np.uint8),
    )
    settings = DataSettings(dataset="arrays", binarisation="none")
    dataset = open_dataset(settings, root=tmp_path / "mine.npy", say=lambda text: None)
    size = dataset.train.images.nbytes / 2**20
    cpu = torch.device("cpu")
    opened = {
        limit: open_source(dataset, cpu, 1, resident_mb=limit)
        for limit in ("auto", size, 0.99 * size, 0)
    }
    assert [each.streamed for each in opened.values()] == [False, False, True, True]
    mapped = opened[0].train
    assert mapped.data_ptr() == dataset.train.images.ctypes.data  # nothing was copied
    chunks = [
        torch.cat(
            [
                targets
                for targets, _ in epoch_chunks(each, seed=1, epoch=0, batch_size=16, latent_size=2)
            ]
        )
        for each in opened.values()
    ]
    assert all(torch.equal(chunks[0], other) for other in chunks[1:])
    assert len(chunks[0]) == 320


@pytest.mark.parametrize("group", ["vectorised", "sequential"])
def test_colour_images_of_more_than_one_mebibyte_train_the_same_under_that_limit(tmp_path, group):
    """What `--resident-mb 1` does, from the file to the weights."""
    np.save(
        tmp_path / "mine.npy",
        np.random.default_rng(0).integers(0, 256, (450, 32, 32, 3), dtype=np.uint8),
    )
    data = DataSettings(dataset="arrays", binarisation="none")
    dataset = open_dataset(data, root=tmp_path / "mine.npy", say=lambda text: None)
    base = BASE.with_params({"network": "conv", "channels": (4, 4), "likelihood": "gaussian"})
    results = []
    for limit in ("auto", 1):
        opened = open_source(dataset, torch.device("cpu"), 0, resident_mb=limit)
        assert opened.streamed == (limit == 1)
        lanes, artifacts = make_lanes(tmp_path / str(limit), kind=group, base=base, data=opened)
        results.append(run(lanes, artifacts, [trial(0), trial(1, beta=0.5)], 1))
    for number in (0, 1):
        assert results[0][number][0] == results[1][number][0]
        assert same_bits(results[0][number][1], results[1][number][1])


def test_large_images_come_in_smaller_chunks_and_small_ones_as_ever():
    assert chunk_batches(128, (1, 28, 28)) == CHUNK
    assert chunk_batches(512, (3, 32, 32)) == CHUNK
    assert chunk_batches(64, (3, 218, 178)) == 4
    assert chunk_batches(10_000, (3, 218, 178)) == 1
    pixels = torch.zeros(40, 3, 218, 178, dtype=torch.uint8)
    data = Source(
        train=pixels,
        validation=torch.zeros(1, 3, 218, 178),
        targets="none",
        values=as_values((3, 218, 178)),
        noise_seed=0,
    )
    sizes = [len(x) for x, _ in epoch_chunks(data, seed=0, epoch=0, batch_size=19, latent_size=2)]
    assert sum(sizes) == 38


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a cuda device")
def test_streaming_to_an_accelerator_is_the_same_to_the_last_bit():
    device = torch.device("cuda")
    base = source("dynamic")
    resident = replace(base, train=base.train.to(device), validation=base.validation.to(device))
    streamed = replace(resident, train=base.train, streamed=True)
    for one, other in zip(
        epoch_chunks(resident, seed=5, epoch=2, batch_size=16, latent_size=3),
        epoch_chunks(streamed, seed=5, epoch=2, batch_size=16, latent_size=3),
        strict=True,
    ):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
