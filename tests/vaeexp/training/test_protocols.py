"""Runs of different protocol in one study: each gets its own data, none shares a search, an
autoencoder has no rate.
"""

import pytest
import torch
from fused import BASE, make_lanes, run, same_bits, source, trial

from sweeps.errors import UserError
from vaeexp.models.posteriors import Deterministic
from vaeexp.models.vae import build_vae
from vaeexp.study import (
    distinct_values,
    largest,
    maxima_of,
    open_study_file,
    train_options,
    uses_average,
)
from vaeexp.training.optimizers import parts_of

STUDY = """\
question: Which?
data: {{dataset: mnist{fixed}}}
model: {{hidden: [16], latent_size: 3}}
search:
  {search}
budget: {{trials: 2}}
baselines: {baselines}
"""


def study(
    tmp_path, search="beta: {low: 0.1, high: 2}", baselines="{}", fixed=", binarisation: none"
):
    path = tmp_path / "x.yaml"
    path.write_text(STUDY.format(search=search, baselines=baselines, fixed=fixed))
    return open_study_file(str(path))


@pytest.mark.parametrize("kind", ["sequential", "vectorised"])
def test_lanes_of_different_binarisation_train_side_by_side_as_alone(tmp_path, kind):
    sources = {name: source(name) for name in ("none", "dynamic", "static")}
    trials = [trial(n, binarisation=name, latent_size=3) for n, name in enumerate(sources)]
    together = {}
    for folder, chosen in (
        ("together", trials),
        *((f"alone{each.number}", [each]) for each in trials),
    ):
        lanes, artifacts = make_lanes(
            tmp_path / folder, kind=kind, maxima={"latent_size": 3}, data=lambda name: sources[name]
        )
        found = run(lanes, artifacts, chosen, 2)
        if folder == "together":
            together = found
        for number, (values, state) in found.items():
            assert values == together[number][0]
            assert same_bits(state, together[number][1])
    assert len({values[-1] for values, _ in together.values()}) == 3


def test_an_autoencoder_is_trained_on_the_distortion_alone():
    settings = BASE.with_params({"posterior": "deterministic", "latent_size": 3}).model
    vae = build_vae(settings, (1, 8, 8), seed=0)
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    one, other = (vae(x, torch.randn(5, 3)) for _ in range(2))
    assert isinstance(vae.encode(x), Deterministic)
    assert torch.equal(one.rate, torch.zeros(5))
    assert torch.equal(one.distortion, other.distortion), "no noise reaches the code"
    assert torch.equal(one.distortion, -vae.decode(vae.encode(x).mean).log_prob(x))
    gaussian = build_vae(BASE.with_params({"latent_size": 3}).model, (1, 8, 8), seed=0)
    last = [p.shape[0] for name, p in vae.encoder.named_parameters()][-1]
    assert last == 3, "one number per latent dimension"
    assert [p.shape[0] for name, p in gaussian.encoder.named_parameters()][-1] == 6


def test_autoencoders_train_in_lanes(tmp_path):
    trials = [trial(0, posterior="deterministic", beta=0, latent_size=2), trial(1, latent_size=4)]
    values = {}
    for kind in ("sequential", "vectorised"):
        lanes, artifacts = make_lanes(tmp_path / kind, kind=kind, maxima={"latent_size": 4})
        values[kind] = run(lanes, artifacts, trials, 3)[0][0]
    assert values["sequential"][-1] < values["sequential"][0], "it learns"
    assert values["vectorised"] == pytest.approx(values["sequential"], rel=1e-4), (
        "padded to a larger latent space"
    )


# ---- what a study may ask for ----


@pytest.mark.parametrize(
    "search",
    [
        "size_factor: {values: [true, false]}",
        "posterior: {values: [gaussian, deterministic]}",
        "binarisation: {values: [none, static]}",
    ],
)
def test_protocols_are_never_searched(tmp_path, search):
    with pytest.raises(UserError, match=r"search\.\w+: trials of different .*baselines"):
        study(
            tmp_path,
            search=search,
            fixed="" if "binarisation" in search else ", binarisation: none",
        )


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("{train_size: 100}", "baselines.a.settings.train_size"),
        ("{dataset: cifar10}", "baselines.a.settings.dataset"),
        ("{binarisation: static, likelihood: laplace}", "baselines.a.settings"),
        ("{posterior: deterministic, beta: 0, prior: mixture}", "baselines.a.settings"),
    ],
)
def test_a_baseline_that_cannot_be_is_refused_before_anything_runs(tmp_path, settings, place):
    with pytest.raises(UserError) as caught:
        study(tmp_path, baselines=f"{{a: {{settings: {settings}}}}}")
    assert place in str(caught.value)


def test_references_count_for_the_size_of_models_and_for_the_data(tmp_path):
    asked = study(
        tmp_path,
        baselines="{a: {settings: {latent_size: 9, binarisation: dynamic}}, b: {settings: {ema_decay: 0.5, epochs: 99}}}",  # noqa: E501
    )
    assert maxima_of(asked) == {"latent_size": 9, "components": 1}
    assert largest(asked, "epochs") == 99
    assert distinct_values(asked, "binarisation") == ["none", "dynamic"]
    assert uses_average(asked)
    assert not uses_average(study(tmp_path))


# ---- what the updates of a study need ----


@pytest.mark.parametrize(
    ("search", "baselines", "parts"),
    [
        ("optimizer: {values: [adam, adamax]}", "{}", ()),
        ("optimizer: {values: [adam, radam]}", "{}", ("plain",)),
        (
            "warmup_steps: {low: 0, high: 100}",
            "{a: {settings: {optimizer: lion}}}",
            ("moments", "sign", "warmup"),
        ),
    ],
)
def test_updates_have_the_parts_that_trials_and_baselines_can_need(
    tmp_path, search, baselines, parts
):
    assert parts_of(train_options(study(tmp_path, search=search, baselines=baselines))) == parts


@pytest.mark.parametrize(
    "search",
    [
        "optimizer: {values: [adam, sgd]}\n  momentum: {low: 0.5, high: 0.99, when: {optimizer: "
        "sgd}}",
        "optimizer: {values: [adam, sgd]}\ntrain: {momentum: 0.5, beta1: 0.8}",
        "beta1: {low: 0.5, high: 0.99}\ntrain: {optimizer: lion}",
        "schedule_factor: {low: 0.8, high: 0.99}\ntrain: {schedule: exponential}",
        "schedule: {values: [step, cosine]}\n  schedule_epochs: {low: 2, high: 5, when: "
        "{schedule: step}}",
    ],
)
def test_a_setting_that_some_trial_uses_is_taken(tmp_path, search):
    study(tmp_path, search=search)


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (
            "optimizer: {values: [adam, sgd]}\n  momentum: {low: 0.5, high: 0.99}",
            "x.yaml:6: search.momentum: has no use with optimizer adam; must go with sgd. Give it "
            "`when: {optimizer: …}`, or leave it out.",
        ),
        (
            "schedule: {values: [cosine, exponential]}\n  schedule_factor: {low: 0.8, high: 0.99}",
            "search.schedule_factor: has no use with schedule cosine",
        ),
        (
            "beta: {low: 0.1, high: 2}\ntrain: {momentum: 0.5}",
            "x.yaml:6: train.momentum: has no use with optimizer adam; must go with sgd. Leave it",
        ),
        (
            "prior: {values: [normal]}\nposterior: deterministic\nbeta: 0\nobjectives: [neg_elbo, "
            "rate]",
            "objectives: got [neg_elbo, rate] with posterior deterministic, which has no",
        ),
    ],
)
def test_a_setting_without_use_is_refused(tmp_path, search, words):
    with pytest.raises(UserError) as caught:
        study(tmp_path, search=search)
    assert words in str(caught.value)
