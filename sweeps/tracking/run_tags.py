"""The name of a trial's run in MLflow, and the tags of its purposes and its state."""

from collections.abc import Mapping

from sweeps.state.record import StudyRecord
from sweeps.state.trial import Trial

STATE = {
    "complete": "COMPLETE",
    "pruned": "PRUNED",
    "failed": "FAIL",
    "running": "RUNNING",
    "paused": "PAUSED",
}
"""State of a trial → tag `sweeps.state`."""
STATUS = {
    "COMPLETE": "FINISHED",
    "PRUNED": "KILLED",
    "FAIL": "FAILED",
    "INTERRUPTED": "KILLED",
    "RUNNING": "RUNNING",
    "PAUSED": "SCHEDULED",
}
"""Tag `sweeps.state` → status of a trial's run."""
LONGEST_NAME = 250
LONGEST_DATASET = 500
LONGEST_TAG = 5_000
LONGEST_PARAM = 6_000
"""Letters that MLflow takes: of the names of a run and a data set, of a tag on servers of any age,
and of a parameter. It cuts or refuses what is longer."""


def cut(text: str, most: int) -> str:
    """Return a text of at most so many letters, the last of them an ellipsis where something is
    missing.
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def cut_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags as MLflow keeps them, so that tags read back from it compare equal."""
    return {
        name: cut(text, LONGEST_NAME if name == "mlflow.runName" else LONGEST_TAG)
        for name, text in tags.items()
    }


def title(study: str, record: Trial) -> str:
    """Return what the run is called: `mnist/7`, or for a repeat `mnist/r3 confirm of 35, seed 1`;
    seeds count from 0.
    """
    name = record.name_in(study)
    if not record.repeat:
        return name
    whose = [purpose for purpose in record.purposes if purpose != "baseline"]
    parts = [f"{' and '.join(whose)} of {record.source_trial}"] if whose else []
    parts += [f"baseline {record.baseline}"] if record.baseline else []
    seed = "its own seed" if record.seed_index == -1 else f"seed {record.seed_index}"
    return f"{name} {' and '.join(parts) or 'of an earlier plan'}, {seed}"


def role_tags(study: StudyRecord, record: Trial, tags_before: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that say what a run is for: its name and, of a repeat, purposes,
    source_trial, seed_index, baseline.

    A longer search may give a repeat another role; one of `tags_before` that is no longer true
    becomes empty.
    """
    tags = {"mlflow.runName": title(study.name, record)}
    if study.stages:
        tags["sweeps.stage"] = str(record.stage)
    if not record.repeat:
        return tags
    roles = {
        "purposes": ", ".join(record.purposes),
        "source_trial": "" if record.source_trial is None else str(record.source_trial),
        "seed_index": "" if record.seed_index is None else str(record.seed_index),
        "baseline": record.baseline or "",
    }
    return tags | {name: value for name, value in roles.items() if value or name in tags_before}


def state_of(study: StudyRecord, record: Trial) -> tuple[str, int, int]:
    """Return a trial's state as a tag, its newest epoch, and how many pictures it has."""
    stopped = record.state == "running" and study.session != "running"
    return (
        "INTERRUPTED" if stopped else STATE[record.state],
        record.epochs[-1].epoch if record.epochs else 0,
        len(record.pictures),
    )


def ending_tags(record: Trial, state: str) -> dict[str, str]:
    """Return the tags that say how the trial stands or ended."""
    tags = {"sweeps.state": state}
    if record.pictures:
        tags["mlflow.loggedImages"] = "True"
    if record.duplicate_of is not None and record.outcome is not None:
        tags["sweeps.duplicate_of"] = str(record.duplicate_of)
    if record.before is not None:
        tags["sweeps.revives"] = str(record.before.number)
    if failure := record.failure:
        tags |= {"sweeps.failure": failure.kind, "sweeps.message": failure.message}
    return tags
