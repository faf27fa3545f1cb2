"""A damaged checkpoint costs a replay and a line, never a number: real damage at the head, in the
middle and at the end.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fused import BASE, RARELY, make_lanes, source, trial
from safetensors import safe_open
from sealed import change_marks

from sweeps.checksums import SLOT, check_seal, seal
from sweeps.errors import UserError, warn_once
from sweeps.lanes import Outcome, advance_all
from sweeps.schema import MARKS
from vaeexp.run_files import CHECKPOINT, PREVIOUS, load_json, save_json
from vaeexp.training import Lane, State, fresh_state, open_lane
from vaeexp.training.checkpoint import _sealed, write_parts
from vaeexp.training.checkpoint_places import FolderCheckpoints

EPOCHS = 4


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float], State]:
    """A trial of four epochs, with its checkpoints as they are after three: its folder, its values,
    its last tensors.
    """
    folder = tmp_path_factory.mktemp("undisturbed")
    lanes, artifacts = make_lanes(folder, kind="sequential")
    lanes.add(trial(0))
    values = [advance_all(lanes, [0])[0].objective for _ in range(EPOCHS - 1)]
    shutil.copytree(folder / "trial-0000", folder / "copied" / "trial-0000")
    values.append(advance_all(lanes, [0])[0].objective)
    lanes.finish({0: Outcome(state="complete", epoch=EPOCHS, objective=min(values))})
    return folder / "copied", values, artifacts.states[0]


@pytest.fixture
def folder(undisturbed: tuple, tmp_path: Path) -> Path:
    warn_once.cache_clear()
    return Path(shutil.copytree(undisturbed[0], tmp_path / "trials")) / "trial-0000"


def continued(folder: Path, *, averaged: bool = False) -> tuple[int, float, State]:
    """Continue the trial after its third reported epoch: the epoch that its lane came back at, its
    fourth value, its tensors.
    """
    lanes, artifacts = make_lanes(folder.parent, kind="sequential", every=RARELY, averaged=averaged)
    lanes.add(trial(0, epoch=EPOCHS - 1))
    came_back = next(iter(lanes.groups.all())).lanes[0].epoch
    lanes.replay()
    value = advance_all(lanes, [0])[0].objective
    lanes.finish({0: Outcome(state="complete", epoch=EPOCHS, objective=None)})
    return came_back, value, artifacts.states[0]


def lane_of(epoch: int) -> Lane:
    return open_lane(trial(0, epoch=epoch), BASE, source().image_shape, 100)[0]


def flipped(content: bytes, start: int, bits: int) -> bytes:
    """Flip so many bits at random places within 512 bytes from `start`."""
    changed, draw = bytearray(content), random.Random(start)
    for bit in draw.sample(range(8 * start, 8 * min(start + 512, len(content))), bits):
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


DAMAGE = {
    "a bit": lambda content, start: flipped(content, start, 1),
    "50 bits": lambda content, start: flipped(content, start, 50),
    "4 KB of zeros": lambda content, start: content[:start] + bytes(4096) + content[start + 4096 :],
    "the rest is missing": lambda content, start: content[:start],
}


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        pytest.param(damage, place, marks=() if row % 3 == column else pytest.mark.slow)
        for row, damage in enumerate(DAMAGE)
        for column, place in enumerate([0.0, 0.5, 0.98])
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    undisturbed, folder, damage, place, caplog
) -> None:
    _, values, tensors = undisturbed
    whole = (folder / CHECKPOINT).read_bytes()
    (folder / CHECKPOINT).write_bytes(DAMAGE[damage](whole, int(place * len(whole))))
    came_back, value, state = continued(folder)
    assert (came_back, value) == (1, values[3])
    assert all(torch.equal(state[name], tensors[name]) for name in tensors)
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{folder / CHECKPOINT}: ")
    assert "earlier checkpoint" in line
    assert not (folder / CHECKPOINT).exists(), (
        "it would take the place of the good one at the next save"
    )


@pytest.mark.parametrize("previous", ["missing", "damaged", "of another seed"])
def test_without_a_whole_checkpoint_the_trial_starts_again(undisturbed, folder, previous) -> None:
    (folder / CHECKPOINT).write_bytes(b"x" * 5000)
    content = (folder / PREVIOUS).read_bytes()
    if previous == "missing":
        (folder / PREVIOUS).unlink()
    elif previous == "damaged":
        (folder / PREVIOUS).write_bytes(flipped(content, len(content) // 2, 1))
    else:
        rewrite(folder / PREVIOUS, lambda facts, state: facts.update(fingerprint="{}"))
    assert continued(folder)[:2] == (0, undisturbed[1][3])


def test_a_whole_checkpoint_is_used_without_a_word(undisturbed, folder, caplog) -> None:
    assert continued(folder)[:2] == (2, undisturbed[1][3])
    assert not caplog.records


def test_a_checkpoint_of_a_version_with_fewer_settings_goes_on(undisturbed, folder, caplog) -> None:
    def as_before(facts, state) -> None:
        fingerprint = json.loads(facts["fingerprint"])
        for name in ("ema_decay", "patience", "likelihood_components"):
            del fingerprint["settings"][name]
        facts["fingerprint"] = json.dumps(fingerprint)

    rewrite(folder / CHECKPOINT, as_before)
    assert continued(folder)[:2] == (2, undisturbed[1][3])
    assert not caplog.records
    lanes, _ = make_lanes(folder.parent, kind="sequential", base=BASE.with_params({"patience": 9}))
    lanes.add(trial(0, epoch=EPOCHS - 1))
    assert next(iter(lanes.groups.all())).lanes[0].epoch == 0, "its trial had no patience"


def rewrite(path: Path, change) -> None:
    """Change the entries of a checkpoint and seal it again, as a faulty program would."""
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["vaeexp"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(facts, state)
    write_parts(path, _sealed(state, {"vaeexp": json.dumps(facts)}))


def test_a_checkpoint_without_the_running_average_does_not_fit_a_study_that_keeps_one(
    folder, caplog
) -> None:
    came_back, _, state = continued(folder, averaged=True)
    assert came_back == 0
    assert "average" in state
    assert not caplog.records, "nothing is damaged"


def test_a_checkpoint_names_its_schema_and_one_of_a_higher_number_is_refused(
    undisturbed, folder, caplog
) -> None:
    with safe_open(folder / CHECKPOINT, framework="pt") as file:
        assert {name: file.metadata()[name] for name in MARKS} == {
            name: str(mark) for name, mark in MARKS.items()
        }
    change_marks(folder / CHECKPOINT)
    assert continued(folder)[:2] == (2, undisturbed[1][3]), "one without a number goes on"
    change_marks(folder / CHECKPOINT, schema=2, version="9.1")
    with pytest.raises(
        UserError, match=f"{CHECKPOINT}: is stored in schema 2, and vaeexp .* Use vaeexp 9.1, which"
    ):
        continued(folder)
    assert (folder / CHECKPOINT).exists()
    assert not caplog.records


def test_a_checkpoint_ahead_of_the_record_leaves_the_one_before(folder) -> None:
    lane = lane_of(epoch=1)
    assert FolderCheckpoints(folder.parent).load(lane, averaged=False) is not None
    assert lane.epoch == 1


def own_memory(state: State) -> State:
    """Copy the tensors, because equal entries of a fresh state share one and a safetensors file
    cannot.
    """
    return {name: tensor.clone() for name, tensor in state.items()}


def test_every_flipped_bit_keeps_a_checkpoint_from_being_used(folder) -> None:
    (folder / PREVIOUS).unlink()
    path, draw = folder / CHECKPOINT, random.Random(1)
    whole = path.read_bytes()
    check_seal(whole, path)
    header = 8 * (8 + int.from_bytes(whole[:8], "little"))
    lane = lane_of(epoch=3)
    for bit in (*draw.sample(range(header), 20), *draw.sample(range(8 * len(whole)), 20)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert FolderCheckpoints(folder.parent).load(lane, averaged=False) is None, bit
        assert lane.epoch == 0


def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """A fork saves one checkpoint after the other and is killed at moments that are drawn."""
    lane, vae = open_lane(trial(0, epoch=10**9), BASE, source().image_shape, 100)
    state, draw = own_memory(fresh_state(lane, vae, averaged=False)), random.Random(2)
    folder, checkpoints = tmp_path / lane.trial.checkpoint_name, FolderCheckpoints(tmp_path)
    folder.mkdir()
    for _ in range(8):
        newest = lane_of(epoch=10**9)
        checkpoints.load(newest, averaged=False)
        fork = os.fork()
        if fork == 0:
            with contextlib.suppress(BaseException):
                while True:
                    lane.epoch += 1
                    checkpoints.save(lane, state)
            os._exit(1)
        while not (folder / CHECKPOINT).exists():
            assert os.waitpid(fork, os.WNOHANG) == (0, 0), "the fork saves nothing"
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.03))
        os.kill(fork, signal.SIGKILL)
        assert os.waitpid(fork, 0)[1] == signal.SIGKILL
        after = lane_of(epoch=10**9)
        assert checkpoints.load(after, averaged=False) is not None
        assert after.epoch >= newest.epoch
        lane.epoch = after.epoch
    checkpoints.discard(lane.trial)
    # The name of a half-written file holds the number of its process.
    assert list(folder.iterdir()) == []


def test_both_checkpoints_go_with_their_trial(folder) -> None:
    assert {path.name for path in folder.iterdir()} == {CHECKPOINT, PREVIOUS}
    lanes, _ = make_lanes(folder.parent, kind="sequential")
    lanes.discard_checkpoints([replace(trial(0), epoch=3)])
    assert list(folder.iterdir()) == []


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    """In other processes too: the hash of weights that were trained again must be the recorded
    one.
    """
    lane, vae = open_lane(trial(0), BASE, source().image_shape, 100)
    state = own_memory(fresh_state(lane, vae, averaged=True))
    [head, _] = _sealed(state, {"vaeexp": "{}", "epoch": "3"})
    assert re.match(
        rb'\{"__metadata__":\{"vaeexp":"\{\}","epoch":"3","sha256":"[0-9a-f]{64}"\},"average":',
        head[8:],
    )
    assert len(head) % 8 == 0
    assert head == _sealed(dict(reversed(state.items())), {"vaeexp": "{}", "epoch": "3"})[0]


@pytest.mark.parametrize(
    ("marks", "problem"),
    [
        (
            {"schema": 2, "version": "9.1"},
            "is stored in schema 2, and vaeexp .* reads schema 1. Use vaeexp 9.1",
        ),
        ({}, "has no schema number, because an older version of vaeexp wrote it"),
    ],
)
def test_a_file_of_another_version_is_refused_in_one_line(
    tmp_path: Path, marks: dict, problem: str
) -> None:
    path = tmp_path / "settings.json"
    save_json(path, {"seed": 7})
    assert load_json(path) == {"seed": 7}
    path.write_bytes(seal(json.dumps({"seed": 7, "sha256": SLOT, **marks}).encode()))
    with pytest.raises(UserError, match=f"settings.json: {problem}"):
        load_json(path)


def test_a_replay_that_is_stopped_leaves_what_it_has_trained(undisturbed, tmp_path, monkeypatch):
    """Two lanes train in turn; the order to stop comes in the second epoch of the first lane."""
    answers = iter([False] * 5)  # before each epoch of the replay, and of each lane
    monkeypatch.setattr("vaeexp.training.groups.lanes.ends_soon", lambda: next(answers, True))
    lanes, _ = make_lanes(tmp_path, kind="sequential", every=RARELY)
    for number in (0, 1):
        lanes.add(trial(number, epoch=EPOCHS - 1))
    lanes.replay()
    assert list(lanes.advance([0, 1])) == [], (
        "no lane that is behind may train an epoch that is not its next one"
    )
    lanes.release([0, 1])
    monkeypatch.undo()
    came_back, value, tensors = continued(tmp_path / "trial-0000")
    assert came_back == 2
    assert value == undisturbed[1][-1]
    assert all(torch.equal(tensors[name], tensor) for name, tensor in undisturbed[2].items())


def test_a_trial_that_was_paused_goes_on_bit_for_bit(undisturbed, tmp_path):
    """It leaves a checkpoint of the moment, although none was due, and says how many bytes its two
    checkpoints may take.
    """
    lanes, _ = make_lanes(tmp_path, kind="sequential", every=RARELY)
    lanes.add(trial(0))
    values = [advance_all(lanes, [0])[0].objective for _ in range(EPOCHS - 1)]
    [left] = lanes.finish({0: Outcome(state="paused", epoch=EPOCHS - 1, objective=min(values))})
    assert not lanes.groups.all()[0].lanes, "its lane is free"
    assert left.checkpoint_bytes == 2 * (tmp_path / "trial-0000" / CHECKPOINT).stat().st_size
    came_back, value, tensors = continued(tmp_path / "trial-0000")
    assert (came_back, [*values, value]) == (EPOCHS - 1, undisturbed[1])
    assert all(torch.equal(tensors[name], tensor) for name, tensor in undisturbed[2].items())


@pytest.mark.parametrize("kept", [True, False])
def test_a_trial_that_is_revived_goes_on_bit_for_bit(undisturbed, tmp_path, kept):
    """It has a number of its own, and its checkpoints in the place of the trial from which it goes
    on.
    """
    shutil.copytree(undisturbed[0] / "trial-0000", tmp_path / "trial-0000")
    if not kept:
        FolderCheckpoints(tmp_path).discard(trial(0))
    lanes, artifacts = make_lanes(tmp_path, kind="sequential", every=0.0)
    revived = replace(
        trial(7, epoch=EPOCHS - 1), resumes_from=0, seed=trial(0).seed, params=trial(0).params
    )
    lanes.add(revived)
    assert next(iter(lanes.groups.all())).lanes[7].epoch == (EPOCHS - 2 if kept else 0)
    lanes.replay()
    assert advance_all(lanes, [7])[0].objective == undisturbed[1][-1]
    assert not (tmp_path / revived.folder_name / CHECKPOINT).exists()
    assert (tmp_path / "trial-0000" / CHECKPOINT).exists()
    lanes.finish({7: Outcome(state="complete", epoch=EPOCHS, objective=None)})
    assert all(
        torch.equal(artifacts.states[7][name], tensor) for name, tensor in undisturbed[2].items()
    )
    lanes.discard_checkpoints([revived])
    assert not [*tmp_path.rglob("checkpoint*")], "both trials have ended"
