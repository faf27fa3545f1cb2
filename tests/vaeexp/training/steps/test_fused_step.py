"""A step of fused lanes as an accelerator runs it: it waits for nothing, it is compiled whole, and
what runs computes the same.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import accelerator
import pytest
import torch
from fused import ALL_PARTS, make_lanes, trial
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

from vaeexp import compiler as library
from vaeexp.compiler import with_gradients_as_weights
from vaeexp.training.losses import find_loss
from vaeexp.training.steps import agree
from vaeexp.training.steps import cuda_graph as steps
from vaeexp.training.steps.cuda_graph import FusedStep

HERE = Path(__file__).parents[3] / "support"
SPOILT = """
import accelerator, torch
READS = {
    "nothing": lambda sums: None,
    "a value": lambda sums: sums.max().item(),
    "a tensor of the host": lambda sums: sums.add_(torch.ones(3).to(sums.device)),
}
whole, taken = accelerator.problems, accelerator.FusedStep.__call__

def problems(params, binarisation, watch, fake):
    read = READS[params["read"]]
    def reading(self, x, e):
        taken(self, x, e)
        read(self.sums)
    accelerator.FusedStep.__call__ = reading
    return whole({"network": "mlp"}, binarisation, watch, fake)

accelerator.problems = problems
accelerator.cases = lambda: [(name, {"read": name}, "static") for name in READS]
accelerator.main()
"""
"""Steps that read on purpose, each an epoch of one network."""


def on_an_accelerator(*how: str) -> dict[str, list[str]]:
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    done = subprocess.run(
        [sys.executable, *how],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == accelerator.NO_SUCH_DEVICE:
        pytest.skip(f"PyTorch {torch.__version__} has no devices without code")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_no_part_of_a_model_makes_an_accelerator_wait():
    found = on_an_accelerator(str(HERE / "accelerator.py"))
    assert set(found) == {part for part, *_ in accelerator.cases()}
    assert not any(found.values()), found


def test_a_step_that_makes_one_wait_is_found():
    found = on_an_accelerator("-c", SPOILT)
    assert found["nothing"] == []
    assert found["a value"][0].startswith("DataDependentOutput")
    assert found["a tensor of the host"][0].startswith("a step: aten")


def opened_step(
    folder, *, precision="float32", rules=("adam", "adamax"), parts=(), **params
) -> FusedStep:
    """A step of a lane of each rule, and their first batch."""
    lanes, _ = make_lanes(folder, averaged=True, maxima={"components": 3}, parts=parts)
    for number, optimizer in enumerate(rules):
        lanes.add(trial(number, optimizer=optimizer, ema_decay=0.9, schedule="cosine", **params))
    [group] = lanes.groups.all()
    made = FusedStep(
        group.template,
        group._rows,
        precision,
        compiled=True,
        parts=parts,
        objective=find_loss("elbo"),
    )
    made.begin([group.lanes.get(number) for number in group._numbers])
    for moves in itertools.islice(made._course, 1):
        made._moves.copy_(moves)
    x, e = next(group._batches())
    made._batch = (e.clone(), x.clone())
    return made


def after(made: FusedStep, step, times: int) -> list[torch.Tensor]:
    """What `times` steps make of the state; the state itself is as before."""
    tensors = tree_leaves((made._state, made._vectors))
    before = [tensor.clone() for tensor in tensors]
    for _ in range(times):
        step(made._state, made._vectors, *made._batch)
    found = [tensor.clone() for tensor in tensors]
    torch._foreach_copy_(tensors, before)
    return found


@pytest.mark.slow
@pytest.mark.skipif(bool(library.why_not_compiled()), reason=library.why_not_compiled())
@pytest.mark.parametrize(
    "params",
    [
        {"prior": "mixture", "warmup_epochs": 1.0},
        {"network": "conv", "channels": (4,)},
        {
            "rules": ("adamw", "nadam", "sgd", "lion"),
            # Inductor's code for a CPU fails on the norms of rows (KeyError in its fusion of outer
            # loops).
            "parts": tuple(part for part in ALL_PARTS if part != "clip"),
            "warmup_steps": 3,
            "weight_decay": 0.1,
            "learning_rate": 1e-4,
        },
    ],
)
def test_a_step_compiled_whole_is_the_step(tmp_path, params):
    made = opened_step(tmp_path, **params)
    plain = after(made, made._step, 3)
    whole = after(made, made.whole(), 3)
    # Not bit by bit: Adam makes a whole step of the sign of a gradient that is all but 0.
    assert agree(
        [[tensor] for tensor in whole[-2:]], [[tensor] for tensor in plain[-2:]], "float32"
    )
    floats = [index for index, tensor in enumerate(plain) if tensor.is_floating_point()]
    assert agree(
        [[whole[i].double() for i in floats]], [[plain[i].double() for i in floats]], "float32"
    )
    assert all(torch.equal(whole[i], plain[i]) for i in range(len(plain)) if i not in floats), (
        "counts of batches"
    )


def test_gradients_are_computed_in_the_order_of_the_weights():
    aten = torch.ops.aten
    weights, x, g = torch.randn(3, 5, 7), torch.randn(3, 4, 7), torch.randn(3, 4, 5)

    def gradients(weights, x, g):
        leaf = weights.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss = (torch.vmap(torch.nn.functional.linear)(x, leaf) * g).sum()
        return torch.autograd.grad(loss, leaf)

    traced = make_fx(gradients)(weights, x, g)
    [before] = traced(weights, x, g)
    program = with_gradients_as_weights(traced)
    [found] = program(weights, x, g)
    assert torch.equal(found, before)
    assert found.is_contiguous()
    [last] = [node for node in program.graph.nodes if node.op == "output"]
    node = last.args[0][0]
    while node.target is not aten.bmm.default:
        assert node.target is not aten.transpose.int
        node = node.args[0]


@pytest.fixture
def captured(tmp_path, monkeypatch):
    """A step that is captured as on CUDA, by a stand-in for its graphs, and the ways that were
    tried.
    """
    made, tried = opened_step(tmp_path), []

    def recorded(self, step, moved, before):
        tried.append(step)
        return SimpleNamespace(replay=lambda: step(self._state, self._vectors, *self._batch))

    monkeypatch.setattr(FusedStep, "_recorded", recorded)
    monkeypatch.setattr(torch, "compile", lambda function, **how: function)
    steps.warn_once.cache_clear()
    return made, tried


def test_capturing_moves_nothing_and_takes_the_fastest_way_there_is(captured, caplog):
    made, tried = captured
    before = [tensor.clone() for tensor in tree_leaves((made._state, made._vectors))]
    replay = made._captured()
    assert len(tried) == 1
    assert all(map(torch.equal, tree_leaves((made._state, made._vectors)), before))
    assert not caplog.text
    replay()
    assert made._vectors["step"].tolist() == [1, 1]
    made.compiled = False
    made._captured()
    assert len(tried) == 2, "nothing but the update is compiled where few steps are to come"


@pytest.mark.parametrize("how", ["raises", "is wrong"])
def test_a_way_that_fails_is_left_out_and_says_why(captured, monkeypatch, caplog, how):
    made, tried = captured

    def spoilt(program):
        if how == "raises":
            raise LookupError("no kernel for this")
        scale = program.graph.find_nodes(op="call_function", target=torch.ops.aten.lerp_.Scalar)[0]
        scale.args = (*scale.args[:2], 0.9)
        program.recompile()
        return program

    monkeypatch.setattr(steps, "with_gradients_as_weights", spoilt)
    made._captured()()
    assert len(tried) == (1 if how == "raises" else 2)
    assert "A faster way to train fused lanes is left out" in caplog.text
    assert {"raises": "no kernel for this", "is wrong": "it computes something else"}[
        how
    ] in caplog.text
    assert "without CUDA graphs" not in caplog.text


def test_without_graphs_it_trains_all_the_same(captured, monkeypatch, caplog):
    made, _ = captured

    def refused(self, step, moved, before):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(FusedStep, "_recorded", refused)
    run = made._captured()
    assert all(map(torch.equal, after(made, lambda *_: run(), 1), after(made, made._step, 1)))
    assert "Fused lanes train without CUDA graphs" in caplog.text


def test_memory_that_runs_out_is_no_reason_to_try_another_way(captured, monkeypatch):
    made, tried = captured

    def too_much(self, step, moved, before):
        tried.append(step)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(FusedStep, "_recorded", too_much)
    with pytest.raises(torch.OutOfMemoryError):
        made._captured()
    assert len(tried) == 1
