"""Fused lanes are the trials that they would be alone: against a plain loop, and bit by bit against
each other.
"""

from dataclasses import replace
from functools import partial

import pytest
import torch
from fused import (
    ALL_PARTS,
    BASE,
    RARELY,
    all_rules,
    images,
    killed_and_resumed,
    make_lanes,
    plain_training,
    run,
    same_bits,
    source,
    train_in_turns,
    trial,
)

from sweeps.lanes import Outcome, advance_all
from sweeps.testing import check_lanes
from vaeexp.models.vae import build_vae
from vaeexp.training import open_lane
from vaeexp.training.batches import epoch_chunks
from vaeexp.training.groups import fastest_lanes
from vaeexp.training.groups.sequential import SequentialGroup
from vaeexp.training.groups.vectorised import VectorisedGroup

KINDS = ["vectorised", "sequential"]
PRIORS = ["normal", "mixture", "factorised_mixture", "vampprior"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("prior", "optimizer"),
    [
        pytest.param(prior, optimizer, marks=pytest.mark.slow if (place + other) % 2 else ())
        for place, prior in enumerate(PRIORS)
        for other, optimizer in enumerate(["adam", "adamax"])
    ],
)
def test_a_lane_equals_a_plain_pytorch_loop(tmp_path, kind, prior, optimizer):
    params = {"optimizer": optimizer, "prior": prior, "beta": 0.7, "latent_size": 3}
    lanes, _ = make_lanes(
        tmp_path, kind=kind, maxima={"latent_size": 6, "components": 5}, every=RARELY
    )
    for each in (trial(0, **params), trial(1, latent_size=6, prior=prior)):
        lanes.add(each)
    losses = [advance_all(lanes, [0, 1])[0].metrics["train/loss"] for _ in range(4)]
    assert losses == pytest.approx(
        plain_training(BASE.with_params(params), seed=1000, epochs=4)[0], rel=3e-4
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("binarisation", "prior", "largest"),
    [
        pytest.param(binarisation, prior, largest, marks=() if place == other else pytest.mark.slow)
        for place, binarisation in enumerate(["none", "static", "dynamic"])
        for other, (prior, largest) in enumerate([("normal", 6), ("vampprior", 11), ("mixture", 9)])
    ],
)
def test_bits_do_not_depend_on_lane_or_neighbours(tmp_path, kind, binarisation, prior, largest):
    maxima = {"latent_size": largest, "components": 4}
    make = partial(
        make_lanes, tmp_path, kind=kind, maxima=maxima, data=source(binarisation), every=RARELY
    )
    me = trial(0, latent_size=3, beta=0.5, prior=prior)
    others = [
        trial(
            n,
            prior=prior,
            latent_size=2 + n % 5,
            learning_rate=1e-3 * n,
            optimizer=["adam", "adamax"][n % 2],
        )
        for n in range(1, 6)
    ]
    alone = run(*make(), [me], 3)[0]
    for company in ([*others, me], [me, *others[:2]], [others[0], me]):
        together = run(*make(), company, 3)[0]
        assert together[0] == alone[0]
        assert same_bits(together[1], alone[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(6))
def test_a_lane_of_each_rule_equals_a_plain_pytorch_loop(tmp_path, kind, number):
    """Lion is not in PyTorch; test_optimizers has it against its paper."""
    one = all_rules()[number]
    params = {**one.params, "schedule": "constant"}
    lanes, _ = make_lanes(tmp_path, kind=kind, parts=ALL_PARTS, every=RARELY)
    lanes.add(replace(one, params=params))
    losses = [advance_all(lanes, [number])[0].metrics["train/loss"] for _ in range(4)]
    wanted = plain_training(BASE.with_params(params), seed=one.seed, epochs=4)[0]
    assert losses == pytest.approx(wanted, rel=3e-4)
    adam = plain_training(BASE, seed=one.seed, epochs=4)[0]
    assert wanted != pytest.approx(adam, rel=3e-4), "its settings make a difference"


@pytest.mark.parametrize("kind", KINDS)
def test_lanes_of_all_rules_train_side_by_side_as_alone(tmp_path, kind):
    make = partial(make_lanes, tmp_path, kind=kind, parts=ALL_PARTS, every=RARELY)
    trials = all_rules()
    together = run(*make(), trials, 3)
    assert len({values[-1] for values, _ in together.values()}) == len(trials)
    for each in trials:
        alone = run(*make(), [each], 3)
        reversed_ = run(*make(), [*trials[: each.number : -1], each], 3)
        for found in (alone, reversed_):
            assert found[each.number][0] == together[each.number][0]
            assert same_bits(found[each.number][1], together[each.number][1])


@pytest.mark.parametrize("each", all_rules(), ids=lambda each: each.params["optimizer"])
def test_all_rules_agree_to_rounding_in_either_group(tmp_path, each):
    found = [
        run(*make_lanes(tmp_path, kind=kind, parts=ALL_PARTS), [each], 4)[each.number]
        for kind in KINDS
    ]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)


def test_more_lanes_than_rows_train_in_turn_in_programs_of_that_size(tmp_path):
    six = [trial(number, learning_rate=1e-3 * (number + 1)) for number in range(6)]
    lanes, artifacts = make_lanes(tmp_path, width=6, rows=2, every=RARELY)
    in_turn = run(lanes, artifacts, six, 2)
    for each in six:
        lanes.add(each)
    assert [len(group.lanes) for group in lanes.groups.all()] == [2, 2, 2]
    together = run(*make_lanes(tmp_path, width=6, every=RARELY), six, 2)
    for number in range(6):
        assert in_turn[number][0] == together[number][0]
        assert same_bits(in_turn[number][1], together[number][1])


@pytest.mark.parametrize("prior", PRIORS)
def test_padding_changes_only_the_rounding(tmp_path, prior):
    me = trial(0, latent_size=3, components=2, prior=prior)
    own = run(*make_lanes(tmp_path), [me], 4)[0]
    padded = run(*make_lanes(tmp_path, maxima={"latent_size": 11, "components": 7}), [me], 4)[0]
    assert padded[0] == pytest.approx(own[0], rel=5e-6)
    torch.testing.assert_close(padded[1]["weights"], own[1]["weights"], rtol=1e-3, atol=1e-4)


def test_stacked_and_loop_agree_to_rounding(tmp_path):
    me = trial(
        0, prior="mixture", schedule="cosine", warmup_epochs=2.0, free_nats=1.0, ema_decay=0.9
    )
    values = [run(*make_lanes(tmp_path, kind=kind, averaged=True), [me], 4)[0][0] for kind in KINDS]
    assert values[0] == pytest.approx(values[1], rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_looked_at_beside_their_average_where_pictures_are(tmp_path, kind):
    base = BASE.with_params({"pictures_every": 2, "epochs": 5})
    plain, _ = make_lanes(tmp_path / "plain", kind=kind, base=base)
    lanes, _ = make_lanes(tmp_path / "averaged", kind=kind, base=base, averaged=True)
    plain.add(trial(0))
    for number, decay in enumerate((0.99, 0.0)):
        lanes.add(trial(number, ema_decay=decay))
    found = [[each.metrics for each in advance_all(lanes, [0, 1])] for _ in range(5)]
    wanted = [advance_all(plain, [0])[0].metrics["val/neg_elbo"] for _ in range(5)]
    assert [("val/neg_elbo_raw" in mine, "val/neg_elbo_raw" in other) for mine, other in found] == [
        (shown, shown) for shown in (True, True, False, True, True)
    ]
    for (mine, other), nll in zip(found, wanted, strict=True):
        if "val/neg_elbo_raw" in mine:
            assert mine["val/neg_elbo_raw"] == pytest.approx(nll, rel=1e-6), (
                "the average does not change what it is of"
            )
            assert mine["val/neg_elbo"] != pytest.approx(nll, rel=1e-4)
            assert other["val/neg_elbo_raw"] == other["val/neg_elbo"], (
                "without decay the average is the weights"
            )


@pytest.mark.parametrize("kind", KINDS)
def test_refill_history_leaves_no_trace(tmp_path, kind):
    """A lane that is refilled while others train gives the same bits as one that starts in a fresh
    group.
    """
    maxima = {"latent_size": 6}
    fresh = run(*make_lanes(tmp_path, kind=kind, maxima=maxima), [trial(9, latent_size=5)], 2)[9]
    undisturbed = run(*make_lanes(tmp_path, kind=kind, maxima=maxima), [trial(1)], 4)[1]
    lanes, artifacts = make_lanes(tmp_path, kind=kind, maxima=maxima)
    for number in range(3):
        lanes.add(trial(number))
    values = {1: [], 9: []}
    for numbers in ([0, 1, 2], [0, 1, 2]):
        values[1] += [p.objective for p in advance_all(lanes, numbers) if p.number == 1]
    for gone in (0, 2):
        lanes.finish({gone: Outcome(state="pruned", epoch=2, objective=None)})
    lanes.add(trial(9, latent_size=5))
    for _ in range(2):
        for progress in advance_all(lanes, [1, 9]):
            values[progress.number].append(progress.objective)
    for number, (wanted, tensors) in {1: undisturbed, 9: fresh}.items():
        lanes.finish({number: Outcome(state="complete", epoch=4, objective=None)})
        assert values[number] == wanted
        assert same_bits(artifacts.states[number], tensors)


@pytest.mark.parametrize("kind", KINDS)
def test_waiting_lanes_keep_their_state(tmp_path, kind):
    steady = run(*make_lanes(tmp_path, kind=kind), [trial(0), trial(1)], 3)
    lanes, _ = make_lanes(tmp_path, kind=kind)
    values = train_in_turns(lanes)
    assert values == {number: steady[number][0] for number in (0, 1)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_lane_that_diverges_fails_alone(tmp_path, kind):
    alone = run(*make_lanes(tmp_path, kind=kind), [trial(0), trial(2)], 3)
    lanes, _ = make_lanes(tmp_path, kind=kind)
    for each in (trial(0), trial(1, beta=3e38, free_nats=100.0), trial(2)):
        lanes.add(each)
    rounds = [advance_all(lanes, [0, 1, 2]) for _ in range(3)]
    assert rounds[0][1].failure.kind == "diverged"
    assert "epoch 1" in rounds[0][1].failure.message
    for number in (0, 2):
        assert [r[number].objective for r in rounds] == alone[number][0]


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_is_bit_identical(tmp_path, kind):
    params = {
        "prior": "mixture",
        "ema_decay": 0.95,
        "schedule": "cosine",
        "warmup_epochs": 3.0,
        "optimizer": "adamax",
    }
    whole = run(
        *make_lanes(tmp_path / "whole", kind=kind, averaged=True), [trial(0, **params), trial(1)], 4
    )[0]
    for killed_after in (1, 2, 3):
        make = partial(make_lanes, tmp_path / f"cut after {killed_after}", kind=kind, averaged=True)
        values, tensors = killed_and_resumed(make, [trial(0, **params), trial(1)], killed_after, 4)
        assert values == whole[0][killed_after:]
        assert same_bits(tensors, whole[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("each", all_rules(), ids=lambda each: each.params["optimizer"])
def test_resumed_in_mid_warmup_it_is_bit_identical(tmp_path, kind, each):
    """Its checkpoint is written after step 6; most warm-ups end with step 9."""
    company = [each, trial(20)]
    make = partial(make_lanes, kind=kind, parts=ALL_PARTS)
    whole = run(*make(tmp_path / "whole"), company, 3)[each.number]
    values, tensors = killed_and_resumed(partial(make, tmp_path / "cut"), company, 2, 3)
    assert values == whole[0][2:]
    assert same_bits(tensors, whole[1])


def test_a_checkpoint_fits_either_group(tmp_path):
    stacked, _ = make_lanes(tmp_path, kind="vectorised", maxima={"latent_size": 9})
    stacked.add(trial(0))
    for _ in range(3):
        advance_all(stacked, [0])
    loop, _ = make_lanes(tmp_path, kind="sequential")
    loop.add(trial(0, epoch=3))
    assert next(iter(loop.groups.all())).lanes[0].epoch == 2
    loop.replay()
    value = advance_all(loop, [0])[0].objective
    assert value == pytest.approx(advance_all(stacked, [0])[0].objective, rel=1e-4)


def heights(group) -> set[int]:
    """Rows of a stacked group's tensors."""
    return {len(tensor) for rows in group._rows.values() for tensor in rows.values()}


def test_out_of_memory_halves_the_width_and_changes_no_number(tmp_path, monkeypatch):
    trials = [trial(n) for n in range(5)]
    calm = run(*make_lanes(tmp_path / "calm"), trials, 3)
    train, seen, given_up = VectorisedGroup.train_epoch, [], []

    def too_small_a_device(group, numbers):
        seen.append(len(group.lanes))
        assert all(heights(gone) == {1} for gone in given_up), "its memory is not given back"
        if len(group.lanes) > 2:
            given_up.append(group)
            raise torch.OutOfMemoryError("out of memory")
        return train(group, numbers)

    monkeypatch.setattr(VectorisedGroup, "train_epoch", too_small_a_device)
    tight = run(*make_lanes(tmp_path / "tight"), trials, 3)
    assert seen[0] == 5
    assert max(seen[-3:]) <= 2
    for number in range(5):
        assert tight[number][0] == calm[number][0]
        assert same_bits(tight[number][1], calm[number][1])


def test_a_trial_that_fits_nowhere_fails_as_out_of_memory(tmp_path, monkeypatch):
    def no_memory(group, numbers):
        raise torch.OutOfMemoryError("out of memory")

    for kind in (VectorisedGroup, SequentialGroup):
        monkeypatch.setattr(kind, "train_epoch", no_memory)
    lanes, _ = make_lanes(tmp_path)
    lanes.add(trial(0))
    failure = advance_all(lanes, [0])[0].failure
    assert failure.kind == "out_of_memory"
    assert "memory" in failure.message
    lanes.finish({0: Outcome(state="failed", epoch=0, objective=None, failure=failure)})
    list(lanes.advance([]))
    assert not lanes.groups.all(), "a round keeps no memory of lanes that are gone"


def test_lanes_that_make_room_for_others_leave_the_rows_where_they_are(tmp_path):
    """What a step was captured for is needed again; only rows that stay empty in the next round are
    given back.
    """
    lanes, _ = make_lanes(tmp_path)
    for number in range(4):
        lanes.add(trial(number))
    list(lanes.advance(range(4)))
    [group] = lanes.groups.all()
    step = group._step
    lanes.finish({number: Outcome(state="pruned", epoch=1, objective=None) for number in range(4)})
    for number in range(4, 8):
        lanes.add(trial(number))
    list(lanes.advance(range(4, 8)))
    assert lanes.groups.all() == [group]
    assert group._step is step
    lanes.finish(
        {number: Outcome(state="pruned", epoch=1, objective=None) for number in range(5, 8)}
    )
    list(lanes.advance([4]))
    assert heights(group) == {1}


def test_early_stopping_ends_a_lane_after_patience_epochs_without_gain(tmp_path):
    lanes, _ = make_lanes(tmp_path, base=BASE.with_params({"epochs": 50}))
    # A learning rate this large stops improving at once.
    lanes.add(trial(0, patience=2, learning_rate=0.3))
    lanes.add(trial(1))
    history = []
    while not (history and history[-1].finished):
        history.append(advance_all(lanes, [0])[0])
    best = min(range(len(history)), key=lambda i: history[i].objective)
    assert len(history) == best + 1 + 2 < 50


@pytest.mark.parametrize("kind", KINDS)
def test_running_average_against_a_plain_one(tmp_path, kind):
    lanes, artifacts = make_lanes(tmp_path, kind=kind, averaged=True)
    tensors = run(lanes, artifacts, [trial(0, ema_decay=0.9)], 1)[0][1]
    data, settings = source(), BASE
    vae = build_vae(settings.model, data.image_shape, 1000)
    optimizer = torch.optim.Adam(vae.parameters(), lr=settings.train.learning_rate)
    average, step = [p.detach().clone() for p in vae.parameters()], 0
    for targets, noise in epoch_chunks(data, seed=1000, epoch=0, batch_size=16, latent_size=4):
        for x, e in zip(targets.split(16), noise.split(16), strict=True):
            terms = vae(x, e)
            optimizer.zero_grad()
            (terms.distortion + terms.rate).mean().backward()
            optimizer.step()
            decay, step = min(0.9, (1 + step) / (10 + step)), step + 1
            for mean, p in zip(average, vae.parameters(), strict=True):
                mean.mul_(decay).add_(p.detach(), alpha=1 - decay)
    lane, _ = open_lane(trial(0), settings, (1, 8, 8), 100)
    views = list(lane.layout.views(tensors["average"]).values())
    for mine, theirs in zip(views, average, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5)


def test_every_image_of_the_training_set_is_drawn_once_in_an_epoch():
    data = source()
    seen = torch.cat(
        [
            targets
            for targets, _ in epoch_chunks(data, seed=1, epoch=0, batch_size=10, latent_size=2)
        ]
    )
    assert torch.equal(seen.flatten(1).sum(0), images(100).float().flatten(1).sum(0))
    again = torch.cat(
        [
            targets
            for targets, _ in epoch_chunks(data, seed=1, epoch=1, batch_size=10, latent_size=2)
        ]
    )
    assert not torch.equal(seen, again)


@pytest.mark.parametrize("kind", KINDS)
def test_the_lanes_keep_the_protocol(tmp_path, kind):
    settings = [
        {"beta": 0.5},
        {"optimizer": "adamax", "latent_size": 2},
        {"learning_rate": 1e-4, "prior": "mixture"},
    ]
    check_lanes(
        lambda: make_lanes(tmp_path, kind=kind, maxima={"latent_size": 6})[0], settings, epochs=2
    )


def test_more_lanes_are_taken_while_they_fit_and_save_five_percent():
    def small_device(lanes):
        if lanes > 2:
            raise torch.OutOfMemoryError("out of memory")
        return 1 / lanes

    assert fastest_lanes(lambda lanes: 1 / lanes, 6) == 4, "powers of two"
    assert fastest_lanes({1: 1.0, 2: 0.6, 4: 0.58, 8: 0.1}.__getitem__, 8) == 2
    assert fastest_lanes(small_device, 8) == 2
