"""Every likelihood with every kind of target and of image: what does not fit is refused before any
work is done.
"""

import re

import numpy as np
import pytest
from image_files import noise
from rich.console import Console

from sweeps.errors import UserError
from vaeexp.launch.job import prepare_job
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.study_log import StudyLog
from vaeexp.models.likelihoods import LIKELIHOODS

STUDY = """
question: Does it fit?
data: {{dataset: arrays, binarisation: {binarisation}}}
model: {{likelihood: {likelihood}, hidden: [8], latent_size: 2}}
train: {{batch_size: 8}}
search: {{learning_rate: {{low: 0.001, high: 0.01}}}}
budget: {{trials: 1}}
{more}
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for channels in (1, 3):
        np.save(tmp_path / f"{channels}.npy", noise(30, 4, 4, channels))
    return tmp_path


def prepare(place, likelihood, binarisation, channels, more=""):
    path = place / "fits.yaml"
    path.write_text(STUDY.format(likelihood=likelihood, binarisation=binarisation, more=more))
    options = SweepOptions(study=str(path), data=place / f"{channels}.npy")
    return prepare_job(options, StudyLog(Console(quiet=True)))


@pytest.mark.parametrize("binarisation", ["static", "dynamic", "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_likelihood_meets_only_what_it_describes(place, binarisation, channels):
    for likelihood in LIKELIHOODS:
        support = LIKELIHOODS[likelihood].distribution.support
        if support == "counts":
            with pytest.raises(UserError, match=f"'{likelihood}' (needs|describes) "):
                prepare(place, likelihood, binarisation, channels)
            continue
        binary = support == "binary"
        # Bernoulli on grey levels is the custom of the field, and labelled as such.
        if binarisation == "none" or (binary and channels == 1):
            assert (
                prepare(place, likelihood, binarisation, channels).dataset.binarisation
                == binarisation
            )
            continue
        before = list(place.rglob("*.npy"))
        with pytest.raises(UserError) as caught:
            prepare(place, likelihood, binarisation, channels)
        assert binarisation in str(caught.value)
        assert re.search(
            r"`binarisation: none`|data\.binarisation: got .* Try none", str(caught.value)
        )
        assert list(place.rglob("*.npy")) == before, (
            f"{likelihood}: images were prepared all the same"
        )
        assert not (place / "mlruns").exists()
