"""Several draws of z per validation image: the first is today's, −ELBO is their mean, and training
does not notice.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fused import BASE, KINDS, killed_and_resumed, make_lanes, run, same_bits, source, trial
from made_data import made

from sweeps.errors import UserError
from vaeexp.models.vae import build_vae
from vaeexp.runs.provenance import protocol
from vaeexp.settings import EvaluationSettings, Settings
from vaeexp.study import open_study_file
from vaeexp.training.batches import generator, validation_noise

DRAWS = 3
TRIALS = [trial(0), trial(1, latent_size=2, beta=0.5)]


def several():
    return replace(source(), validation_draws=DRAWS)


def lanes_of(folder, kind, data, **options):
    return make_lanes(folder, kind=kind, maxima={"latent_size": 4}, data=data, **options)


def test_the_first_draw_is_that_of_a_study_with_one():
    data = several()
    draws = [validation_noise(data, 5, draw) for draw in range(DRAWS)]
    assert torch.equal(draws[0], validation_noise(source(), 5))
    cpu = torch.device("cpu")
    columns = [torch.randn(40, generator=generator(cpu, 7, "validation", n)) for n in range(5)]
    assert torch.equal(draws[0], torch.stack(columns, dim=1))
    for draw, noise in enumerate(draws):
        assert torch.equal(noise, validation_noise(several(), 5, draw))
        assert torch.equal(noise[:, :2], validation_noise(several(), 2, draw)), "a leading slice"
    joined = torch.cat(draws, dim=1).T
    assert torch.corrcoef(joined).fill_diagonal_(0).abs().max() < 0.6


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow) if kind == "compiled" else kind for kind in KINDS],
)
def test_the_value_is_the_mean_over_draws_and_the_training_stays(tmp_path, kind):
    one = run(*lanes_of(tmp_path / "one", kind, source()), TRIALS, 2)
    more = run(*lanes_of(tmp_path / "more", kind, several()), TRIALS, 2)
    each = []
    for draw in range(DRAWS):
        data = source()
        data.noise_columns[0] = list(validation_noise(several(), 8, draw).unbind(1))
        each.append(run(*lanes_of(tmp_path / str(draw), kind, data), TRIALS, 2))
    for number in (0, 1):
        values = [[found[number][0][epoch] for found in each] for epoch in range(2)]
        assert values[0][0] == one[number][0][0]
        assert len(set(values[0])) == DRAWS
        for epoch, mean in enumerate(more[number][0]):
            assert mean == pytest.approx(sum(values[epoch]) / DRAWS, rel=1e-12)
        for name in ("weights", "first", "buffers"):
            assert torch.equal(one[number][1][name], more[number][1][name])


@pytest.mark.parametrize("kind", ["sequential", "vectorised"])
def test_a_killed_training_goes_on_to_the_same_values(tmp_path, kind):
    values, state = run(*lanes_of(tmp_path / "whole", kind, several()), TRIALS, 4)[0]

    def make():
        return lanes_of(tmp_path / "killed", kind, several())

    again, resumed = killed_and_resumed(make, TRIALS, 2, 4)
    assert again == values[2:]
    assert same_bits(resumed, state)


def test_active_units_do_not_depend_on_the_draws(tmp_path):
    found = []
    for name, data in (("one", source()), ("more", several())):
        lanes, _ = lanes_of(tmp_path / name, "sequential", data)
        lanes.add(trial(0))
        [progress] = next(iter(lanes.advance([0])))
        found.append(progress.metrics["val/active_units"])
    assert found[0] == found[1]


def test_the_draws_are_part_of_the_protocol_and_one_is_told_as_ever(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    dataset = made(np.random.default_rng(0).random((40, 1, 3, 4)).astype(np.float32), tmp_path)
    settings = Settings().with_params({"binarisation": "none", "likelihood": "gaussian"})
    assert protocol(dataset, settings)["estimator"] == (
        "search: −ELBO at β = 1 on validation, one sample per image, the same noise for every "
        "trial; test: −ELBO, and importance-weighted NLL with k = 500"
    )
    more = protocol(dataset, settings.with_params({"validation_draws": 10}))["estimator"]
    assert "10 samples per image, the same noise" in more
    assert EvaluationSettings().validation_draws == 1


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("search: {validation_draws: {values: [1, 2]}}", "cannot be compared"),
        (
            "search: {beta: {low: 0.1, high: 1}}\n"
            "baselines: {a: {settings: {validation_draws: 2}}}",
            "belongs to the whole study",
        ),
        (
            "search: {beta: {low: 0.1, high: 1}}\nevaluation: {validation_draws: 0}",
            "greater than or equal to 1",
        ),
    ],
)
def test_all_trials_of_a_study_have_as_many(entry, message):
    with pytest.raises(UserError, match=message):
        open_study_file("x", text=f"question: Which?\nbudget: {{trials: 2}}\n{entry}\n")


def test_the_draws_of_a_linear_model_move_its_value_less_than_the_plan_says():
    random = torch.Generator().manual_seed(0)
    size, rows, sigma = 3, 4_000, 0.4
    weights = torch.randn(6, size, generator=random, dtype=torch.float64)
    x = torch.randn(rows, size, generator=random, dtype=torch.float64) @ weights.T
    x += sigma * torch.randn(x.shape, generator=random, dtype=torch.float64)
    precision = torch.eye(size, dtype=torch.float64) + weights.T @ weights / sigma**2
    variances, axes = torch.linalg.eigh(precision.inverse())
    weights = weights @ axes  # now the posterior has independent dimensions
    means = x @ weights / sigma**2 * variances
    noise = torch.randn(200, rows, size, generator=random, dtype=torch.float64)
    errors = x - (means + variances.sqrt() * noise) @ weights.T
    distortion = errors.square().sum(-1) / (2 * sigma**2)
    measured = distortion.mean(1).std().item()
    expected = math.sqrt((1 - variances.square()).sum().item() / 2 / rows)
    assert measured == pytest.approx(expected, rel=0.2)
    assert expected <= math.sqrt(size / 2 / rows)


def test_a_model_of_the_study_is_evaluated_by_all_draws(tmp_path):
    data = several()
    lanes, artifacts = make_lanes(tmp_path, kind="sequential", data=data)
    values, state = run(lanes, artifacts, [trial(0)], 1)[0]
    vae = build_vae(BASE.model, data.image_shape, 1000)
    flat = state["weights"]
    place = 0
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.copy_(flat[place : place + parameter.numel()].view(parameter.shape))
            place += -(-parameter.numel() // 16) * 16
        terms = [
            vae.eval()(data.validation, validation_noise(data, 4, draw)) for draw in range(DRAWS)
        ]
    means = [(each.distortion + each.rate).mean().item() for each in terms]
    assert values == [pytest.approx(sum(means) / DRAWS, rel=1e-5)]
