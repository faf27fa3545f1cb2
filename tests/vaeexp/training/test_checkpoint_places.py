"""Checkpoints at an address: another host goes on from them, damage and a place that is away cost
time and never a number.
"""

import dataclasses
import random
import uuid
from pathlib import Path

import pytest
import torch
from fsspec.core import url_to_fs
from fused import RARELY, make_lanes, trial

from sweeps.errors import UserError, warn_once
from sweeps.lanes import Outcome, advance_all
from sweeps.ray.actor import CarriedLanes
from vaeexp.training.checkpoint_places import RemoteCheckpoints, check_address

EPOCHS = 4
IMAGES = {"images": "abc"}


@pytest.fixture(params=["file", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place that several hosts see, in two real file systems of fsspec."""
    warn_once.cache_clear()
    return (
        f"file://{tmp_path}/shared" if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    )


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The values and the last tensors of a trial that nobody interrupted."""
    lanes, artifacts = make_lanes(
        tmp_path_factory.mktemp("undisturbed"), kind="sequential", every=RARELY
    )
    lanes.add(trial(0))
    values = [advance_all(lanes, [0])[0].objective for _ in range(EPOCHS)]
    lanes.finish({0: Outcome(state="complete", epoch=EPOCHS, objective=min(values))})
    return values, artifacts.states[0]


def host(folder: Path, address: str, *, every: float = 0.0, origin: dict = IMAGES) -> tuple:
    """The lanes of another host: with a folder of its own, and the address."""
    return make_lanes(
        folder,
        kind="sequential",
        every=every,
        checkpoints=RemoteCheckpoints(address, "study", origin),
    )


def begun(folder: Path, address: str) -> list[float]:
    """Train three epochs on a host that is then lost; return the values."""
    lanes, _ = host(folder, address)
    lanes.add(trial(0))
    return [advance_all(lanes, [0])[0].objective for _ in range(EPOCHS - 1)]


def continued(
    folder: Path, address: str, *, epoch: int = EPOCHS - 1, origin: dict = IMAGES
) -> tuple[int, float, dict]:
    """Go on elsewhere: the epoch that the lane came back at, its last value, its tensors."""
    lanes, artifacts = host(folder, address, every=RARELY, origin=origin)
    lanes.add(trial(0, epoch=epoch))
    came_back = next(iter(lanes.groups.all())).lanes[0].epoch
    lanes.replay()
    value = [advance_all(lanes, [0])[0].objective for _ in range(EPOCHS - epoch)][-1]
    lanes.finish({0: Outcome(state="complete", epoch=EPOCHS, objective=None)})
    return came_back, value, artifacts.states[0]


def stored(address: str) -> dict[str, bytes]:
    """What lies at the address."""
    system, root = url_to_fs(address)
    return (
        {path: system.cat_file(path) for path in system.find(root)} if system.exists(root) else {}
    )


def replace(address: str, path: str, content: bytes) -> None:
    url_to_fs(address)[0].pipe_file(path, content)


def newest(address: str) -> str:
    """The file of the later checkpoint, of epoch 2: epoch 1 went into the first slot."""
    return max(stored(address))


def test_another_host_goes_on_from_the_newest_checkpoint(undisturbed, address, tmp_path) -> None:
    values, tensors = undisturbed
    assert begun(tmp_path / "one", address) == values[:3]
    assert len(stored(address)) == 2
    came_back, value, state = continued(tmp_path / "two", address)
    assert (came_back, value) == (2, values[3])
    assert all(torch.equal(state[name], tensors[name]) for name in tensors)
    assert not list(tmp_path.glob("*/trial-0000/checkpoint*")), (
        "checkpoints lie at the address alone"
    )


def test_a_paused_trial_that_was_carried_is_revived_by_a_host_without_the_folder(
    undisturbed, address, tmp_path
) -> None:
    values, tensors = undisturbed
    lanes, _ = host(tmp_path / "one", address, every=RARELY)
    carried = CarriedLanes(lanes, tmp_path / "one", tmp_path / "driver", True)
    carried.add(trial(0))
    for _ in range(3):
        list(carried.advance([0]))
    carried.finish({0: Outcome(state="paused", epoch=3, objective=min(values[:3]))})
    successor, artifacts = host(tmp_path / "two", address, every=RARELY)
    carried = CarriedLanes(successor, tmp_path / "two", tmp_path / "driver", True)
    revived = dataclasses.replace(trial(0, epoch=3), number=9, resumes_from=0)
    carried.add(revived)
    assert next(iter(successor.groups.all())).lanes[9].epoch == 3
    assert [progress.objective for done in carried.advance([9]) for progress in done] == values[3:]
    carried.finish({9: Outcome(state="complete", epoch=EPOCHS, objective=values[3])})
    assert all(torch.equal(artifacts.states[9][name], tensor) for name, tensor in tensors.items())
    assert stored(address) == {}


def test_a_paused_trial_without_an_address_begins_again_with_the_same_value(
    undisturbed, tmp_path
) -> None:
    lanes, _ = make_lanes(tmp_path / "one", kind="sequential", every=RARELY)
    carried = CarriedLanes(lanes, tmp_path / "one", tmp_path / "driver")
    carried.add(trial(0))
    for _ in range(3):
        list(carried.advance([0]))
    carried.finish({0: Outcome(state="paused", epoch=3, objective=0.0)})
    assert not [name for name in carried.files if "checkpoint" in name]
    assert not [*(tmp_path / "one").rglob("checkpoint*")]
    successor, _ = make_lanes(tmp_path / "two", kind="sequential", every=RARELY)
    carried = CarriedLanes(successor, tmp_path / "two", tmp_path / "driver")
    carried.add(dataclasses.replace(trial(0, epoch=3), number=9, resumes_from=0))
    carried.replay()
    assert [
        progress.objective for done in carried.advance([9]) for progress in done
    ] == undisturbed[0][3:]


def test_damage_falls_back_to_the_checkpoint_before(undisturbed, address, tmp_path, caplog) -> None:
    begun(tmp_path / "one", address)
    path = newest(address)
    flipped = bytearray(stored(address)[path])
    flipped[random.Random(1).randrange(len(flipped))] ^= 4
    replace(address, path, bytes(flipped))
    assert continued(tmp_path / "two", address)[:2] == (1, undisturbed[0][3])
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{address}: trial-0000/checkpoint-1.safetensors: ")
    assert "earlier checkpoint" in line


def test_without_a_whole_checkpoint_the_trial_starts_again(undisturbed, address, tmp_path) -> None:
    begun(tmp_path / "one", address)
    for path in stored(address):
        replace(address, path, b"x" * 5000)
    assert continued(tmp_path / "two", address)[:2] == (0, undisturbed[0][3])


def test_a_checkpoint_ahead_of_the_record_leaves_the_one_before(
    undisturbed, address, tmp_path
) -> None:
    begun(tmp_path / "one", address)
    assert continued(tmp_path / "two", address, epoch=1)[:2] == (1, undisturbed[0][3])


def test_a_study_of_one_name_on_other_images_has_other_checkpoints(
    undisturbed, address, tmp_path
) -> None:
    begun(tmp_path / "one", address)
    assert continued(tmp_path / "two", address, origin={"images": "def"})[0] == 0
    assert continued(tmp_path / "three", address)[0] == 2, "nor did the other study delete them"


def test_a_host_that_goes_on_never_overwrites_the_only_whole_checkpoint(address, tmp_path) -> None:
    begun(tmp_path / "one", address)
    before = newest(address)
    whole = stored(address)[before]
    lanes, _ = host(tmp_path / "two", address)
    lanes.add(trial(0, epoch=3))
    lanes.replay()
    advance_all(lanes, [0])
    assert stored(address)[before] == whole
    assert len(stored(address)) == 2


def test_a_place_that_goes_away_costs_a_line_and_no_number(undisturbed, tmp_path, caplog) -> None:
    warn_once.cache_clear()
    (tmp_path / "shared").write_text("a file where a folder was")
    address = f"file://{tmp_path}/shared"
    assert begun(tmp_path / "one", address) == undisturbed[0][:3]
    assert continued(tmp_path / "two", address)[:2] == (0, undisturbed[0][3])
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "checkpoints cannot be written (" in line]) == 1
    assert all("the numbers stay the same" in line for line in lines)


def test_an_address_is_tried_before_a_study_begins(address, tmp_path) -> None:
    check_address(address)
    assert stored(address) == {}
    (tmp_path / "file").touch()
    for wrong, problem in (
        (f"file://{tmp_path}/file/below", "NotADirectoryError|FileExistsError"),
        ("nosuch://bucket/x", "Protocol not known"),
        ("nosuch://me:hunter2@bucket/x", r"nosuch://me:\*\*\*@bucket"),
    ):
        with pytest.raises(UserError, match=problem) as caught:
            check_address(wrong)
        assert "hunter2" not in str(caught.value)
