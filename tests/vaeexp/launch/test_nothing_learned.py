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
train: {{batch_size: 8, epochs: 2, free_nats: {free}}}
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
    ("free", "low", "high", "pruner", "status", "says"),
    [
        pytest.param(
            *("100.0", "1.0e+37", "1.0e+38", "none", 3),
            r"Nothing was learned: (all 2 trials|the one trial) failed \(\d diverged\)",
        ),
        pytest.param(
            *("0.0", "5.0e+3", "9.0e+3", "none", 0),
            r"Nothing was learned: the posterior collapsed in (all 2|the one)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("0.0", "1.0", "2.0", "{name: threshold, upper: -1.0e+9}", 0),
            r"No trial was trained to its end \(\d pruned\)",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["failed", "collapsed", "pruned"],
)
def test_the_first_line_says_that_nothing_was_learned(
    place, capsys, free, low, high, pruner, status, says
):
    (place / "n.yaml").write_text(
        STUDY.format(free=free, low=low, high=high, pruner=pruner), encoding="utf-8"
    )
    assert vaeexp(*SWEEP) == status
    assert re.search(says, capsys.readouterr().out.replace("\n", " "))
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
    text = STUDY.format(free="0.0", low="5.0e+3", high="9.0e+3", pruner="none")
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
