"""Public VAEs: the pages that adapt four of them, and what the owner of one sees on the way to a
sweep.
"""

import io
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from mnist_files import write_files
from rich.console import Console

from sweeps.errors import UserError
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.run import plan_sweep, run_sweep
from vaeexp.launch.study_log import StudyLog
from vaeexp.models.network_warnings import network_warnings
from vaeexp.models.vae import build_vae
from vaeexp.study import open_study_file, settings_of
from vaeexp.training.checkpoint import load_model

DOCS = Path(__file__).resolve().parent.parent / "docs"
EXAMPLES = DOCS / "examples" / "networks"
PAGES = {
    "pytorch_vae": ("pytorch-examples-vae", "github.com/pytorch/examples", "BSD 3-Clause"),
    "vanilla_vae": ("antixk-vanilla-vae", "github.com/AntixK/PyTorch-VAE", "Apache 2.0"),
    "burgess_vae": ("burgess-vae", "github.com/YannDubs/disentangling-vae", "MIT"),
    "pythae_vae": ("pythae-vae", "github.com/clementchadebec/benchmark_VAE", "Apache 2.0"),
}
MNIST = (1, 28, 28)
PARAMETERS = {
    "pytorch_vae": (MNIST, 652_824),
    "vanilla_vae": ((3, 64, 64), 3_937_635),
    "burgess_vae": (MNIST, 469_173),
    "pythae_vae": (MNIST, 820_004),
}
"""Images of the source, and how many numbers its own code learns at them, counted once."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of a user's, with the examples in it, and MNIST files of a few images."""
    for path in EXAMPLES.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    write_files(tmp_path / "data" / "MNIST" / "raw", training=160, test=30)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    for stem in (*PAGES, "my_vae"):
        monkeypatch.delitem(sys.modules, stem, raising=False)
    return tmp_path


@pytest.mark.parametrize("stem", PAGES)
def test_a_page_shows_its_files_as_they_are_and_names_the_source(stem):
    name, source, licence = PAGES[stem]
    text = (DOCS / "guide" / f"{name}.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```(python|yaml)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for kind, ending in (("python", "py"), ("yaml", "yaml")):
        assert blocks[kind] == (EXAMPLES / f"{stem}.{ending}").read_text(encoding="utf-8")
    assert source in text
    assert licence in text
    for part in (source, licence):
        assert part in (EXAMPLES / f"{stem}.py").read_text(encoding="utf-8")
    assert f"](guide/{name}.md)" in (DOCS / "README.md").read_text(
        encoding="utf-8"
    ) or f"]({name}.md)" in (DOCS / "guide" / "own-network.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("stem", PAGES)
def test_an_example_builds_learns_and_leaves_no_doubt(place, stem):
    if stem == "pythae_vae":
        pytest.importorskip("pythae")
    settings = settings_of(open_study_file(f"{stem}.yaml"))
    small = {"latent_size": 4} | ({"VanillaVAE.widths": [4, 4]} if stem == "vanilla_vae" else {})
    model = settings.with_params(small).model
    vae = build_vae(model, MNIST, 0)
    assert network_warnings(vae, model) == []
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(vae.parameters(), 1e-3)
    noise = torch.zeros(4, model.latent_size)
    losses = []
    for _ in range(4):
        terms = vae(x, noise)
        optimizer.zero_grad()
        (terms.distortion + terms.rate).mean().backward()
        optimizer.step()
        losses.append(float(terms.distortion.mean().detach()))
    assert losses[-1] < losses[0]
    shape, count = PARAMETERS[stem]
    assert build_vae(settings.model, shape, 0).parameter_count() == count


MINE = """
from torch import nn


class VAE(nn.Module):
    def __init__(self, latent_dim):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(784, 16), nn.Linear(16, latent_dim), nn.Linear(16, latent_dim)
        self.fc3, self.fc4 = nn.Linear(latent_dim, 16), nn.Linear(16, 784)

    def encode(self, x):
        h = self.fc1(x.flatten(1)).relu()
        return self.fc21(h), self.fc22(h)

    def decode(self, z):
        return self.fc4(self.fc3(z).relu()).sigmoid()

"""  # noqa: E501
ADAPTED = """
class Mine:
    {outputs}{more}
    def vae(self, settings, image_shape):
        return VAE(settings.latent_size)
"""


def options(**changes) -> SweepOptions:
    execution = {"device": "cpu", "precision": "float32", "workers": 1, "lanes": 1}
    return SweepOptions(study="mine.yaml", data=Path("data"), **execution, **changes)


def written(
    module: str, network: str = "my_vae:Mine", search: str = "beta: {values: [0.5, 1]}"
) -> None:
    """Write the user's files, as an editor would between two commands."""
    Path("my_vae.py").write_text(MINE + module)
    sys.modules.pop("my_vae", None)
    Path("mine.yaml").write_text(
        f"question: How is mine?\ndata: {{validation_size: 40, train_size: 120}}\nmodel: "
        f'{{network: "{network}"}}\n'
        f"train: {{epochs: 1, batch_size: 20}}\nevaluation: {{importance_samples: 2}}\nsearch: "
        f"{{{search}}}\n"
        "sampler: grid\nbudget: {trials: 2}\n"
    )


def shown(work=plan_sweep) -> str:
    console = Console(file=io.StringIO(), width=300)
    work(options(), StudyLog(console))
    return console.file.getvalue()


def test_the_owner_of_a_vae_is_led_from_its_class_to_a_plan(place):
    """The path of a newcomer with a PyTorch VAE, step by step, with what they see."""
    steps = [
        (
            "",
            "my_vae:VAE",
            r"mine\.yaml.*network.*'my_vae:VAE'.*whole VAE: name a class with a method "
            r"`vae\(self, settings",
        ),
        (
            ADAPTED.format(outputs="", more="loss_function = lambda self, x: 0\n"),
            "my_vae:Mine",
            "the method `loss_function` .* the loss is distortion .* `likelihood`.* Take it away",
        ),
    ]
    for module, network, says in steps:
        written(module, network)
        with pytest.raises(UserError, match=says) as refused:
            shown()
        assert len(str(refused.value).splitlines()) == 1
    written(ADAPTED.format(outputs="pass", more=""))
    plan = shown()
    assert re.search(
        r'warning: .*my_vae:Mine.* \[0, 1\] only.*squashed twice.*`outputs = "probabilities"`', plan
    )
    assert "Nothing was trained." in plan
    assert not Path("mlruns").exists()
    adapted()
    assert "warning" not in shown()


def adapted() -> None:
    """Write the VAE as it sweeps, with a setting of its own."""
    written(
        ADAPTED.format(outputs='outputs = "probabilities"', more="\n    width: int = 8"),
        search="Mine.width: {values: [8, 9]}",
    )


@pytest.mark.slow
def test_the_adapted_vae_sweeps_and_loads_again(place, empty_store):
    """The end of this path: the sweep, its tables, and generated pictures."""
    adapted()
    Path("mlruns").mkdir()
    shutil.copy(empty_store, "mlruns")
    done = shown(run_sweep)
    assert "[2/2]" in done
    assert "Mine.width=9" in done
    trials = pd.read_csv("reports/mine/trials.csv")
    assert sorted(trials["params.Mine.width"]) == [8, 9]
    assert "Mine.width" in Path("reports/mine/README.md").read_text()
    vae = load_model(Path("mlruns/trials/mine/trial-0001"))
    pictures = vae.sample(2, torch.Generator().manual_seed(0)).mean
    assert pictures.shape == (2, 1, 28, 28)
    assert float(pictures.min()) >= 0
