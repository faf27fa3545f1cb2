"""The updates against torch.optim and Lion's paper on fixed gradients; the numbers of an update;
the parts of a study.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vaeexp.settings import TrainSettings
from vaeexp.training.optimizers import (
    Rule,
    check_parts,
    clip_factor,
    corrected,
    move_all,
    move_names,
    moves_of,
    parts_of,
    rule_of,
    update_one,
)

TORCH = {
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "radam": torch.optim.RAdam,
    "nadam": torch.optim.NAdam,
    "sgd": torch.optim.SGD,
}
RATES = {
    "adam": 1e-3,
    "adamax": 3e-3,
    "adamw": 2e-3,
    "radam": 3e-3,
    "nadam": 2e-3,
    "sgd": 1e-2,
    "lion": 1e-4,
}
VARIANTS = {
    "as it is": {},
    "decayed": {"weight_decay": 0.1},
    "clipped": {"clip_norm": 1.5},
    "other betas": {"beta1": 0.7, "beta2": 0.95, "momentum": 0.5},
    "short memory": {"beta1": 0.0, "beta2": 0.5, "momentum": 0.0},
    "all": {"beta1": 0.95, "beta2": 0.99, "momentum": 0.99, "weight_decay": 0.03, "clip_norm": 0.5},
}
SIZES = (20, 30)
"""Values of the two parameters of a lane."""


def settings(optimizer: str, **changes) -> TrainSettings:
    return TrainSettings(optimizer=optimizer, learning_rate=RATES[optimizer], **changes)


def gradients(steps: int, dtype: torch.dtype = torch.float64, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-4, 1, sum(SIZES), dtype=dtype)
    order = torch.randperm(sum(SIZES), generator=generator)
    return torch.randn(steps, sum(SIZES), generator=generator, dtype=dtype) * scale[order]


def start(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(
        sum(SIZES), generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ).to(dtype)


def torch_optimizer(
    parameters: Sequence[torch.Tensor], train: TrainSettings
) -> torch.optim.Optimizer:
    rule, how = rule_of(train), {"lr": train.learning_rate, "weight_decay": train.weight_decay}
    how |= (
        {"momentum": rule.momentum}
        if rule.optimizer == "sgd"
        else {"betas": (rule.beta1, rule.beta2)}
    )
    return TORCH[rule.optimizer](parameters, **how)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Set the type in which PyTorch's NAdam keeps a product."""
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(torch.float32)


def by_torch(train: TrainSettings, grads: torch.Tensor) -> torch.Tensor:
    parameters = [torch.nn.Parameter(part.clone()) for part in start(grads.dtype).split(SIZES)]
    optimizer = torch_optimizer(parameters, train)
    with default_dtype(grads.dtype):
        for grad in grads:
            for parameter, part in zip(parameters, grad.split(SIZES), strict=True):
                parameter.grad = part.clone()
            if train.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, train.clip_norm)
            optimizer.step()
    return torch.cat([parameter.detach() for parameter in parameters])


def by_paper(train: TrainSettings, grads: torch.Tensor) -> torch.Tensor:
    """Algorithm 2 of Chen et al. 2023, line by line: θ and m are its names."""
    β1 = 0.9 if train.beta1 is None else train.beta1
    β2 = 0.99 if train.beta2 is None else train.beta2
    η, λ = train.learning_rate, train.weight_decay
    θ, m = start(grads.dtype), torch.zeros(sum(SIZES), dtype=grads.dtype)
    for grad in grads:
        norm = grad.square().sum().sqrt().item()
        g = grad * min(1.0, (train.clip_norm or math.inf) / (norm + 1e-6))
        c = β1 * m + (1 - β1) * g
        θ = θ - η * (torch.sign(c) + λ * θ)
        m = β2 * m + (1 - β2) * g
    return θ


def baseline(train: TrainSettings, grads: torch.Tensor) -> torch.Tensor:
    return (by_paper if train.optimizer == "lion" else by_torch)(train, grads)


def by_update_one(train: TrainSettings, grads: torch.Tensor) -> torch.Tensor:
    weights = start(grads.dtype)
    first, second = torch.zeros_like(weights), torch.zeros_like(weights)
    for step, grad in enumerate(grads, 1):
        update_one(
            weights.split(SIZES),
            grad.clone().split(SIZES),
            first.split(SIZES),
            second.split(SIZES),
            rule=rule_of(train),
            step=step,
            learning_rate=train.learning_rate,
        )
    return weights


def options(*lanes: TrainSettings) -> dict[str, list]:
    return {name: [getattr(train, name) for train in lanes] for name in TrainSettings.model_fields}


def by_move_all(lanes: Sequence[TrainSettings], grads: torch.Tensor) -> torch.Tensor:
    """Steps of a row for each lane, all on the same gradients; [R, P]."""
    rows = len(lanes)
    weights = start(grads.dtype).repeat(rows, 1)
    first, second = torch.zeros_like(weights), torch.zeros_like(weights)
    for step, grad in enumerate(grads, 1):
        numbers = [moves_of(rule_of(train), step, train.learning_rate) for train in lanes]
        moves = {
            name: torch.tensor([number[name] for number in numbers], dtype=grads.dtype)
            for name in move_names(parts_of(options(*lanes)))
        }
        parts = (
            tensor.split(SIZES, dim=1) for tensor in (weights, grad.repeat(rows, 1), first, second)
        )
        move_all(*parts, moves)
    return weights


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", RATES)
def test_one_lane_equals_torch_or_the_paper(name, variant):
    train, grads = settings(name, **VARIANTS[variant]), gradients(60)
    wanted = baseline(train, grads)
    for found in (by_update_one(train, grads), by_move_all([train], grads)[0]):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


def test_rows_of_all_rules_together_equal_torch_and_the_paper():
    lanes = [settings(name, **changes) for name in RATES for changes in VARIANTS.values()]
    grads = gradients(60)
    for row, train in zip(by_move_all(lanes, grads), lanes, strict=True):
        torch.testing.assert_close(row, baseline(train, grads), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", RATES)
def test_float32_is_as_near_as_it_can_be(name):
    train = settings(name)
    exact = baseline(train, gradients(60))
    for found in (
        by_update_one(train, gradients(60).float()),
        by_move_all([train], gradients(60).float())[0],
    ):
        # The sign of a sum that is all but 0 may turn, which moves a weight by two learning rates.
        far = 3 * RATES["lion"] if name == "lion" else 2e-6
        torch.testing.assert_close(found.double(), exact, rtol=2e-5, atol=far)


# ---- Adam and Adamax with their usual numbers, as a study of them alone has them ----


def update_rows(weights, grads, first, second, *, step, learning_rate, adamax) -> None:
    """A step of rows [R, P], as two parameters."""
    size, epsilon = corrected(step, learning_rate, adamax)
    parts = (tensor.split(3, dim=1) for tensor in (weights, grads, first, second))
    move_all(*parts, {"size": size, "epsilon": epsilon, "adamax": adamax})


def test_rows_of_both_rules_equal_torch():
    names, grads = ["adam", "adamax", "adam"], gradients(100, torch.float32)
    weights = start(torch.float32).repeat(3, 1)
    first = torch.zeros(3, 50)
    second = torch.zeros(3, 50)
    rates = torch.tensor([RATES[name] for name in names])
    adamax = torch.tensor([0.0, 1.0, 0.0])
    for step, grad in enumerate(grads, 1):
        update_rows(
            weights, grad.repeat(3, 1), first, second,
            step=torch.full((3,), float(step)), learning_rate=rates, adamax=adamax,
        )  # fmt: skip
    for row, name in enumerate(names):
        torch.testing.assert_close(
            weights[row], baseline(settings(name), grads), rtol=2e-6, atol=5e-7
        )
    assert torch.equal(weights[0], weights[2])


def test_their_numbers_are_those_of_one_lane():
    for step in (1, 2, 10, 1_000, 100_000):
        adamax = torch.tensor([0.0, 1.0])
        size, epsilon = corrected(torch.full((2,), float(step)), torch.full((2,), 1e-3), adamax)
        for row, name in enumerate(("adam", "adamax")):
            wanted = moves_of(Rule(optimizer=name), step, 1e-3)
            assert size[row].item() == pytest.approx(wanted["size"], rel=2e-6)
            assert epsilon[row].item() == pytest.approx(wanted["epsilon"], rel=2e-6)


# ---- the numbers of an update ----


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", RATES)
def test_numbers_of_many_steps_are_those_of_each(name, variant):
    rule = rule_of(settings(name, **VARIANTS[variant]))
    steps, rates = np.arange(1, 40), np.linspace(1e-3, 2e-3, 39)
    together = moves_of(rule, steps, rates)
    for place, step in enumerate(steps.tolist()):
        alone = moves_of(rule, step, rates[place])
        for number, value in alone.items():
            assert np.broadcast_to(together[number], steps.shape)[place] == pytest.approx(
                value, rel=1e-9
            ), number


def test_radam_divides_from_the_step_on_at_which_the_paper_says_so():
    rule = Rule(optimizer="radam")
    plain = [moves_of(rule, step, 1e-3)["plain"] for step in range(1, 9)]
    assert plain == [1, 1, 1, 1, 1, 0, 0, 0], (
        "with β2 = 0.999 the length of the average exceeds 5 at step 6"
    )


@given(st.floats(0, 0.9999), st.integers(1, 3_000))
def test_the_product_of_nadam_is_its_closed_form(beta1, step):
    rule = Rule(optimizer="nadam", beta1=beta1)
    mu = [beta1 * (1 - 0.5 * 0.96 ** (s * 0.004)) for s in range(1, step + 2)]
    product, root = math.prod(mu[:step]), math.sqrt(1 - 0.999**step)
    found = moves_of(rule, step, 1.0)
    assert found["ahead"] == pytest.approx((1 - mu[step - 1]) / (1 - product) * root, rel=1e-9)
    assert found["size"] == pytest.approx(mu[step] / (1 - product * mu[step]) * root, rel=1e-9)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30), st.floats(1e-3, 1e4))
def test_gradients_are_clipped_as_torch_does(values, limit):
    grads = [
        torch.tensor(values, dtype=torch.float64),
        torch.full((2, 3), values[0], dtype=torch.float64),
    ]
    parameters = [torch.nn.Parameter(torch.zeros_like(grad)) for grad in grads]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad.clone()
    torch.nn.utils.clip_grad_norm_(parameters, limit)
    for rows in ((), (2,)):
        stacked = [grad.expand(*rows, *grad.shape) for grad in grads]
        factor = clip_factor(stacked, torch.full(rows, limit, dtype=torch.float64))
        assert factor.shape == rows
        for parameter, grad in zip(parameters, grads, strict=True):
            torch.testing.assert_close(grad * factor.max(), parameter.grad, rtol=1e-12, atol=0)


def test_each_row_has_its_own_norm_and_limit():
    grads = [torch.tensor([[3.0], [3.0], [300.0]]), torch.tensor([[4.0], [4.0], [400.0]])]
    factor = clip_factor(grads, torch.tensor([10.0, 1.0, math.inf]))
    torch.testing.assert_close(factor, torch.tensor([1.0, 0.2, 1.0]))


def test_entries_without_gradient_never_move():
    """The padding of a lane: its weights are 0, so that decay leaves them alone, too."""
    lanes = [settings(name, **VARIANTS["all"]) for name in RATES]
    numbers = [moves_of(rule_of(train), 7, 1.0) for train in lanes]
    names = move_names(parts_of(options(*lanes)))
    moves = {name: torch.tensor([float(number[name]) for number in numbers]) for name in names}
    weights, first, second = (torch.zeros(len(lanes), 4) for _ in range(3))
    for _ in range(20):
        move_all([weights], [torch.zeros(len(lanes), 4)], [first], [second], moves)
    assert not weights.any()
    weights, first, second = torch.ones(2, 4), torch.zeros(2, 4), torch.zeros(2, 4)
    update_rows(
        weights, torch.zeros(2, 4), first, second,
        step=torch.ones(2), learning_rate=torch.ones(2), adamax=torch.tensor([0.0, 1.0]),
    )  # fmt: skip
    assert torch.equal(weights, torch.ones(2, 4))


# ---- the parts of a study ----


@pytest.mark.parametrize(
    ("lanes", "parts"),
    [
        ([{}, {"optimizer": "adamax"}, {"optimizer": "adamw"}], ()),
        ([{}, {"optimizer": "sgd"}], ("moments", "plain")),
        ([{"optimizer": "radam"}], ("plain",)),
        ([{"optimizer": "nadam"}], ("ahead",)),
        ([{"optimizer": "lion"}], ("moments", "sign")),
        ([{}, {"beta2": 0.9}], ("moments",)),
        ([{"weight_decay": 0.1}, {"clip_norm": 1.0}], ("decay", "clip")),
        ([{"warmup_steps": 10}, {}], ("warmup",)),
    ],
)
def test_a_step_has_the_parts_that_some_lane_needs(lanes, parts):
    trains = [TrainSettings(**lane) for lane in lanes]
    assert parts_of(options(*trains)) == parts
    for train in trains:
        check_parts(train, parts)


class Operations(TorchDispatchMode):
    """Names the operations that take or make a tensor of a parameter's size."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if any(
            isinstance(leaf, torch.Tensor) and leaf.numel() == 6
            for leaf in tree_leaves((args, result))
        ):
            self.names.append(str(operation).split(".")[1])
        return result


def test_a_study_of_adam_and_adamax_alone_has_no_other_operation():
    """The cost of an update must not grow with the rules that there are."""
    state = [[torch.zeros(2, 3)] for _ in range(4)]
    with Operations() as taken:
        move_all(*state, {name: torch.ones(2) for name in move_names(())})
    moments = ["lerp_", "mul", "mul", "addcmul_", "abs", "add_", "maximum", "where", "copy_"]
    assert taken.names == [*moments, "sqrt", "add_", "where", "mul", "div", "sub_"]


def test_a_lane_that_needs_more_than_its_step_has_is_refused():
    with pytest.raises(
        ValueError, match="optimizer: lion needs moments, sign; the step was made without"
    ):
        check_parts(TrainSettings(optimizer="lion"), ("decay",))
