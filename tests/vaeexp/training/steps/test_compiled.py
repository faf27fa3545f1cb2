"""Compiled lanes are the trials that they would be uncompiled, up to rounding, and bit by bit the
same in any company.
"""

import logging
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from fused import (
    ALL_PARTS,
    BASE,
    all_rules,
    killed_and_resumed,
    make_lanes,
    run,
    same_bits,
    source,
    trial,
)
from suited_values import COUNTS, REAL
from torch.func import functional_call
from torch.fx.experimental import proxy_tensor
from torch.fx.experimental.proxy_tensor import make_fx

from sweeps.lanes import advance_all
from vaeexp import compiler as library
from vaeexp.compiler import with_biases_apart
from vaeexp.data.values import Values
from vaeexp.evaluation import nll as weights
from vaeexp.evaluation.nll import _bytes_per_code, importance_weighted_nll
from vaeexp.models.vae import build_vae
from vaeexp.training import groups as group
from vaeexp.training.device import training_precision
from vaeexp.training.groups.sequential import SequentialGroup
from vaeexp.training.steps import compiled

pytestmark = pytest.mark.skipif(bool(library.why_not_compiled()), reason=library.why_not_compiled())

ADDMM = torch.ops.aten.addmm.default
MAXIMA = {"latent_size": 6, "components": 5}
PRIOR = {"prior": "mixture"}
"""All tests but the last train this shape, so that it is compiled once."""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Empty at first, and kept from test to test."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_CACHE", str(folder))
        yield folder


def lanes_in(folder, kind="compiled", parts=()):
    return make_lanes(folder, kind=kind, maxima=MAXIMA, averaged=True, parts=parts)


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "adam", "beta": 0.7},
        {"optimizer": "adamax", "latent_size": 6, "components": 5, "free_nats": 2.0},
        {"schedule": "cosine", "warmup_epochs": 2.0, "ema_decay": 0.9, "latent_size": 3},
    ],
)
def test_a_compiled_lane_equals_the_uncompiled_one(tmp_path, params, caplog):
    me = trial(0, **PRIOR, **params)
    values, tensors = run(*lanes_in(tmp_path / "compiled"), [me], 4)[0]
    assert "uncompiled" not in caplog.text
    plain_values, plain_tensors = run(*lanes_in(tmp_path / "sequential", "sequential"), [me], 4)[0]
    assert values == pytest.approx(plain_values, rel=1e-4)
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, plain_tensors[name], rtol=1e-2, atol=1e-3)


def test_products_whose_biases_come_after_are_as_exact_as_bf16_is():
    layers = torch.nn.Sequential(torch.nn.Linear(24, 40), torch.nn.Tanh(), torch.nn.Linear(40, 16))
    x, weights = torch.randn(8, 24), list(layers.parameters())

    def outputs(weights, x, precision):
        with training_precision(torch.device("cpu"), precision):
            return functional_call(
                layers, dict(zip(dict(layers.named_parameters()), weights, strict=True)), x
            )

    exact = layers(x)
    for precision, products in (("bf16", "mm"), ("float32", "addmm")):
        traced = make_fx(partial(outputs, precision=precision))(weights, x)
        before = (traced(weights, x).float() - exact).norm()
        apart = with_biases_apart(traced)
        found = [
            node.target
            for node in apart.graph.nodes
            if node.target in (torch.ops.aten.mm.default, ADDMM)
        ]
        assert found == [{"mm": torch.ops.aten.mm.default, "addmm": ADDMM}[products]] * 2
        # One more rounding.
        assert (apart(weights, x).float() - exact).norm() <= 1.5 * before + 1e-6


def test_company_changes_no_bit(tmp_path):
    me = trial(3, **PRIOR, latent_size=3, optimizer="adamax", ema_decay=0.9)
    alone = run(*lanes_in(tmp_path / "alone"), [me], 3)[3]
    company = [trial(0, **PRIOR, latent_size=6, components=5), me, trial(1, **PRIOR, beta=4.0)]
    together = run(*lanes_in(tmp_path / "together"), company, 3)[3]
    assert alone[0] == together[0]
    assert same_bits(alone[1], together[1])


def test_a_lane_that_diverges_leaves_nothing_behind(tmp_path):
    quiet = run(*lanes_in(tmp_path / "quiet"), [trial(1, **PRIOR)], 2)[1]
    lanes, _ = lanes_in(tmp_path / "loud")
    for each in (trial(0, **PRIOR, beta=3e38, free_nats=100.0), trial(1, **PRIOR)):
        lanes.add(each)
    rounds = [advance_all(lanes, [0, 1]) for _ in range(2)]
    assert rounds[0][0].failure.kind == "diverged"
    assert [done[1].objective for done in rounds] == quiet[0]


def test_killed_and_resumed_is_bit_identical(tmp_path):
    params = PRIOR | {
        "ema_decay": 0.95,
        "schedule": "cosine",
        "warmup_epochs": 3.0,
        "optimizer": "adamax",
    }
    whole = run(*lanes_in(tmp_path / "whole"), [trial(0, **params)], 4)[0]
    values, tensors = killed_and_resumed(
        partial(lanes_in, tmp_path / "cut"), [trial(0, **params)], 2, 4
    )
    assert values == whole[0][2:]
    assert same_bits(tensors, whole[1])


@pytest.mark.slow
def test_one_program_trains_lanes_of_all_rules_and_resumes_in_mid_warmup(tmp_path):
    trials = [replace(each, params={**each.params, **PRIOR}) for each in all_rules()]
    make = partial(lanes_in, parts=ALL_PARTS)
    together = run(*make(tmp_path / "together"), trials, 3)
    for each in trials:
        plain = run(*make(tmp_path / f"plain {each.number}", "sequential"), [each], 3)[each.number]
        alone = run(*make(tmp_path / f"alone {each.number}"), [each], 3)[each.number]
        assert together[each.number][0] == alone[0]
        assert same_bits(together[each.number][1], alone[1])
        assert alone[0] == pytest.approx(plain[0], rel=1e-3)
        values, tensors = killed_and_resumed(
            partial(make, tmp_path / f"cut {each.number}"), [each], 1, 3
        )
        assert values == alone[0][1:]
        assert same_bits(tensors, alone[1])


def test_it_is_compiled_once(cache, tmp_path, monkeypatch):
    run(*lanes_in(tmp_path / "first"), [trial(0, **PRIOR)], 1)
    assert len([folder for folder in (cache / "compiled").iterdir() if folder.is_dir()]) == 1
    monkeypatch.setattr(library, "_compile", lambda *given: pytest.fail("compiled again"))
    monkeypatch.setattr(proxy_tensor, "make_fx", lambda step: pytest.fail("traced again"))
    run(
        *lanes_in(tmp_path / "second"),
        [trial(0, **PRIOR, learning_rate=1e-3, optimizer="adamax")],
        1,
    )


def _flipped(content: bytes) -> bytes:
    """Return damage of 200 bits at random places."""
    damaged, draw = bytearray(content), random.Random(1)
    for _ in range(200):
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


DAMAGE = {
    "cut": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(4096) + content[4096:],
    "bits": _flipped,
}


def test_a_damaged_program_is_never_loaded(cache, tmp_path):
    """In a process of its own, because a damaged program ends the process that loads it (SIGBUS,
    SIGILL).
    """
    run(*lanes_in(tmp_path / "whole"), [trial(0, **PRIOR)], 1)
    for name, damage in DAMAGE.items():
        shutil.copytree(cache, tmp_path / name)
        for program in (tmp_path / name).rglob(library._FILE):
            program.write_bytes(damage(program.read_bytes()))
    script = (
        "import os, sys\n"
        "sys.path[:0] = "
        f"{[str(Path(__file__).parent), str(Path(__file__).parents[3] / 'support'), str(compiled._PACKAGE.parent)]!r}\n"  # noqa: E501
        "from pathlib import Path\n"
        f"import torch; torch.set_num_threads({torch.get_num_threads()})\n"
        "from test_compiled import PRIOR, lanes_in, run, trial\n"
        "for name in sys.argv[1:]:\n"
        "    os.environ['VAEEXP_CACHE'] = name\n"
        "    run(*lanes_in(Path(name, 'run')), [trial(0, **PRIOR)], 1)\n"
        "    print(name)\n"
    )
    folders = [str(tmp_path / name) for name in DAMAGE]
    environment = {**os.environ, "CXX": "no-such-compiler"}  # it would compile each again
    done = subprocess.run(
        [sys.executable, "-c", script, *folders],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == folders
    lines = [line for line in done.stderr.splitlines() if line.endswith("It is made again.")]
    assert [line.partition("/compiled/")[0] for line in lines] == folders
    assert "there is no C++ compiler" in done.stderr


def test_a_library_is_known_by_what_it_was_made_from(tmp_path, monkeypatch):
    model = BASE.model
    others = ({"activation": "relu"}, {"posterior": "deterministic"}, {"prior": "mixture"})
    template = build_vae(model, (1, 6, 6), 0)
    names = {
        compiled._made_from(template, model.model_copy(update=other), "float32", (), "elbo")
        for other in ({}, *others)
    }
    names.add(compiled._made_from(template, model, "bf16", (), "elbo"))
    names.add(compiled._made_from(template, model, "float32", ("decay",), "elbo"))
    names.add(compiled._made_from(template, model, "float32", (), "other"))
    for changes in ({"levels": 4096}, REAL, COUNTS):
        other = build_vae(
            model.model_copy(update={"likelihood": "gaussian"}),
            Values(shape=(1, 6, 6), **changes),
            0,
        )
        names.add(compiled._made_from(other, model, "float32", (), "elbo"))
    assert len(names) == 10
    # Lanes of other sizes are embedded in the same model.
    assert (
        compiled._made_from(
            template, model.model_copy(update={"latent_size": 3}), "float32", (), "elbo"
        )
        in names
    )

    edited = tmp_path / "vaeexp"
    shutil.copytree(compiled._PACKAGE, edited)
    monkeypatch.setattr(compiled, "_PACKAGE", edited)
    with (edited / "models" / "priors.py").open("a") as file:
        file.write("# edited")
    compiled._sources.cache_clear()
    assert compiled._made_from(template, model, "float32", (), "elbo") not in names
    compiled._sources.cache_clear()


def test_a_step_with_the_users_own_layers_is_known_by_its_operations():
    class Swish(torch.nn.Module):
        def forward(self, h):
            return h * torch.sigmoid(h)

    template = build_vae(BASE.model, (1, 6, 6), 0)
    template.decoder.append(Swish())
    assert compiled._made_from(template, BASE.model, "float32", (), "elbo") is None
    plain = build_vae(BASE.model, (1, 6, 6), 0)
    assert compiled._made_from(plain, BASE.model, "float32", (), "mine:loss") is None
    plain.own = True  # as with a network, a prior or a likelihood of the user's own
    assert compiled._made_from(plain, BASE.model, "float32", (), "elbo") is None


def test_without_a_compiler_it_trains_uncompiled_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert library.why_not_compiled()
    group.warn_once.cache_clear()
    me = trial(0, **PRIOR)
    with caplog.at_level(logging.WARNING):
        values = run(*lanes_in(tmp_path / "compiled"), [me], 2)[0][0]
    assert "train uncompiled" in caplog.text
    assert "there is no C++ compiler" in caplog.text
    assert values == run(*lanes_in(tmp_path / "sequential", "sequential"), [me], 2)[0][0]


@pytest.mark.slow
def test_a_compiler_that_fails_on_a_program_trains_uncompiled_and_says_so(
    tmp_path, monkeypatch, caplog
):
    import torch._inductor.config  # 4 s, which each tester would pay at the top

    compiler = tmp_path / "c++"
    answers = 'case "$*" in *probe.cpp|--version|-v) exec g++ "$@";; esac'
    compiler.write_text(
        f"#!/bin/sh\n{answers}\necho 'a.cpp:1:9: fatal error: no room' >&2\nexit 1\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("CXX", str(compiler))
    group.warn_once.cache_clear()
    me = trial(0, **PRIOR)
    # CXX is read once, when PyTorch's settings are imported.
    with (
        torch._inductor.config.patch({"cpp.cxx": (None, str(compiler))}),
        caplog.at_level(logging.WARNING),
    ):
        assert not library.why_not_compiled()
        values = run(*lanes_in(tmp_path / "compiled"), [me], 2)[0][0]
    [line] = [
        record.getMessage()
        for record in caplog.records
        if "train uncompiled" in record.getMessage()
    ]
    assert line.endswith("about half as fast: the C++ compiler fails: fatal error: no room")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert values == run(*lanes_in(tmp_path / "sequential", "sequential"), [me], 2)[0][0]


def test_a_library_that_computes_something_else_is_not_used(tmp_path, monkeypatch, caplog):
    opened = library.open_program

    def wrong(program, given, **what):
        right = opened(program, given, **what)

        def run(tensors):
            first = tensors[len(tensors) // 3]
            done = right(tensors)
            first.mul_(1.5)
            return done

        return run

    monkeypatch.setattr("vaeexp.training.steps.compiled.open_program", wrong)
    group.warn_once.cache_clear()
    lanes, _ = lanes_in(tmp_path)
    with caplog.at_level(logging.WARNING):
        lanes.add(trial(0, **PRIOR))
    assert "computes something else" in caplog.text


def nll_of(vae, importance_samples, **compiling):
    images = (torch.rand(7, 1, 6, 6, generator=torch.Generator().manual_seed(2)) < 0.4).float()
    return importance_weighted_nll(
        vae, images, importance_samples=importance_samples, seed=3, **compiling
    )[-1]


@pytest.mark.slow
def test_a_compiled_decoder_gives_the_bound_of_the_plain_one(monkeypatch, caplog):
    vae = build_vae(BASE.model.model_copy(update=PRIOR), (1, 6, 6), 0).eval()
    budget = 200 * _bytes_per_code(
        vae
    )  # 4 images at a time, so that the last piece is smaller; so is the last of 120 samples
    plain = nll_of(vae, 120, budget=budget)
    monkeypatch.setattr(weights, "_COMPILING_PAYS", 1)
    opened = []
    monkeypatch.setattr(
        weights,
        "open_program",
        lambda *given, **what: opened.append(1) or library.open_program(*given, **what),
    )
    torch.testing.assert_close(nll_of(vae, 120, budget=budget), plain, rtol=1e-6, atol=1e-6)
    assert opened
    assert "uncompiled" not in caplog.text
    with torch.no_grad():
        next(vae.decoder.parameters()).mul_(2)
    changed = nll_of(vae, 120, budget=budget)
    assert not torch.allclose(changed, plain), "the weights are those of now"


@pytest.mark.parametrize("how", ["no compiler", "wrong"])
def test_without_a_decoder_that_can_be_compiled_it_is_plain(monkeypatch, tmp_path, caplog, how):
    vae = build_vae(BASE.model, (1, 6, 6), 0).eval()
    plain = nll_of(vae, 50)
    monkeypatch.setattr(weights, "_COMPILING_PAYS", 1)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "empty"))
    if how == "no compiler":
        monkeypatch.setenv("CXX", "no-such-compiler")
    else:
        monkeypatch.setattr(
            weights, "_compiled", lambda plain, *given: lambda *given: plain(*given) * 1.01
        )
    weights.warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert torch.equal(nll_of(vae, 50), plain)
    assert ("computes something else" in caplog.text) == (how == "wrong")


def test_convolutions_are_left_as_they_are():
    model = BASE.model.model_copy(update={"network": "conv"})
    settings = BASE.model_copy(update={"model": model})
    opened = group.open_group(
        source(), settings, maxima={}, precision="float32", fuse=False, compile=True, averaged=False
    )
    assert isinstance(opened, SequentialGroup)
    assert opened.compiled is None
