"""The architecture as a searched choice: groups of lanes side by side in one sweep, on a folder of
colour images.
"""

import textwrap

import pytest
import torch
from fused import make_lanes
from image_files import write_tree
from toy_study import search

from sweeps.lanes import Outcome, TrialSpec, advance_all
from sweeps.results import read_results
from sweeps.storage import open_storage, open_study
from vaeexp.data import open_dataset
from vaeexp.runs.worker import open_source
from vaeexp.study import maxima_of, open_study_file, settings_of
from vaeexp.training.groups.sequential import SequentialGroup
from vaeexp.training.groups.vectorised import VectorisedGroup

STUDY = """
    question: Convolutional or fully connected?
    data: {dataset: folder, binarisation: none}
    model: {likelihood: gaussian, channels: [4, 8]}
    train: {epochs: 2, batch_size: 8}
    evaluation: {pictures_every: 1000}
    search:
      network: {values: [conv_cifar, mlp_cifar, conv, mlp]}
      latent_size: {values: [2, 5]}
      normalisation: {values: [batch, group], when: {network: conv}}
      hidden: {values: [[8], [16, 8]], when: {network: mlp}}
    sampler: grid
    pruner: none
    budget: {trials: 12}
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The study, its settings and images."""
    folder, patch = tmp_path_factory.mktemp("colour"), pytest.MonkeyPatch()
    patch.setenv("VAEEXP_CACHE", str(folder / "cache"))
    write_tree(folder / "images", {"cat": 20, "dog": 20}, shape=(16, 16, 3))
    (folder / "both.yaml").write_text(textwrap.dedent(STUDY))
    study = open_study_file(str(folder / "both.yaml"), values=(3, 16, 16))
    settings = settings_of(study)
    data = open_dataset(settings.data, root=folder / "images", say=lambda text: None)
    yield study, settings, open_source(data, torch.device("cpu"), study.seed)
    patch.undo()


class Seen:
    """Watches which lanes train together."""

    def __init__(self, lanes):
        self.lanes, self.groups = lanes, set()

    def trial_started(self, *event, **details): ...
    def trial_ended(self, *event): ...
    def round_finished(self, snapshot): ...

    def epoch_finished(self, *event):
        for group in self.lanes.groups.all():
            if kinds := frozenset(lane.settings.model.network for lane in group.lanes.values()):
                self.groups.add((type(group), kinds))


def lanes_of(opened, folder, kind, width):
    study, settings, source = opened
    lanes, _ = make_lanes(
        folder,
        kind=kind,
        maxima=maxima_of(study),
        base=settings,
        width=width,
        every=1e9,
        data=source,
    )
    return lanes


@pytest.mark.parametrize("kind", ["vectorised", "sequential"])
def test_a_sweep_over_networks_gives_what_each_trial_gives_alone(opened, tmp_path, kind):
    study, _, _ = opened
    storage = open_storage(None, tmp_path, study.name)
    lanes = lanes_of(opened, tmp_path, kind, width=12)
    seen = Seen(lanes)
    search(open_study(storage, study), study, lanes, [seen])
    found = read_results(storage, study.name)
    names = ["conv_cifar", "mlp_cifar", "conv", "mlp"]
    if kind == "sequential":
        assert (SequentialGroup, frozenset(names)) in seen.groups
    else:
        assert {(VectorisedGroup, frozenset([name])) for name in names} == seen.groups
    assert len(found.trials) == 12
    assert set(found.trials["state"]) == {"complete"}
    for row in found.trials.to_dict("records"):
        applies = {"conv": "normalisation", "mlp": "hidden"}.get(row["params.network"])
        given = {name for name in ("normalisation", "hidden") if row[f"params.{name}"] is not None}
        assert given == ({applies} if applies else set())
    for row in found.trials.drop_duplicates("params.network").to_dict("records"):
        names = ["network", "latent_size", "normalisation", "hidden"]
        params = {
            name: row[f"params.{name}"] for name in names if row[f"params.{name}"] is not None
        }
        alone = lanes_of(opened, tmp_path / "alone", kind, width=1)
        alone.add(TrialSpec(number=row["number"], params=params, seed=int(row["seed"])))
        values = [advance_all(alone, [row["number"]])[0].objective for _ in range(2)]
        alone.finish({row["number"]: Outcome(state="complete", epoch=2, objective=min(values))})
        assert (
            found.epochs.loc[found.epochs["number"] == row["number"], "objective"].tolist()
            == values
        )
