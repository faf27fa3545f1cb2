"""The model card of an exported run, README.md, and the preparation of its inputs for programs that
know nothing of vaeexp, preparation.json.
"""

import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from sweeps import VERSION, StudyRecord, UserError, masked, recorded_study, write_whole
from vaeexp.data.dataset import white_in
from vaeexp.data.formats.levels import PLAIN, Stored
from vaeexp.data.numbers import scale_words
from vaeexp.data.scaling import Scaling, scaling_from
from vaeexp.evaluation.metrics import METRICS, with_own
from vaeexp.run_files import RESULT, SETTINGS, WEIGHTS, load_json
from vaeexp.runs.card_example import example_of
from vaeexp.runs.run import Run
from vaeexp.words import (
    format_fixed,
    format_signed,
    format_value,
    one_line,
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
_BINARISED = {
    "static": "each pixel was drawn once",
    "dynamic": "each pixel was drawn anew in every epoch",
}


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
    text = masked("\n".join(_lines(run, known, study, onnx=onnx)) + "\n")
    prepared = json.dumps(known, indent=1, sort_keys=True) + "\n"
    for name, content in ((PREPARATION, prepared), (README, text)):
        write_whole(folder / name, partial(Path.write_text, data=content, encoding="utf-8"))


def _study_of(run: Run, storage: str | None) -> StudyRecord | None:
    """Return the record of a run's study; None where it is not at hand, as of a copied folder."""
    folder = run.folder.resolve()
    if len(folder.parents) < 3 or folder.parents[1].name != "trials":
        return None
    try:
        study = recorded_study(storage, folder.parents[2], folder.parent.name)
    except (UserError, OSError):
        return None
    data = {} if study is None else study.provenance.get("data") or {}
    return study if data.get("fingerprint") == run.fingerprint else None


def _lines(
    run: Run, preparation: Mapping[str, Any], study: StudyRecord | None, *, onnx: bool
) -> Iterator[str]:
    """Yield the lines of the card, some of them several at once."""
    yield from _front_matter(run, preparation, onnx=onnx)
    yield from _what_it_is(run, study)
    yield from _data(run, preparation, study)
    yield from _use(run, preparation, onnx=onnx)
    yield from _figures(run, preparation, study)
    yield from _limits(run, preparation, study)
    yield from _origin(run, study)


def _front_matter(run: Run, preparation: Mapping[str, Any], *, onnx: bool) -> Iterator[str]:
    tags = ["variational-autoencoder", "vae", "pytorch", *(["onnx"] if onnx else [])]
    if run.vae.posterior.stochastic is False:
        tags[:2] = ["autoencoder"]
    facts: dict[str, Any] = {"library_name": "vaeexp", "tags": tags}
    if preparation["name"].startswith("hf:"):
        facts["datasets"] = [preparation["name"].removeprefix("hf:")]
    yield f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---"


def _what_it_is(run: Run, study: StudyRecord | None) -> Iterator[str]:
    model = run.settings.model
    stored = load_json(run.folder / SETTINGS)
    kind = "variational autoencoder" if run.vae.posterior.stochastic else "autoencoder"
    yield f"""\
# {_inline(run.name)}

A {kind} of {plural(model.latent_size, "latent dimension")}, a run of the study
*{_inline(stored["study"])}*, trained with vaeexp.
"""
    if study is not None and study.question.strip():
        yield f"> {_inline(one_line(study.question))}\n"
    names = [*_SETTINGS["model"], *_OF_NETWORKS.get(model.network, ()), *_SETTINGS["train"]]
    searched = stored.get("params") or {}
    values = run.settings.flat()
    yield "| Setting | Value |\n| --- | --- |"
    if model.prior == "normal" and "components" not in searched:
        names.remove("components")
    for name in dict.fromkeys([*names, *searched]):
        mark = " (searched)" if name in searched else ""
        yield f"| {_inline(parameter_label(name))}{mark} | {_inline(format_value(values[name]))} |"
    yield ""


def _data(run: Run, preparation: Mapping[str, Any], study: StudyRecord | None) -> Iterator[str]:
    data = {} if study is None else study.provenance["data"]
    scaling = scaling_from(preparation["scaling"])
    yield "## Data\n"
    if data:
        sizes = f"{data['train']:,} to train on, {data['validation']:,} to validate, "
        yield f"- {_inline(data['title'])}: {sizes}{data['test']:,} to test"
        yield f"- Values: {_inline(data['pixels'])}"
    else:
        yield f"- Data set: {_inline(preparation['name'])}"
    yield f"- Type: {preparation['kind']}, {_shape_words(run.values.shape)}"
    yield f"- Targets: {_scale_words(scaling, preparation)}"
    if preparation["features"]:
        yield f"- Columns: {_listed(preparation['features'])}"
    if preparation["classes"]:
        names = [*filter(None, preparation["classes"])]
        yield f"- Classes, of no use to the model: {_listed(names)}"
    if left_out := run.vae.values.left_out:
        yield f"- Left out of the density: {left_out:,} sub-pixels that never changed in training"
    yield f"- Fingerprint: {run.fingerprint[:12] or 'none'}\n"


def _use(run: Run, preparation: Mapping[str, Any], *, onnx: bool) -> Iterator[str]:
    shape = ", ".join(map(str, ("N", *run.values.shape)))
    size = len(run.vae.latent_mask)
    stochastic = run.vae.posterior.stochastic
    moments = "mean, log_variance" if stochastic else "mean"
    encoder = "encoder.pt2, encoder.onnx" if onnx else "encoder.pt2"
    yield f"""\
## Use

| File | From | To |
| --- | --- | --- |
| {encoder} | x: targets float32 [{shape}] | {moments}: float32 [N, {size}] each |
| {encoder.replace("encoder", "decoder")} | z: codes float32 [N, {size}] | mean of p(x given z) [{shape}] |
| {PREPARATION} | | how numbers become targets |
| {WEIGHTS}, {SETTINGS} | | the run itself, for `vaeexp` |
"""  # noqa: E501
    if run.settings.model.size_factor:
        yield f"The decoder's means are those of rows with the sum {run.values.row_sum:.10g}."
    yield f"""\
N is any number from 1. The programs take targets, not the numbers of the files:

    {_formula(preparation)}
"""
    if drawn := _BINARISED.get(preparation["binarisation"]):
        yield f"""\
The model was trained on zeros and ones: {drawn}, 1 with the probability of its
target. Draw yours the same way. Targets between 0 and 1 are images of a kind that
the model has not seen.
"""
    example = example_of(preparation, stochastic=stochastic, onnx=onnx)
    yield f"```python\n{example}\n```\n"


def _figures(run: Run, preparation: Mapping[str, Any], study: StudyRecord | None) -> Iterator[str]:
    """Yield the figures of the run and, where its study repeated its setting, of all the seeds."""
    path = run.folder / RESULT
    result = load_json(path) if path.is_file() else {}
    tested: Mapping[str, Any] = result.get("test") or {}
    yield "## Figures\n"
    if not tested:
        found = result.get("objective")
        words = "This run was not tested."
        if isinstance(found, float) and math.isfinite(found):
            words += f" Validation −ELBO: {format_fixed(found, 2)} nats per image."
        yield f"{words} `vaeexp evaluate` measures it on test images.\n"
        return
    repeated = _repeated(run, study)
    spread = " of all its seeds, 95 % interval, n |" if repeated else ""
    yield f"| On test images | This run |{spread and ' Mean' + spread} Unit |"
    yield f"| --- | --- |{' --- |' if spread else ''} --- |"
    for name, metric in with_own(run.settings.evaluation.metrics).items():
        value = tested.get(f"test/{name}")
        if metric.kind != "figure" or value is None:
            continue
        error = tested.get(f"test/{name}_se")
        shown = _number(value, metric.digits)
        if error is not None:
            shown += f" (standard error {_number(error, metric.digits)})"
        many = f" {_interval(repeated.get(name), metric.digits)} |" if spread else ""
        yield f"| {_inline(metric.words)} | {shown} |{many} {_inline(metric.unit)} |"
    yield ""
    conditions = [
        f"{METRICS[name].label} = {tested[f'test/{name}']:,.0f}"
        for name in ("importance_samples", "images")
        if f"test/{name}" in tested
    ]
    yield f"Measured with {', '.join(conditions)}. {_unit_words(preparation)}\n"


def _limits(run: Run, preparation: Mapping[str, Any], study: StudyRecord | None) -> Iterator[str]:
    title = preparation["name"] if study is None else study.provenance["data"]["title"]
    count = "images" if study is None else f"{study.provenance['data']['train']:,} images or rows"
    yield f"""\
## Limits

- Trained on {count} of {_inline(title)} alone. Data of another origin, scale or type
  have codes, too, which mean nothing.
- A high likelihood does not make an input a typical one: simple images often have
  higher likelihoods than those trained on (Nalisnick et al. 2019). Do not detect
  anomalies by it alone.
- Means and variances are not calibrated for decisions about single images, or people.
- Reconstructions are means: smoother than any input.
"""


def _origin(run: Run, study: StudyRecord | None) -> Iterator[str]:
    recorded = {} if study is None else study.provenance.get("versions") or {}
    trained = recorded | {"torch": run.arithmetic.get("torch") or recorded.get("torch", "unknown")}
    known = ", ".join(
        f"{name} {trained[name]}"
        for name in ("vaeexp", "python", "torch", "numpy")
        if name in trained
    )
    here = f"vaeexp {VERSION}, python {platform.python_version()}, torch {torch.__version__}"
    yield f"""\
## Versions, licence, citation

- Trained with {known}; exported with {here}
- Licence: not chosen. Whoever publishes the model adds `license:` at the top, and minds
  the licence of the data.
- Cite: The vaeexp developers, *vaeexp*, version {VERSION},
  <https://github.com/vaeexp/vaeexp>; Kingma & Welling 2014, *Auto-Encoding Variational
  Bayes*."""


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


def _formula(preparation: Mapping[str, Any]) -> str:
    """Say how a number of a file becomes a target, and how a target becomes a number."""
    scaling = scaling_from(preparation["scaling"])
    white = preparation["white"]
    if scaling.bytes and white > PLAIN[Stored.BYTES]:
        depth = white.bit_length() - 8
        return f"target = (min(number, {white}) >> {depth}) / 255; number = target · {white}"
    if scaling.bytes and white != PLAIN[Stored.BYTES]:
        return (
            f"target = round(min(number, {white}) · 255 / {white}) / 255; number = target · {white}"
        )
    if scaling.bytes:
        return "target = number / 255; number = target · 255"
    cut = np.isfinite(scaling.low).any() or np.isfinite(scaling.high).any()
    if scaling.offset.size > 1 or scaling.low.size > 1:
        source = "number cut to low and high" if cut else "number"
        return (
            f"target = ({source} − offset) / scale; number = target · scale + offset; each of the "
            f"{scaling.offset.size} sub-pixels or channels has its own in {PREPARATION}"
        )
    source = "number"
    if cut:
        low, high = (f"{end.item():.10g}" for end in (scaling.low, scaling.high))
        source = f"number cut to {low} … {high}"
    offset, scale = scaling.offset.item(), scaling.scale.item()
    less, more = ("−", "+") if offset >= 0 else ("+", "−")
    size = abs(offset)
    return (
        f"target = ({source} {less} {size!r}) / {scale!r}; "
        f"number = target · {scale!r} {more} {size!r}"
    )


def _scale_words(scaling: Scaling, preparation: Mapping[str, Any]) -> str:
    if not scaling.bytes:
        return scale_words(scaling)
    words = f"0 to {preparation['white']} scaled to 0 to 1"
    if preparation["binarisation"] == "none":
        return words
    return f"{words}, then binarised ({preparation['binarisation']})"


def _unit_words(preparation: Mapping[str, Any]) -> str:
    scaling = scaling_from(preparation["scaling"])
    if scaling.bytes:
        return "Black to white is 1."
    words = "Densities and errors are of the numbers of the files, not of the targets"
    return f"{words}." if scaling.unit == 1 else f"{words}; {format_signed(scaling.unit)} is 1."


def _shape_words(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    if channels == height == 1:
        return f"rows of {width:,} numbers"
    if height == 1:
        return f"signals of {width:,} numbers in {plural(channels, 'channel')}"
    return f"images of {height} × {width} in {plural(channels, 'channel')}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(_inline, names[:_MOST_CLASSES]))
    rest = len(names) - _MOST_CLASSES
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def _inline(text: str) -> str:
    """Return a text as markdown shows it: one line, without markup."""
    line = " ".join(str(text).split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in line)
