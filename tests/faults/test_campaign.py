"""The judgement of the campaign finds planted harm, and its damage changes files."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from campaign import MARKS, Injection, committed_cases, in_a_table, write_page
from faults import FAULTS
from file_faults import damage
from place import Facts, Verdict, compare

WHOLE = Facts(
    trials={"small/0": ("complete 1.0",), "small/1": ("pruned 2.0",)},
    epochs={"0 epoch 1": ("[1.0]",), "0 epoch 2": ("[0.5]",)},
    files={"trial-0000/weights.safetensors": ("abc",)},
    mlflow={"small/0": ("FINISHED",), "small/1": ("KILLED",)},
    points={"small/0 val/rate step 1": ("1.0",), "small best_objective step 2": ("1.0", "2.0")},
)


def test_a_study_equals_itself() -> None:
    assert compare(WHOLE, WHOLE).is_clean()


@pytest.mark.parametrize(
    ("kind", "rows", "wanted"),
    [
        ("trials", {"small/0": ("complete 1.0",)}, Verdict(lost=("small/1",))),
        ("epochs", WHOLE.epochs | {"0 epoch 3": ("[0.4]",)}, Verdict(doubled=("0 epoch 3",))),
        ("epochs", WHOLE.epochs | {"0 epoch 2": ("[0.6]",)}, Verdict(changed=("0 epoch 2",))),
        ("files", {"trial-0000/weights.safetensors": ("abd",)}, Verdict(changed=("trial-0000/weights.safetensors",))),  # noqa: E501
        ("mlflow", WHOLE.mlflow | {"small/0": ("FINISHED", "FINISHED")}, Verdict(doubled=("small/0",))),  # noqa: E501
        ("mlflow", WHOLE.mlflow | {"small/0": ("RUNNING",)}, Verdict(changed=("small/0",), running=("small/0",))),  # noqa: E501
        ("points", WHOLE.points | {"small best_objective step 2": ("2.0",)}, Verdict(lost=("small best_objective step 2",))),  # noqa: E501
    ],
)  # fmt: skip
def test_planted_harm_is_found(kind: str, rows: dict, wanted: Verdict) -> None:
    found = compare(replace(WHOLE, **{kind: rows}), WHOLE)
    assert found == wanted
    assert not found.is_clean()


def test_damage_changes_a_file(tmp_path: Path) -> None:
    path, draw = tmp_path / "a", random.Random(1)
    whole = random.Random(2).randbytes(20_000)
    for _ in range(200):
        path.write_bytes(whole)
        damage(path, draw)
        assert path.read_bytes() != whole


def test_a_part_of_the_faults_renews_its_rows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(fault: str, seconds: float) -> str:
        return in_a_table([Injection(fault, 1, "", Verdict(), (), seconds)]).splitlines()[-1]

    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS[0]}\n{MARKS[1]}\nafter\n", encoding="utf-8")
    monkeypatch.setattr("campaign.PAGE", page)
    whole = [
        Injection(fault, 1, "", Verdict(), (), 10.0) for fault in ("SIGTERM", "weights damaged")
    ]
    write_page(in_a_table(whole), 20.0, "1 to 1", "")
    part = [
        Injection(fault, 7, "", Verdict(), (), 30.0)
        for fault in ("weights damaged", "checkpoint damaged")
    ]
    write_page(in_a_table(part), 25.0, "7 to 7", "damaged")
    rows = [row("SIGTERM", 10), row("checkpoint damaged", 30), row("weights damaged", 30)]
    text = page.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("| ")][2:] == rows
    assert (
        "The undisturbed study took 20 s. Seeds: 1 to 1; of “damaged” 7 to 7, beside 25 s.\n"
        in text
    )
    assert (text[:7], text[-6:]) == ("before\n", "after\n")


def test_committed_seeds_are_of_faults() -> None:
    assert {fault for fault, _ in committed_cases()} <= FAULTS.keys()
