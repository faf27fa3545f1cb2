"""The benchmarks run: every contender that needs nothing but torch trains the same model, and the
table is whole.

Nothing is timed here; figures of a stretch of one step say nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from contenders import Task
from contenders.limit import layers_of, step_bytes
from contenders.models import PlainVAE
from contenders.ours import settings_of
from lineup import Entry, compiled, ladder, lineup
from runners import Bench, Failed, climbed, measured
from table import child_environment, markdown
from throughput import summary

from vaeexp.models.vae import VAE

BENCHMARKS = Path(__file__).resolve().parent.parent
CACHE = tempfile.TemporaryDirectory(prefix="vaeexp-benchmarks-", ignore_cleanup_errors=True)


def run(*command: str) -> subprocess.CompletedProcess:
    """On one core, where there are fewer contenders; without the files of MNIST."""
    environment = child_environment()
    environment.pop("VAEEXP_DATA", None)
    environment["VAEEXP_CACHE"] = CACHE.name
    return subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=one_core if hasattr(os, "sched_setaffinity") else None,
    )


def one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def test_the_table_of_races_has_a_row_for_each_plan() -> None:
    done = run(str(BENCHMARKS / "races.py"), "--races", "3")
    assert done.returncode == 0, done.stderr
    header, _, *rows = done.stdout.splitlines()
    assert len(rows) == 60
    assert {row.count("|") for row in rows} == {header.count("|")}


@pytest.mark.slow
def test_a_run_of_one_step_writes_the_whole_table(tmp_path: Path) -> None:
    found, picture = tmp_path / "found" / "throughput.json", tmp_path / "found" / "throughput.png"
    command = [
        str(BENCHMARKS / "throughput.py"),
        "--device",
        "cpu",
        "--images",
        "128",
        "--repeats",
        "1",
    ]
    command += [
        "--models",
        "mlp",
        "--contenders",
        "resident",
        "ours",
        "limit",
        "--precisions",
        "float32",
    ]
    done = run(*command, "--widths", "1", "--json", str(found), "--png", str(picture))
    assert done.returncode == 0, done.stderr
    content = json.loads(found.read_text(encoding="utf-8"))
    assert {row["family"] for row in content["rows"]} == {"resident", "ours", "limit"}
    for row in content["rows"]:
        assert "failed" not in row
        for field in ("median_s", "trial_epochs_per_s", "memory_mb", "first_step_s"):
            assert row[field] > 0
        assert (row["share_of_limit"] is None) == (row["family"] == "limit")
        assert row["name"] in done.stdout
    seconds = {row["name"]: row["median_s"] for row in content["rows"]}
    together = (
        seconds["limit: products alone, float32"] + seconds["limit: bytes at copy speed, float32"]
    )
    ours = min(row["median_s"] for row in content["rows"] if row["family"] == "ours")
    assert (
        f"together {together:.3g} s; vaeexp {ours:.3g} s, {together / ours:.0%} of that speed"
        in done.stdout
    )
    assert content["machine"]["cores"] >= 1
    assert "random" in content["data"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_our_lanes_train_with_torch_and_numpy_alone() -> None:
    blocked = (
        "pydantic",
        "yaml",
        "optuna",
        "mlflow",
        "click",
        "rich",
        "torchvision",
        "safetensors",
        "scipy",
        "sklearn",
    )
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        "from contenders import Task, open_contender\n"
        "for variant in ('sequential', 'vectorised'):\n"
        "    stretch = open_contender(Task(module='ours', model='mlp', width=2, "
        "variant=variant))(128)\n"
        "    assert stretch.ended > stretch.began\n"
        "from table import describe_machine\n"
        "assert describe_machine('cpu')['cores'] >= 1\n"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_refill_is_measured_and_busy_time_counts_once(tmp_path: Path) -> None:
    found = tmp_path / "profile.json"
    command = [
        str(BENCHMARKS / "gpu_profile.py"),
        "--device",
        "cpu",
        "--width",
        "2",
        "--images",
        "128",
    ]
    done = run(*command, "--precision", "float32", "--json", str(found))
    assert done.returncode == 0, done.stderr
    content = json.loads(found.read_text(encoding="utf-8"))
    assert content["refill_share"] == pytest.approx(
        content["refill_s"] / (content["epoch_s"] * 50_000 / 128)
    )
    from gpu_profile import union

    assert union([(5, 7), (0, 2), (1, 3), (6, 6.5)]) == 5
    assert union([]) == 0


@pytest.mark.slow
def test_the_driver_is_measured_beside_waiting_lanes(tmp_path: Path) -> None:
    found = tmp_path / "driver.json"
    command = [
        str(BENCHMARKS / "driver_cost.py"),
        "--width",
        "2",
        "--trials",
        "4",
        "--epochs",
        "2",
        "--seconds",
        "0.01",
    ]
    done = run(*command, "--json", str(found))
    assert done.returncode == 0, done.stderr
    content = json.loads(found.read_text(encoding="utf-8"))
    assert content["rounds"] == 4
    assert 0 < content["their share"] < 1


@pytest.mark.slow
def test_several_processes_train_at_once() -> None:
    code = (
        "from contenders import Task, open_contender\n"
        "train = open_contender(Task(module='limit', model='mlp', variant='bytes', processes=2))\n"
        "began, ended, memory = train(128)\n"
        "assert ended > began and memory > 0\n"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_contender_that_cannot_run_is_a_row_that_says_why(tmp_path: Path) -> None:
    nobody = Entry(name="nobody", family="resident", task=Task(module="nobody", model="mlp"))
    copies = [
        Entry(
            name=f"copies {n}",
            family="limit",
            task=Task(module="limit", model="mlp", variant="bytes", threads=n),
        )
        for n in (1, 2)
    ]
    with closing(Bench(str(tmp_path), at_once=3)) as bench:
        runners = bench.open([copies[0], nobody, copies[1]])
        assert [runner.entry for runner in runners] == copies, (
            "in their order, however long each takes to open"
        )
        assert all(measured(runner, 128, bench.failed) for runner in runners)
        (row,) = (row for row in summary([], bench.failed, "mlp", 128))
    assert "No module named 'contenders.nobody'" in row["failed"]


class Imagined:
    """A contender whose seconds per trial-epoch are known."""

    def __init__(self, entry: tuple[str, int], seconds: float) -> None:
        self.entry, self._seconds = entry, seconds

    def measure(self, images: int) -> float:
        if not self._seconds:
            raise Failed("no memory")
        return self._seconds


def test_the_ladder_is_climbed_until_time_per_trial_stops_improving(tmp_path: Path) -> None:
    seconds = {"float32": [8.0, 6.0, 5.9, 1.0], "bf16": [8.0, 4.0, 2.0, 0.0]}
    opened = []

    class Known(Bench):
        def open(self, entries: list[tuple[str, int]]) -> list[Imagined]:
            opened.extend(entries)
            return [
                Imagined((precision, width), seconds[precision][width])
                for precision, width in entries
            ]

    bench = Known(str(tmp_path), at_once=2)
    steps = [[(precision, width) for precision in seconds] for width in range(4)]
    runners, fastest = climbed(bench, steps, 128)
    assert [runner.entry for runner in runners] == [
        *(("float32", n) for n in range(3)),
        *(("bf16", n) for n in range(3)),
    ]
    assert fastest == ("bf16", 2)
    assert ("float32", 3) not in opened
    assert bench.failed == {("bf16", 3): "no memory"}


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_the_plain_models_have_the_shapes_of_ours(kind: str) -> None:
    ours = VAE(settings_of(kind).model, (1, 28, 28))
    plain = PlainVAE(kind)
    assert [p.shape for p in plain.encoder.parameters()] == [
        p.shape for p in ours.encoder.parameters()
    ]
    assert [p.shape for p in plain.decoder.parameters()] == [
        p.shape for p in ours.decoder.parameters()
    ]
    assert sum(p.numel() for p in plain.parameters()) == ours.parameter_count()


def test_the_settings_of_ours_are_those_of_a_study() -> None:
    from vaeexp.settings import Settings

    defaults, given = Settings(), settings_of("mlp")
    for section in ("model", "train"):
        for name, value in vars(getattr(given, section)).items():
            assert getattr(getattr(defaults, section), name) == value, name
    assert settings_of("conv").model.latent_size == 64


def test_the_limit_counts_every_product() -> None:
    assert [layer.product() for layer in layers_of("mlp")] == [
        (128, 784, 512),
        (128, 512, 512),
        (128, 512, 40),
        (128, 20, 512),
        (128, 512, 512),
        (128, 512, 784),
    ]
    # The fifth block of the network, a transposed convolution from 256 channels at 1 × 1 to 128 at
    # 3 × 3.
    assert layers_of("conv")[6].product() == (128, 256, 128 * 9)
    assert step_bytes("mlp", "bf16") < step_bytes("mlp", "float32")


def test_the_lineup_is_complete() -> None:
    families = [
        "notebook",
        "resident",
        "compile",
        "graphs",
        "lightning",
        "pythae",
        "processes",
        "limit",
    ]
    on_cuda = lineup("conv", "cuda", 16, ["float32", "tf32", "bf16"], families)
    assert {entry.family for entry in on_cuda} == set(families)
    assert {entry.task.processes for entry in on_cuda if entry.family == "processes"} == {4, 8}
    fused = ladder("mlp", "cuda", 16, "bf16", 64)
    assert fused.task.trials == 64
    assert (compiled(fused).task.variant, compiled(fused).task.width) == ("compiled", 64)
    four = ladder("mlp", "cpu", 2, "bf16", 4).task
    assert (four.processes, four.width, four.threads) == (2, 2, 1)
    assert len({entry.name for entry in on_cuda}) == len(on_cuda)


def test_a_table_lines_up() -> None:
    lines = markdown(
        ["what", "seconds"], [["a sweep", "1.5"], ["b", "10.25"]], texts=1
    ).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2] == "| a sweep |     1.5 |"


def test_known_truths_go_on_where_they_were_stopped(tmp_path):
    import planted

    record, out = tmp_path / "lines.jsonl", tmp_path / "table.md"
    options = [
        "--studies",
        "1",
        "--trials",
        "12",
        "--processes",
        "1",
        "--record",
        str(record),
        "--out",
        str(out),
    ]
    planted.main([*options, "--kinds", "null"])
    (first,) = (line for line in record.read_text().splitlines() if line)
    record.write_text(
        f"{first}\n{first.replace(json.loads(first)['commit'], 'other')}\n{first[: len(first) // 2]}"  # noqa: E501
    )
    planted.main([*options, "--kinds", "null", "hole"])
    lines = record.read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines if line.endswith("}")] == [
        "null",
        "null",
        "hole",
    ]
    table = out.read_text()
    assert json.loads(first)["commit"] in table
    assert "| null    |     0 |  1 |" in table
    assert "| hole" in table
