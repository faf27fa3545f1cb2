"""Every text that is hashed into a seed, pinned: another text is another study, and no result could
be had again.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from fused import BASE, make_lanes, source, trial

import sweeps.seeds
from sweeps.engine import trial_seed
from sweeps.engine.repeats import fresh_seeds
from sweeps.lanes import advance_all
from sweeps.search.samplers import QuasiRandomSettings, RandomSettings, TPESettings, ask_seed
from vaeexp.data.prepare import Purpose, binarise, permutation
from vaeexp.models.vae import build_vae
from vaeexp.training.batches import derive_seed


def test_a_seed_is_the_first_63_bits_of_its_texts_sha256() -> None:
    assert (
        sweeps.seeds.seed_of("a") == int.from_bytes(hashlib.sha256(b"a").digest()[:8], "big") >> 1
    )
    assert derive_seed(3, "noise", 0) == sweeps.seeds.seed_of("3/noise/0")


def test_seeds_of_the_driver() -> None:
    assert trial_seed(0, 7) == sweeps.seeds.seed_of("0:trial:7")
    assert ask_seed(TPESettings(), 3, 7) == sweeps.seeds.seed_of("sampler 3 7") >> 31
    assert ask_seed(RandomSettings(), 3, 7) == sweeps.seeds.seed_of("sampler 3 7") >> 31
    assert ask_seed(QuasiRandomSettings(), 3, 7) == sweeps.seeds.seed_of("sampler 3") >> 31
    first, second = map(sweeps.seeds.seed_of, ('[3, "repeat", 0]', '[3, "repeat", 1]'))
    assert fresh_seeds(3, [], 2) == [first, second]
    assert fresh_seeds(3, [first], 1) == [second], "a seed of the search is passed over"


def test_texts_of_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    real = sweeps.seeds.seed_of

    def recording(text: str) -> int:
        texts.append(text)
        return real(text)

    monkeypatch.setattr("vaeexp.training.batches.seed_of", recording)
    lanes, _ = make_lanes(tmp_path, data=source("dynamic"))
    lanes.add(trial(0))
    advance_all(lanes, [0])
    lanes.close()
    assert set(texts) == {
        "1000/0/order",
        "1000/0/binarisation/0",
        "1000/0/noise/0",
        *(f"7/validation/{d}" for d in range(8)),
    }


def test_draws_of_the_data() -> None:
    assert [(purpose.name, int(purpose)) for purpose in Purpose] == [
        ("SPLIT", 0),
        ("TRAINING_PIXELS", 1),
        ("TEST_PIXELS", 2),
        ("SUBSET_TEST", 3),
        ("HELD_OUT_TEST", 4),
        ("VALIDATION_ORDER", 5),
        ("NEW_PIXELS", 6),
    ]
    assert permutation(8, 3, Purpose.SPLIT).tolist() == PERMUTATION
    grey = np.full((2, 4), 128, dtype=np.uint8)
    assert binarise(grey, 3, Purpose.TRAINING_PIXELS).tolist() == PIXELS


def test_initial_weights_of_a_seed() -> None:
    weights = next(build_vae(BASE.model, (1, 8, 8), seed=5).parameters())
    assert weights.flatten()[:3].tolist() == pytest.approx(WEIGHTS, abs=1e-7)


PERMUTATION = [6, 1, 5, 2, 7, 4, 3, 0]
PIXELS = [[0, 0, 0, 0], [1, 0, 0, 1]]
WEIGHTS = [0.08256296813488007, -0.09347227215766907, 0.1018674224615097]
