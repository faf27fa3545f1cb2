"""The model card of an exported run, README.md, and the preparation of its inputs for programs that
know nothing of vaeexp, preparation.json.

The text of the card is `card.md`, whose lines are format strings of facts (`_facts`). A line that
begins with {?fact} or {!fact} is there only if the fact is true, or not; !m shows text and lists
without markup.
"""

import json
import math
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import torch

from sweeps import VERSION, StudyRecord, UserError, masked, recorded_study, write_whole
from vaeexp.data.dataset import white_in
from vaeexp.data.formats.levels import WHITE
from vaeexp.data.numbers import scale_words
from vaeexp.data.scaling import Scaling, scaling_from
from vaeexp.evaluation.metrics import METRICS, with_own
from vaeexp.run_files import RESULT, SETTINGS, load_json
from vaeexp.runs.run import Run
from vaeexp.words import (
    format_fixed,
    format_signed,
    format_value,
    naming,
    of_data,
    parameter_label,
    plural,
)

README = "README.md"
PREPARATION = "preparation.json"
_SETTINGS = {
    "model": ("network", "latent_size", "posterior", "prior", "components", "likelihood"),
    "train": ("loss", "beta", "optimizer", "learning_rate", "batch_size", "epochs"),
}
"""Settings that every card has; those that the study searched stand beside them."""
_OF_NETWORKS = {"mlp": ("hidden",), "conv": ("channels", "kernel", "stride", "head")}
_MOST_CLASSES = 20


def preparation_of(run: Run) -> dict[str, Any]:
    """Return what a run records of the preparation of its data (`Dataset.preparation`); of a run
    without such a record that its inputs are targets.
    """
    recorded = load_json(run.folder / SETTINGS).get("preparation")
    if recorded is not None:
        return dict(recorded)
    none = np.zeros((1, 1, 1))
    scaling = Scaling(
        kind="none",
        per="global",
        unit=1.0,
        offset=none,
        scale=none + 1,
        low=none - np.inf,
        high=none + np.inf,
    )
    unknown = dict.fromkeys(("features", "kept", "dropped", "constants", "whites", "classes"))
    return {"name": run.settings.data.dataset, "kind": "float32", **unknown} | {
        "scaling": scaling.record()
    }


def write_card(run: Run, folder: Path, *, onnx: bool, storage: str | None) -> None:
    """Write `PREPARATION` and `README` of a run into a folder.

    Args:
        onnx: whether the folder has ONNX files.
        storage: that of the study.
    """
    preparation = preparation_of(run)
    known = {
        "shape": list(run.values.shape),
        "binarisation": run.settings.data.binarisation,
        "white": white_in(preparation),
        **preparation,
    }
    study = _study_of(run, storage)
    with naming(run.noun):
        facts = _facts(run, known, study) | _figures(run, study) | {"onnx": onnx}
    text = masked(_filled(facts))
    prepared = json.dumps(known, indent=1, sort_keys=True) + "\n"
    for name, content in ((PREPARATION, prepared), (README, text)):
        write_whole(folder / name, partial(Path.write_text, data=content, encoding="utf-8"))


def _study_of(run: Run, storage: str | None) -> StudyRecord | None:
    """Return the record of a run's study; None where it is not at hand, as of a copied folder."""
    folder = run.folder.resolve()
    if folder.parent.parent.name != "trials":
        return None
    try:
        study = recorded_study(storage, folder.parents[2], folder.parent.name)
    except (UserError, OSError):
        return None
    data = {} if study is None else study.provenance.get("data") or {}
    return study if data.get("fingerprint") == run.fingerprint else None


class _Card(Formatter):
    """Formats lines of the card."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion != "m":
            return super().convert_field(value, conversion)
        return _inline(value) if isinstance(value, str) else _listed([*filter(None, value)])


def _filled(facts: Mapping[str, Any]) -> str:
    """Return the text of the card with these facts."""
    card = _Card()
    lines = list[str]()
    template = files("vaeexp.runs").joinpath("card.md").read_text(encoding="utf-8")
    for line in template.splitlines(keepends=True):
        *conditions, text = re.split(r"\{([?!].+?)\}", line)
        if all(
            bool(card.get_field(each[1:], (), facts)[0]) == (each[0] == "?")
            for each in filter(None, conditions)
        ):
            lines.append(card.vformat(text, (), facts))
    return "".join(lines)


def _facts(run: Run, preparation: Mapping[str, Any], study: StudyRecord | None) -> dict[str, Any]:
    """Return the facts of the card but for its figures."""
    stored = load_json(run.folder / SETTINGS)
    scaling = scaling_from(preparation["scaling"])
    white, name = preparation["white"], preparation["name"]
    offsets = max(scaling.offset.size, scaling.low.size)
    numbers = {part: getattr(scaling, part) for part in ("offset", "scale", "low", "high")}
    recorded = {} if study is None else study.provenance.get("versions") or {}
    trained = recorded | {"torch": run.arithmetic.get("torch") or recorded.get("torch", "unknown")}
    versions = [name for name in ("vaeexp", "python", "torch", "numpy") if name in trained]
    drawn = {"static": "once", "dynamic": "anew in every epoch"}
    return {
        "run": run,
        "stored": stored,
        "study": study,
        "data": study and study.provenance["data"],
        "preparation": preparation,
        "scaling": scaling,
        "hub": name.startswith("hf:") and name.removeprefix("hf:"),
        "dimensions": plural(run.settings.model.latent_size, "latent dimension"),
        "settings": "\n".join(_settings(run, stored.get("params") or {})),
        "shape": ", ".join(map(str, run.values.shape)),
        "grey": run.values.shape[0] == 1,
        "size": len(run.vae.latent_mask),
        "scale_words": scale_words(scaling),
        "plain": scaling.bytes and white == WHITE,
        "deep": scaling.bytes and white > WHITE,
        "shift": white.bit_length() - 8,
        "drawn": drawn.get(preparation["binarisation"]),
        "several": offsets > 1 and offsets,
        "cut": np.isfinite([*scaling.low.flat, *scaling.high.flat]).any(),
        **{part: array.flat[0].item() for part, array in numbers.items()},
        "unit": not scaling.bytes and scaling.unit != 1 and format_signed(scaling.unit),
        "versions": ", ".join(f"{name} {trained[name]}" for name in versions),
        "version": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _settings(run: Run, searched: Mapping[str, Any]) -> Iterator[str]:
    """Yield the rows of the table of settings."""
    model, values = run.settings.model, run.settings.flat()
    names = [*_SETTINGS["model"], *_OF_NETWORKS.get(model.network, ()), *_SETTINGS["train"]]
    if model.prior == "normal" and "components" not in searched:
        names.remove("components")
    for name in dict.fromkeys([*names, *searched]):
        mark = " (searched)" if name in searched else ""
        yield f"| {_inline(parameter_label(name))}{mark} | {_inline(format_value(values[name]))} |"


def _figures(run: Run, study: StudyRecord | None) -> dict[str, Any]:
    """Return the figures of the run and, where its study repeated its setting, of all the seeds."""
    path = run.folder / RESULT
    result = load_json(path) if path.is_file() else {}
    tested: Mapping[str, Any] = result.get("test") or {}
    objective = result.get("objective")
    known = not tested and isinstance(objective, float) and math.isfinite(objective)
    repeated = _repeated(run, study)
    rows = list[str]()
    for name, metric in with_own(run.settings.evaluation.metrics).items():
        value = tested.get(f"test/{name}")
        if metric.kind != "figure" or value is None:
            continue
        error = tested.get(f"test/{name}_se")
        shown = _number(value, metric.digits)
        if error is not None:
            shown += f" (standard error {_number(error, metric.digits)})"
        many = f" {_interval(repeated.get(name), metric.digits)} |" if repeated else ""
        rows.append(
            f"| {_inline(metric.words)} | {shown} |{many} {_inline(of_data(metric.unit))} |"
        )
    conditions = [
        f"{of_data(METRICS[name].label)} = {tested[f'test/{name}']:,.0f}"
        for name in ("importance_samples", "images")
        if f"test/{name}" in tested
    ]
    return {
        "objective": known and format_fixed(objective, 2),
        "repeated": repeated,
        "figures": "\n".join(rows),
        "conditions": ", ".join(conditions),
    }


def _repeated(run: Run, study: StudyRecord | None) -> Mapping[str, Any]:
    """Return the figures over the seeds of the run's setting, name → mean, low, high, n, from the
    study's summary; nothing where there is none.
    """
    if study is None or study.report is None:
        return {}
    path = run.folder.resolve().parents[2] / study.report / "summary.json"
    try:
        confirmed = json.loads(path.read_text(encoding="utf-8"))["confirmed"]
        mine = load_json(run.folder / SETTINGS)["params"]
        for row in confirmed:
            if row["configuration"] == mine:
                return dict(row["test"] or {})
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {}


def _interval(found: Any, digits: int) -> str:
    if not isinstance(found, dict):
        return "–"
    mean = _number(found["mean"], digits)
    if found["low"] is None:
        return f"{mean}, n = {found['n']}"
    low, high = (_number(found[end], digits) for end in ("low", "high"))
    return f"{mean}, {low} to {high}, n = {found['n']}"


def _number(value: float, digits: int) -> str:
    return format_fixed(value, digits) if math.isfinite(value) else "not finite"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(_inline, names[:_MOST_CLASSES]))
    rest = len(names) - _MOST_CLASSES
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def _inline(text: str) -> str:
    """Return a text as markdown shows it: one line, without markup."""
    line = " ".join(str(text).split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in line)
