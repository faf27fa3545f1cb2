"""Recompute every number of a report from the files beside it: `python
tests/support/recompute_report.py FOLDER`.

Nothing of vaeexp or sweeps is imported. A number that no statement says, and a table without a
rule, are errors, so that none slips in unchecked.
"""

import sys
from pathlib import Path

import recompute_below
import recompute_closing
import recompute_front
import recompute_notes
import recompute_plots
import recompute_tables
import recompute_trust
from recompute_equal_epochs import wrong_effects
from recompute_figures import Study
from recompute_files import Report, read_report
from recompute_rules import Outcome, Wrong, check
from recompute_statements import wrong_values
from recompute_trust import wrong_checks
from recompute_words import missing_words, wrong_words

RULES = (
    recompute_below,
    recompute_front,
    recompute_notes,
    recompute_plots,
    recompute_tables,
    recompute_trust,
    recompute_closing,
)
"""Modules whose import registers the functions."""


def recompute(report: Report, study: Study | None = None) -> Outcome:
    """Check a report against its files; `study` spares reading the same files again."""
    study = study or Study(report)
    outcome = check(study, report.blocks)
    outcome.wrong += _images(report) + wrong_effects(study)
    problems = wrong_values(study, report.statements) + wrong_checks(study)
    problems += wrong_words(report.readme, report.statements) + missing_words(
        report.words, report.statements
    )
    outcome.wrong += [Wrong(0, problem) for problem in problems]
    return outcome


def _images(report: Report) -> list[Wrong]:
    """Compare the mean over test images of each run in per_image.npz with its figure in trials.csv;
    float32 rounds each image.
    """
    runs = report.trials.set_index(["repeat", "number"])
    wrong = []
    for key, values in report.per_image.items():
        name, _, metric = key.partition("/")
        figure = float(
            runs.loc[(name.startswith("r"), int(name.removeprefix("r"))), f"result.test/{metric}"]
        )
        if abs(values.mean(dtype=float) - figure) > 1e-5 * abs(figure):
            wrong.append(
                Wrong(
                    0,
                    f"per_image.npz: {key} has the mean {values.mean(dtype=float)}, and "
                    f"trials.csv {figure}",
                )
            )
    return wrong


def main(folders: list[str]) -> int:
    wrong = 0
    for folder in folders:
        outcome = recompute(read_report(Path(folder)))
        for line, message in outcome.wrong:
            print(f"{folder}/README.md:{line}: {message}")
        print(
            f"{folder}: {outcome.sentences} sentences and rows with {len(outcome.checked)} "
            f"numbers recomputed, {len(outcome.wrong)} wrong or unknown"
        )
        wrong += len(outcome.wrong)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
