"""The updates against torch.optim, on fixed gradients."""

import pytest
import torch

from vaeexp.training.optimizers import corrected, move_all, update_one

TORCH = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}
RATES = {"adam": 1e-3, "adamax": 3e-3}


def gradients(steps: int, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    scale = torch.logspace(-4, 1, size)
    return torch.randn(steps, size, generator=generator) * scale


def baseline(name: str, start: torch.Tensor, grads: torch.Tensor) -> torch.Tensor:
    parameter = torch.nn.Parameter(start.clone())
    optimizer = TORCH[name]([parameter], lr=RATES[name])
    for grad in grads:
        parameter.grad = grad.clone()
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("name", ["adam", "adamax"])
def test_one_lane_equals_torch(name):
    start, grads = torch.randn(50, generator=torch.Generator().manual_seed(1)), gradients(100, 50)
    weights, first, second = start.clone(), torch.zeros(50), torch.zeros(50)
    for step, grad in enumerate(grads, 1):
        update_one(
            weights.split(20), grad.clone().split(20), first.split(20), second.split(20),
            step=step, learning_rate=RATES[name], optimizer=name,
        )  # fmt: skip
    torch.testing.assert_close(weights, baseline(name, start, grads), rtol=2e-6, atol=5e-7)


def update_rows(weights, grads, first, second, *, step, learning_rate, adamax) -> None:
    """A step of rows [R, P], as two parameters."""
    size, epsilon = corrected(step, learning_rate, adamax)
    parts = (tensor.split(3, dim=1) for tensor in (weights, grads, first, second))
    move_all(*parts, size=size, epsilon=epsilon, adamax=adamax)


def test_rows_of_both_rules_equal_torch():
    start, grads = torch.randn(50, generator=torch.Generator().manual_seed(1)), gradients(100, 50)
    names = ["adam", "adamax", "adam"]
    weights, first, second = start.repeat(3, 1), torch.zeros(3, 50), torch.zeros(3, 50)
    rates = torch.tensor([RATES[name] for name in names])
    adamax = torch.tensor([0.0, 1.0, 0.0])
    for step, grad in enumerate(grads, 1):
        update_rows(
            weights, grad.repeat(3, 1), first, second,
            step=torch.full((3,), float(step)), learning_rate=rates, adamax=adamax,
        )  # fmt: skip
    for row, name in enumerate(names):
        torch.testing.assert_close(weights[row], baseline(name, start, grads), rtol=2e-6, atol=5e-7)
    assert torch.equal(weights[0], weights[2])


def test_entries_without_gradient_never_move():
    weights, first, second = torch.ones(2, 4), torch.zeros(2, 4), torch.zeros(2, 4)
    for step in range(1, 20):
        update_rows(
            weights, torch.zeros(2, 4), first, second,
            step=torch.full((2,), float(step)), learning_rate=torch.ones(2), adamax=torch.tensor([0.0, 1.0]),
        )  # fmt: skip
    assert torch.equal(weights, torch.ones(2, 4))
