"""The study of a sweep as its options define it, read without PyTorch, so that a mistake is refused
at once.
"""

from functools import partial
from pathlib import Path

from sweeps import Study, check_name, is_name, known_studies, recorded_study
from vaeexp.launch.options import SweepOptions
from vaeexp.machine import shipped_studies
from vaeexp.study import open_study_file


def study_opener(options: SweepOptions, text: str | None = None) -> "partial[Study]":
    """Return `open_study_file` for the study that the options name, with their overrides. `text`:
    as for `vaeexp.launch.job.prepare_job`. Raises UserError for a bad `--name`.
    """
    if options.name is not None:
        check_name(options.name, "--name")
    budget = {"trials": options.trials, "seconds": options.seconds}
    overrides = [
        *options.overrides,
        *(f"budget.{name}={limit}" for name, limit in budget.items() if limit),
    ]
    text = text or _recorded_text(options)
    return partial(open_study_file, str(options.study), overrides=overrides, text=text)


def _recorded_text(options: SweepOptions) -> str | None:
    """Return the recorded text of a study that no file has, such as one given to `vaeexp.run_study`
    as a dict; else None.
    """
    named = str(options.study)
    if not is_name(named) or named in known_studies(shipped_studies()):
        return None
    recorded = recorded_study(options.storage, Path(options.runs), named)
    return recorded.text or None if recorded else None
