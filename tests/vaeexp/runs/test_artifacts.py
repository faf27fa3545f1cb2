"""What is made of lanes beside their training: pictures and files, from copies of what trains
on.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fused import KINDS
from image_files import write_tree
from PIL import Image
from reference_pages import ARRAYS

from sweeps.lanes import Outcome, TrialSpec, advance_all
from sweeps.tracking.artifacts import ArtifactFolder, log_pictures
from vaeexp.data import open_dataset
from vaeexp.evaluation.generation import grids, pictures, sheet
from vaeexp.run_files import LAST, SHEET
from vaeexp.runs import worker
from vaeexp.runs.worker import open_lanes
from vaeexp.settings import DataSettings, EvaluationSettings, ModelSettings, Settings, TrainSettings
from vaeexp.training.checkpoint import load_model, save_arrays

PRUNED = Outcome(state="pruned", epoch=2, objective=1.0)
KEPT = {"pictures.npz", "result.json", "settings.json", "weights.safetensors"}


@pytest.fixture
def lanes_of(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    write_tree(tmp_path / "images", {"cat": 30, "dog": 30}, shape=(8, 8))
    settings = Settings(
        data=DataSettings(dataset="folder", image_size=8),
        model=ModelSettings(hidden=(16,), latent_size=3, likelihood="gaussian"),
        train=TrainSettings(epochs=5, batch_size=8),
        evaluation=EvaluationSettings(pictures_every=1),
    )
    dataset = open_dataset(settings.data, root=tmp_path / "images", say=lambda text: None)

    def opened(group, *, averaged=False, keep=None, folder="trials", **params):
        return open_lanes(
            settings=settings.with_params(params),
            datasets={settings.data.binarisation: dataset},
            maxima={},
            averaged=averaged,
            study="s",
            study_seed=0,
            folder=str(tmp_path / folder),
            device="cpu",
            precision="float32",
            **KINDS[group],
            lanes=3,
            rows=3,
            threads=1,
            checkpoint_seconds=0.0,
            **keep or {},
        )

    return opened


@pytest.mark.parametrize("kept", [False, True])
def test_a_pruned_trial_leaves_its_figures_and_on_request_its_weights(lanes_of, tmp_path, kept):
    lanes = admitted(
        lanes_of("vectorised", keep={"keep_pruned": kept, "keep_pictures": "last"}), count=2
    )
    reports = [advance_all(lanes, [0, 1]) for _ in range(5)]
    assert not any(report.images for round_ in reports[:4] for report in round_), (
        "pictures of the last epoch alone"
    )
    ended = {
        0: Outcome(state="pruned", epoch=5, objective=1.0),
        1: Outcome(state="complete", epoch=5, objective=1.0),
    }
    pruned, complete = (Path(result.folder) for result in lanes.finish(ended))
    heavy = {"weights.safetensors", "pictures.npz"}
    assert {"settings.json", "result.json"} <= {path.name for path in pruned.iterdir()}
    assert heavy & {path.name for path in pruned.iterdir()} == (heavy if kept else set())
    assert heavy <= {path.name for path in complete.iterdir()}
    assert {path.name[:10] for path in complete.glob("epoch-*")} == {"epoch-0005"}


@pytest.mark.parametrize("group", ["vectorised", "sequential"])
def test_pictures_of_epochs_go_when_a_trial_is_pruned_of_which_figures_are_kept(
    lanes_of, tmp_path, group
):
    lanes = admitted(lanes_of(group, keep={"keep_pruned": False}), count=2)
    for _ in range(5):
        advance_all(lanes, [0, 1])
    results = lanes.finish({0: PRUNED, 1: Outcome(state="complete", epoch=5, objective=1.0)})
    pruned, complete = (Path(result.folder) for result in results)
    assert not list(pruned.glob("epoch-*"))
    assert not results[0].images
    assert list(complete.glob("epoch-*"))
    # A mirror that comes later does without them.
    mirror = ArtifactFolder("run", str(tmp_path / "artifacts"))
    log_pictures(None, mirror, [(pruned / "epoch-0001-samples.png", "samples", 1, 0)])
    assert not (tmp_path / "artifacts").exists()


def admitted(lanes, count=2):
    for number in range(count):
        lanes.add(TrialSpec(number=number, params={}, seed=number))
    return lanes


def names(images):
    return {epoch: sorted(named) for epoch, named in images.items()}


def there(images):
    return all(Image.open(path).size for named in images.values() for path in named.values())


DRAWN = ["reconstructions", "samples"]


def test_fused_lanes_hand_over_the_pictures_of_a_round_with_the_next(lanes_of, tmp_path):
    lanes = admitted(lanes_of("vectorised"))
    first, second = advance_all(lanes, [0, 1]), advance_all(lanes, [0, 1])
    assert [names(each.images) for each in first] == [{}, {}]
    assert [names(each.images) for each in second] == [{1: DRAWN}] * 2
    assert all(there(each.images) for each in second)
    results = lanes.finish({1: PRUNED, 0: PRUNED})
    assert [each.number for each in results] == [1, 0]
    assert [names(each.images) for each in results] == [{2: DRAWN}] * 2
    for result in results:
        assert there(result.images)
        assert {
            path.name for path in (tmp_path / "trials" / f"trial-000{result.number}").iterdir()
        } >= KEPT


def test_a_lane_by_itself_shows_its_epoch_at_once(lanes_of):
    lanes = admitted(lanes_of("sequential"))
    for epoch in (1, 2):
        done = advance_all(lanes, [0, 1])
        assert [names(each.images) for each in done] == [{epoch: DRAWN}] * 2
        assert all(there(each.images) for each in done)


@pytest.mark.parametrize("group", ["vectorised", "sequential"])
def test_a_picture_that_a_kill_kept_from_being_drawn_is_drawn_when_the_trial_goes_on(
    lanes_of, group
):
    """The newest checkpoint is of epoch 1, two are reported, and nobody knows whose pictures came
    through.
    """
    lanes = admitted(lanes_of(group))
    for _ in range(2):
        reported = advance_all(lanes, [0, 1])
    before = {
        path: Path(path).read_bytes()
        for each in reported
        for path in each.images.get(1, {}).values()
    }
    del lanes  # the process is gone
    lanes = lanes_of(group)
    for number in (0, 1):
        lanes.add(TrialSpec(number=number, params={}, seed=number, epoch=2))
    lanes.replay()
    own = {3: DRAWN} if group == "sequential" else {}  # fused lanes' come with the next epoch
    for progress in advance_all(lanes, [0, 1]):
        assert names(progress.images) == {1: DRAWN, 2: DRAWN, **own}
        assert there(progress.images)
    assert all(Path(path).read_bytes() == content for path, content in before.items())
    assert [names(each.images) for each in lanes.finish({0: PRUNED, 1: PRUNED})] == [
        {} if own else {3: DRAWN}
    ] * 2


def test_a_picture_shows_the_epoch_that_it_is_of_however_late_it_is_drawn(lanes_of):
    lanes = admitted(lanes_of("vectorised"))
    artifacts = lanes._artifacts
    artifacts._drawing.acquire()  # nothing is drawn until the next epoch is trained
    advance_all(lanes, [0, 1])
    [group] = lanes.groups.all()
    expected = {}
    for number, lane in group.lanes.items():
        model = artifacts._build(lane.settings.model, group.source.values, "cpu")
        state = group.state(number)
        model.load_state_dict(
            lane.layout.views(state["weights"]) | lane.buffer_layout.views(state["buffers"])
        )
        expected[number] = grids(pictures(model, artifacts._shown(lane), seed=0, components=False))
    trained = group.train_epoch

    def train_epoch(numbers):
        found = trained(numbers)
        artifacts._drawing.release()
        return found

    group.train_epoch = train_epoch
    for progress in advance_all(lanes, [0, 1]):
        for name, path in progress.images[1].items():
            np.testing.assert_array_equal(
                np.asarray(Image.open(path)), expected[progress.number][name].squeeze(-1)
            )


@pytest.mark.parametrize("group", ["vectorised", "sequential"])
def test_weights_on_disk_are_those_of_the_best_epoch_and_checkpoints_go_when_forgotten(
    lanes_of, tmp_path, group
):
    lanes = admitted(lanes_of(group), 3)
    values = [[each.objective for each in advance_all(lanes, [0, 1, 2])] for _ in range(3)]
    assert values[2] < values[0]
    groups = {
        number: next(group for group in lanes.groups.all() if number in group.lanes)
        for number in (0, 1)
    }
    best = {number: group.state(number)["best"].clone() for number, group in groups.items()}
    layout = groups[0].lanes[0].layout
    lanes.finish({0: PRUNED, 1: PRUNED})
    folders = [tmp_path / "trials" / f"trial-000{number}" for number in (0, 1, 2)]
    for number in (0, 1):
        model = load_model(folders[number])
        for name, tensor in layout.views(best[number]).items():
            assert torch.equal(model.get_parameter(name), tensor)
    assert [(folder / "checkpoint.safetensors").exists() for folder in folders] == [True] * 3
    lanes.discard_checkpoints([TrialSpec(number=0, params={}, seed=0)])
    assert [(folder / "checkpoint.safetensors").exists() for folder in folders] == [
        False,
        True,
        True,
    ]


def trained(lanes, trial, epochs):
    """Train a trial for so many more epochs; its progress by epoch."""
    lanes.add(trial)
    lanes.replay()
    return [advance_all(lanes, [trial.number])[0] for _ in range(epochs)]


WORSENING = {"beta": 0.0, "learning_rate": 0.01}  # the first epoch is the best at β = 1


@pytest.mark.parametrize("averaged", [False, True], ids=["weights", "average"])
@pytest.mark.parametrize("group", ["vectorised", "sequential"])
def test_a_repeat_keeps_its_last_weights_and_pictures_of_them(lanes_of, tmp_path, group, averaged):
    lanes = lanes_of(group, averaged=averaged, ema_decay=0.1 if averaged else 0.0, **WORSENING)
    progress = trained(lanes, TrialSpec(number=0, params={}, seed=0, repeat=True), 2)
    assert progress[0].objective < progress[1].objective
    [held] = lanes.groups.all()
    lane, state = held.lanes[0], {name: tensor.clone() for name, tensor in held.state(0).items()}
    shown = lanes._artifacts._shown(lane)
    lanes.finish({0: PRUNED})
    folder, kept = tmp_path / "trials" / "repeat-0000", "average" if averaged else "weights"
    for file, name in (("weights.safetensors", "best"), (LAST, kept)):
        model = load_model(folder, file)
        for parameter, tensor in lane.layout.views(state[name]).items():
            assert torch.equal(model.get_parameter(parameter), tensor)
    best, last = (
        pictures(load_model(folder, file), shown, seed=0) for file in ("weights.safetensors", LAST)
    )
    with np.load(folder / "pictures.npz") as arrays:
        for name in ("reconstructions", "samples"):
            np.testing.assert_array_equal(arrays[name], best[name])
            np.testing.assert_array_equal(arrays[f"last_{name}"], last[name])
            assert not np.array_equal(best[name], last[name])


@pytest.mark.parametrize("group", ["vectorised", "sequential"])
def test_a_killed_and_continued_repeat_ends_with_the_same_last_weights(lanes_of, tmp_path, group):
    """Killed after its last epoch, before its files were written; the newest checkpoint is an epoch
    behind.
    """
    ended, files = Outcome(state="complete", epoch=3, objective=1.0), []
    repeat = TrialSpec(number=0, params={}, seed=0, repeat=True)
    for killed in (False, True):
        lanes = lanes_of(group, epochs=3, **WORSENING)
        trained(lanes, repeat, 3)
        if killed:
            lanes = lanes_of(group, epochs=3, **WORSENING)
            trained(lanes, replace(repeat, epoch=3), 0)
        lanes.finish({0: ended})
        lanes.discard_checkpoints([repeat])
        folder = tmp_path / "trials" / "repeat-0000"
        files.append([(folder / name).read_bytes() for name in ("weights.safetensors", LAST)])
    assert files[0] == files[1]
    assert files[0][0] != files[0][1]


OF_LAST = {
    *("neg_elbo", "rate", "distortion", "reconstruction_mse", "reconstruction_ssim"),
    *("inception_score", "active_units", "used_dimensions"),  # and no FID, of so few images
}


def measured(lanes, tmp_path, epochs):
    """What a repeat that may see the test images has: its figures, its lane, its folder."""
    progress = trained(
        lanes, TrialSpec(number=0, params={}, seed=0, repeat=True, test=True), epochs
    )
    lane = lanes.groups.all()[0].lanes[0]
    [result] = lanes.finish(
        {0: Outcome(state="complete", epoch=epochs, objective=progress[0].objective)}
    )
    return result.metrics, lane, tmp_path / "trials" / "repeat-0000"


@pytest.mark.parametrize("group", ["vectorised", "sequential"])
def test_a_tested_run_is_measured_at_its_best_and_at_its_last_epoch(lanes_of, tmp_path, group):
    lanes = lanes_of(group, epochs=3, importance_samples=5, **WORSENING)
    metrics, lane, folder = measured(lanes, tmp_path, 3)
    assert metrics["best_epoch"] == 1
    assert {
        name.removeprefix("test_last/") for name in metrics if name.startswith("test_last/")
    } == OF_LAST
    [dataset] = lanes._artifacts._datasets.values()
    images = worker.test_targets(dataset, 0)
    for prefix, file in (("test", "weights.safetensors"), ("test_last", LAST)):
        options = {"study_seed": 0, "weighted": False, "progress": None}
        again, _ = worker.test_figures(
            load_model(folder, file), dataset, images, lane.settings.evaluation, **options
        )
        for name in OF_LAST:
            assert metrics[f"{prefix}/{name}"] == pytest.approx(again[f"test/{name}"], rel=1e-6), (
                name
            )
    assert metrics["test_last/neg_elbo"] > metrics["test/neg_elbo"]
    assert metrics["test_last/rate"] > metrics["test/rate"]
    documented = set(
        re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in ARRAYS.splitlines()))
    )
    with np.load(folder / "evaluation.npz") as arrays:
        of_mixtures = {"component_weights", "component_classes"}
        of_tables = {"feature_names", "feature_means", "feature_deviations", "feature_errors"}
        assert set(arrays) | of_mixtures | of_tables >= documented
        assert set(arrays) <= documented
        assert arrays["nll_by_k"][-1] == metrics["test/iw_nll"]
        assert (arrays["rate_per_dimension"] > 0.1).sum() == metrics["test/used_dimensions"]
        assert arrays["neighbour_images"].shape == (8, 8, 8, 1)
        assert 0 < arrays["neighbour_usual"] < 8
        assert arrays["aggregate_codes"].shape == arrays["prior_codes"].shape == (3, len(images))


def test_where_the_last_epoch_is_the_best_its_figures_are_copied(lanes_of, tmp_path, monkeypatch):
    calls, measure = [], worker.test_figures
    monkeypatch.setattr(
        worker, "test_figures", lambda *given, **own: calls.append(own) or measure(*given, **own)
    )
    metrics, lane, _ = measured(lanes_of("sequential", epochs=3, importance_samples=5), tmp_path, 3)
    assert lane.best_epoch == 3
    assert len(calls) == 1
    assert all(metrics[f"test_last/{name}"] == metrics[f"test/{name}"] for name in OF_LAST)


def test_a_run_that_may_not_see_the_test_images_has_no_figures_of_them(lanes_of):
    lanes = lanes_of("sequential", epochs=2)
    trained(lanes, TrialSpec(number=0, params={}, seed=0, repeat=True), 2)
    [result] = lanes.finish({0: Outcome(state="complete", epoch=2, objective=1.0)})
    assert not [name for name in result.metrics if name.startswith("test")]


def test_a_trial_that_failed_has_no_pictures_of_its_last_weights(lanes_of, tmp_path):
    lanes = lanes_of("sequential")
    trained(lanes, TrialSpec(number=0, params={}, seed=0, repeat=True), 2)
    lanes.finish({0: Outcome(state="failed", epoch=2, objective=1.0)})
    folder = tmp_path / "trials" / "repeat-0000"
    assert not (folder / LAST).exists()
    with np.load(folder / "pictures.npz") as arrays:
        assert not [name for name in arrays if name.startswith("last_")]


def test_a_disk_that_is_full_stops_the_release(lanes_of, monkeypatch):
    lanes = admitted(lanes_of("vectorised"))
    advance_all(lanes, [0, 1])

    def full(*given, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vaeexp.runs.worker.save_weights", full)
    with pytest.raises(OSError, match="No space left"):
        lanes.finish({0: PRUNED, 1: PRUNED})


# ---- sheets ----


def drawn_by(lanes, folder, number, epoch):
    """Return what the model of a trial draws after so many epochs."""
    again = admitted(lanes, number + 1)
    for _ in range(epoch):
        advance_all(again, [number])
    again.finish({number: Outcome(state="complete", epoch=epoch, objective=1.0)})
    with np.load(folder / f"trial-{number:04d}" / "pictures.npz") as file:
        return {name: file[f"last_{name}"] for name in ("reconstructions", "samples")}


def sheet_of(result):
    with np.load(Path(result.folder) / SHEET) as file:
        return dict(file)


@pytest.mark.parametrize("state", ["complete", "pruned", "paused", "failed"])
def test_each_trial_of_the_search_leaves_a_sheet_of_its_last_epoch(lanes_of, tmp_path, state):
    """A failed one leaves that of its best epoch, because its last weights may not be finite."""
    lanes = admitted(lanes_of("vectorised", keep={"keep_pruned": False}), count=2)
    for _ in range(3):
        advance_all(lanes, [0, 1])
    [result] = lanes.finish({1: Outcome(state=state, epoch=3, objective=1.0)})
    left = sheet_of(result)
    metrics = json.loads((Path(result.folder) / "result.json").read_text())
    assert left["epoch"] == (metrics["best_epoch"] if state == "failed" else 3)
    assert (Path(result.folder) / SHEET).stat().st_size <= 100_000
    other = lanes_of("vectorised", folder="again")
    wanted = drawn_by(other, tmp_path / "again", 1, int(left["epoch"]))
    assert left.keys() == {"reconstructions", "samples", "epoch"}
    for name, pictures_ in wanted.items():
        np.testing.assert_array_equal(left[name], pictures_)
    assert (Path(result.folder) / "pictures.npz").exists() == (state in ("complete", "failed"))


def test_neither_a_repeat_nor_a_study_that_wants_none_leaves_a_sheet(lanes_of):
    for keep, repeat in (({"keep_sheets": False}, False), ({}, True)):
        lanes = lanes_of("sequential", keep=keep)
        trained(lanes, TrialSpec(number=0, params={}, seed=0, repeat=repeat), 2)
        [result] = lanes.finish({0: PRUNED})
        assert not (Path(result.folder) / SHEET).exists()


@pytest.mark.parametrize(
    "shape", [(28, 28, 1), (32, 32, 3), (64, 64, 3), (128, 96, 3), (401, 401, 3)]
)
def test_a_sheet_of_pictures_of_any_size_takes_100_kb(tmp_path, shape):
    """Noise does not compress."""
    random = np.random.default_rng(0)
    drawn = {"reconstructions": (10, *shape), "samples": (16, *shape)}
    made = sheet(
        {name: random.integers(0, 256, size, dtype=np.uint8) for name, size in drawn.items()}
    )
    save_arrays(tmp_path / SHEET, made | {"epoch": np.array(7)})
    assert (tmp_path / SHEET).stat().st_size <= 100_000
    counts = [len(made["reconstructions"]), len(made["samples"])]
    assert sum(counts) >= 8
    assert counts[0] <= counts[1]
    if shape[0] <= 32:
        assert counts == [10, 16]
        assert made["samples"].shape[1:] == shape
