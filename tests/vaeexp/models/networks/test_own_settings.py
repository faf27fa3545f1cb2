"""Settings of a user's own network: declared by annotated class attributes, checked, searched,
recorded.
"""

import re
import sys
import textwrap

import pytest
import torch
from click.testing import CliRunner

from sweeps.errors import UserError
from vaeexp.commands import cli
from vaeexp.launch.execution import model_shapes, shape_count
from vaeexp.models.networks import find_network, own_settings
from vaeexp.models.vae import build_vae, shape_of
from vaeexp.settings import ModelSettings, Settings
from vaeexp.study import open_study_file

NETS = """
    from dataclasses import dataclass
    from typing import Annotated, ClassVar, Literal
    from pydantic import Field
    from torch import nn

    class Net:
        width: Annotated[int, Field(ge=4, le=64)] = 8
        slope: float = 0.1
        bias: bool = True
        kind: Literal["relu", "tanh"] = "relu"
        sizes: tuple[int, ...] = (4, 4)
        extra: int | None = None
        outputs: str = "logits"
        constant: ClassVar[int] = 3
        part: type = nn.ReLU
        _hidden: int = 1
        plain = 5

        def encoder(self, settings, image_shape, outputs):
            pixels = image_shape[0] * image_shape[1] * image_shape[2]
            layers = [nn.Flatten(), nn.Linear(pixels, self.width, bias=self.bias), nn.LeakyReLU(self.slope)]
            return nn.Sequential(*layers, nn.Linear(self.width, outputs))

        def decoder(self, settings, image_shape, latent_size, parameters):
            shape = (parameters * image_shape[0], *image_shape[1:])
            sizes = [latent_size, *self.sizes, shape[0] * shape[1] * shape[2]]
            return nn.Sequential(*map(nn.Linear, sizes[:-1], sizes[1:]), nn.Unflatten(1, shape))

    class Undeclared(Net):
        depth: int
        rate = 0.5
        shape = [3, 3]
        def __init__(self, heads=4, **others): ...

    class Heir(Net):
        depth: int = 2
        def __init__(self):
            self.sizes = (self.width,) * self.depth

    @dataclass
    class Data(Net):
        depth: int = 2
        def __post_init__(self):
            self.sizes = (self.width,) * self.depth

    class Module(nn.Module, Net):
        depth: int = 1

    class Small(Net):
        width: Annotated[int, Field(ge=4)] = 2

    class Odd(Net):
        width: "Annotated[int, Unknown]" = 8

    ready = Net()
"""  # noqa: E501


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A folder with the user's module in it, as the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own_nets", "other_nets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(NETS))
    return tmp_path


def study(folder, search, *overrides, fixed="", text="", shape=(1, 8, 8)):
    (folder / "own.yaml").write_text(
        "question: Which one?\ntrain: {epochs: 2}\nbudget: {trials: 3}\n"
        f'model: {{network: "own_nets:Net"{fixed}}}\nsearch: {search}\n{text}'
    )
    return open_study_file(str(folder / "own.yaml"), overrides=overrides, values=shape)


def widths(name, **own):
    settings = ModelSettings(
        network=name, latent_size=3, **{f"{name.partition(':')[2]}.{k}": v for k, v in own.items()}
    )
    vae = build_vae(settings, (1, 8, 8), 0)
    return [
        tuple(layer.weight.shape) for layer in vae.modules() if isinstance(layer, torch.nn.Linear)
    ]


def test_annotated_attributes_with_a_plain_default_are_settings(nets):
    names = ["width", "slope", "bias", "kind", "sizes", "extra"]
    assert [*own_settings("own_nets:Net")] == [f"Net.{name}" for name in names]
    assert own_settings("own_nets:Net")["Net.sizes"] == (tuple[int, ...], (4, 4))
    assert [*own_settings("own_nets:Module")] == [f"Module.{name}" for name in [*names, "depth"]]
    assert find_network("own_nets:Net").shapes[-6:] == tuple(f"Net.{name}" for name in names)


def test_the_methods_find_the_values_in_self(nets):
    assert widths("own_nets:Net") == [(8, 64), (6, 8), (4, 3), (4, 4), (64, 4)]
    assert widths("own_nets:Net", width=16, sizes=[5]) == [(16, 64), (6, 16), (5, 3), (64, 5)]
    assert widths("own_nets:Net")[0] == (8, 64), "another study finds the default again"
    for name in ("Heir", "Data"):  # what they make of a setting in the constructor
        assert widths(f"own_nets:{name}", width=7, depth=3)[2:] == [(7, 3), (7, 7), (7, 7), (64, 7)]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["Net.width=3"], r"--set model\.Net\.width: got 3; must be greater than or equal to 4"),
        (["Net.kind=gelu"], r"Net\.kind: got 'gelu'; must be 'relu' or 'tanh'"),
        (["Net.widht=8"], r"--set Net\.widht: .*Did you mean 'Net\.width'"),
        (
            ["search.Net.width.high=65"],
            r"search\.Net\.width\.high: got 65; must be less than or equal to 64",
        ),
        (["network=own_nets:Nte"], r"'own_nets:Nte' cannot be imported"),
        (
            ["network=own_nets:Small"],
            r"Small\.width has the default 2: .*greater than or equal to 4",
        ),
        (["network=own_nets:Odd"], r"annotations of 'own_nets:Odd' cannot be read: NameError"),
        (["network=own_nets:Undeclared", "Undeclared.depth=3"], "Undeclared.depth: unknown"),
        (
            ["baselines.x.settings.network=other_nets:Net"],
            "'own_nets:Net' and 'other_nets:Net' have settings and one name",
        ),
    ],
)
def test_they_are_checked_like_ours(nets, overrides, says):
    with pytest.raises(UserError, match=says):
        study(nets, "{Net.width: {low: 4, high: 64}}", *overrides)


@pytest.mark.parametrize("where", ["Net.widht: 3", "search: {Net.widht: {low: 4, high: 8}}"])
def test_an_unknown_one_gets_a_hint_wherever_it_stands(nets, where):
    (nets / "own.yaml").write_text("extends: base.yaml\nquestion: Which one?\n" + where + "\n")
    (nets / "base.yaml").write_text(
        'question: q\nmodel: {network: "own_nets:Net"}\nsearch: {beta: {low: 1, high: '
        "2}}\nbudget: {trials: 2}\n"
    )
    with pytest.raises(
        UserError, match=r"own\.yaml:3: .*Net\.widht.*unknown setting\. Did you mean 'Net\.width'"
    ):
        open_study_file("own.yaml")


def test_a_study_fixes_searches_and_compares_them(nets):
    search = "{network: {values: [mlp, 'own_nets:Net']}, Net.width: {low: 4, high: 64, when: {network: 'own_nets:Net'}}}"  # noqa: E501
    (nets / "own.yaml").write_text(
        f"question: Which one?\nbudget: {{trials: 3}}\nNet.slope: 1\nsearch: {search}\n"
        "baselines: {wide: {settings: {network: 'own_nets:Net', Net.width: 32, Net.sizes: [6]}}}\n"
    )
    found = open_study_file("own.yaml", overrides=["Net.kind=tanh"], values=(1, 8, 8))
    assert found.space.names == ["network", "Net.width"]
    assert found.baselines[0].settings["Net.width"] == 32
    assert type(found.fixed["model"]) is ModelSettings
    assert found.fixed["model"].own() | {"Net.sizes": 0} == {
        "Net.width": 8,
        "Net.slope": 1.0,
        "Net.bias": True,
        "Net.kind": "tanh",
        "Net.sizes": 0,
        "Net.extra": None,
    }
    assert found.spec()["model"]["Net.kind"] == "tanh"
    assert "Net.width" not in found.spec()["model"]
    with pytest.raises(UserError, match=r"search\.Net\.width\.when: 'netwrok' is not searched"):
        open_study_file("own.yaml", overrides=["search.Net.width.when={netwrok: x}"])


def test_values_that_make_other_tensors_make_other_groups(nets):
    base = Settings(model=ModelSettings(network="own_nets:Net", latent_size=3))
    shapes = {
        shape_of(base.with_params({"Net.width": width, "Net.sizes": [3]}).model)
        for width in (8, 8, 16)
    }
    assert len(shapes) == 2
    found = study(
        nets,
        "{Net.width: {values: [4, 8]}, Net.kind: {values: [relu, tanh]}, beta: {low: 1, high: 2}}",
    )
    settings = Settings.model_validate(dict(found.fixed))
    assert len(model_shapes(found, settings)) == shape_count(found, settings, 9) == 4
    ranged = study(nets, "{Net.width: {low: 4, high: 8}}")
    assert shape_count(ranged, settings, 9) == 9, "a range may give each trial a shape of its own"


def test_show_lists_those_that_a_study_fixes(nets):
    study(nets, "{beta: {low: 1, high: 2}}", fixed=", Net.width: 12")
    shown = CliRunner().invoke(cli, ["show", "own.yaml"], catch_exceptions=False).output
    assert re.search(r"model\s+Net\.width\s+12", shown)
    assert re.search(r"model\s+Net\.kind\s+relu", shown)
