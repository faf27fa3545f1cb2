"""A study that has learned nothing, from the command to the report: its first line, its exit
status, and no advice to confirm.
"""

import re
import shlex
import shutil

import numpy as np
import pytest
from image_files import noise

from vaeexp.commands import main

STUDY = """
question: Is anything learned?
data: {{dataset: arrays, binarisation: none}}
model: {{hidden: [8], latent_size: 2, likelihood: gaussian}}
train: {{batch_size: 8, epochs: {epochs}, free_nats: {free}, learning_rate: 0.01}}
evaluation: {{importance_samples: 2}}
search:
  beta: {{low: {low}, high: {high}, log: true}}
sampler: random
pruner: {pruner}
budget: {{trials: 2}}
confirm: {{top: 1, seeds: 2}}
"""


SWEEP = (
    *("sweep", "n.yaml", "--data", "images.npy"),
    *("--device", "cpu", "--workers", "1", "--compile", "off"),
)


@pytest.fixture
def place(tmp_path, monkeypatch, empty_store):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "images.npy", noise(40, 8, 8, 1))
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, tmp_path / "mlruns")
    return tmp_path


def vaeexp(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    return ended.value.code or 0


@pytest.mark.usefixtures("keep_signals", "no_figures")
@pytest.mark.parametrize(
    ("free", "low", "high", "epochs", "pruner", "status", "says"),
    [
        pytest.param(
            *("100.0", "1.0e+37", "1.0e+38", 2, "none", 3),
            r"Nothing was learned: (all 2 trials|the one trial) failed \(\d diverged\)",
        ),
        pytest.param(
            *("0.0", "5.0e+3", "9.0e+3", 40, "none", 0),
            r"Nothing was learned: the posterior collapsed in (all 2|the one)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("0.0", "1.0", "2.0", 2, "{name: threshold, upper: -1.0e+9}", 0),
            r"No trial was trained to its end \(\d pruned\)",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["failed", "collapsed", "pruned"],
)
def test_the_first_line_says_that_nothing_was_learned(
    place, capsys, free, low, high, epochs, pruner, status, says
):
    text = STUDY.format(free=free, low=low, high=high, epochs=epochs, pruner=pruner)
    (place / "n.yaml").write_text(text, encoding="utf-8")
    assert vaeexp(*SWEEP) == status
    out = capsys.readouterr().out
    assert re.search(says, out.replace("\n", " "))
    lines = ["Loading PyTorch", "The search has ended: ", "Writing the report.", "Copying the last"]
    places = [out.index(line) for line in lines]
    assert places == sorted(places), "each silence has a line before it"
    page = place / "reports" / "n" / "report.html"
    page.unlink()
    assert vaeexp(*SWEEP) == status, "a finished study says it again"
    assert page.exists(), "and writes the page that is gone"
    capsys.readouterr()
    assert vaeexp("status", "n") == 0
    assert re.search(says, " ".join(capsys.readouterr().out.split("\n")[2:6]))
    report = (place / "reports" / "n" / "README.md").read_text(encoding="utf-8")
    answer = report.split("## Answer")[1].strip().replace("\\", "")
    assert re.match(rf"- \*\*Use\*\* {says}", answer)
    assert not re.search(r"Confirm \d+ configurations", report)
    assert not [*(place / "mlruns" / "trials").glob("n/repeat-*")], (
        "hours of repeats would teach nothing either"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("keep_signals", "no_figures")
def test_the_command_that_is_named_trains_the_best_configuration_all_the_same(place, capsys):
    text = STUDY.format(free="0.0", low="5.0e+3", high="9.0e+3", epochs=40, pruner="none")
    (place / "n.yaml").write_text(text, encoding="utf-8")
    assert vaeexp(*SWEEP) == 0
    said = " ".join(capsys.readouterr().out.split())
    named = re.search(
        r"nothing is confirmed or compared \(up to 2 runs\)\. .* all the same: .*?(sweep .*? "
        r"--extend)",
        said,
    )
    assert vaeexp(*shlex.split(named[1])) == 0
    assert [*(place / "mlruns" / "trials").glob("n/repeat-*")]


@pytest.mark.slow
@pytest.mark.usefixtures("keep_signals", "no_figures")
def test_a_study_of_few_epochs_is_hardly_trained_and_its_repeats_are_trained(place, capsys):
    text = STUDY.format(free="100.0", low="1", high="2", epochs=2, pruner="none")
    text = text.replace("low: 1, high: 2, log: true", "values: [1, 1.0e+38]")
    text = text.replace("sampler: random", "sampler: grid").replace("0.01}", "1.0e-5}")
    (place / "n.yaml").write_text(text, encoding="utf-8")
    assert vaeexp(*SWEEP) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Use: Hardly trained: −ELBO still fell fast" in out
    assert "nats per image at most; 1 diverged." in out
    assert re.search("Next: Train for more `epochs`.*Search a lower `learning_rate`", out)
    assert re.search("n/r0 trained; testing it .* n/r0 complete", out)
    assert len([*(place / "mlruns" / "trials").glob("n/repeat-*")]) == 2
    assert vaeexp(*SWEEP, "--set", "budget.seconds=1000", "--extend") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Nothing was left to train. The study 'n' is complete: " in out
    assert "A larger budget adds no trial: the grid has no other setting." in out
