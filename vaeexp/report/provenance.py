"""How the figures came about and how to get them again: protocol, data, versions, seeds, machine, commands, study file."""

from collections.abc import Collection, Mapping
from typing import Any

from sweeps.results import Results
from vaeexp.figures.frames import space, value_text
from vaeexp.report.markdown import code, escape, fenced, heading, table
from vaeexp.report.reproduce import code_words, commands, seeds
from vaeexp.report.scale import beta_scale
from vaeexp.report.words import listed

__all__ = ["numbers_explained", "provenance"]


def provenance(results: Results) -> list[str]:
    """The closing chapter, block by block."""
    record = results.study.get("record") or {}
    blocks = [heading("How this was made"), *numbers_explained(results), *commands(results)]
    blocks += [heading("Code", 3), code_words(results), *seeds(results)]
    parts = {
        "Protocol": record.get("protocol"),
        "Data": _without(record.get("data") or {}, ("name", "binarisation", "fingerprint")),
        "Fixed settings": _fixed(results),
        "Search": _search(results),
        "Search space": {name: _range(parameter) for name, parameter in space(results).items()},
        "Execution": results.study.get("execution"),
        "Versions": record.get("versions"),
        "Hardware": record.get("hardware"),
    }
    for title, content in parts.items():
        if content:
            blocks += [heading(title, 3), _facts(content)]
    text = record.get("study_file")
    if text:
        blocks += [heading("Study file", 3), fenced(text, "yaml")]
    missing = [title.lower() for title, content in parts.items() if not content] + ([] if text else ["study file"])
    return [*blocks, f"Not recorded with this study: {listed(missing)}."] if missing else blocks


def numbers_explained(results: Results) -> list[str]:
    """What each figure in the report is: which split, which estimator, how many samples, and why test is looked at last."""
    evaluation = (results.study.get("spec") or {}).get("evaluation") or {}
    samples = evaluation.get("importance_samples")
    threshold = evaluation.get("active_threshold")
    lines = [
        "- **Validation −ELBO** (nats per image; lower is better) ranks the search: distortion + rate at β = 1, whatever β "
        "a trial trained with, on the validation images, one posterior sample per image and the same noise for every trial "
        "and epoch. A trial counts with its best epoch. Taking the minimum over trials and epochs makes it optimistic.",
        "- **Test −ELBO** is the same estimate on the test images. Only runs of the confirmation and of references, "
        "trained afresh with new seeds, look at them; so it carries no such optimism.",
        f"- **Importance-weighted NLL** is the tighter bound on −log p(x) of Burda et al. (2016) on the test images, with "
        f"k = {samples:,} samples per image. Figures with another k are not comparable."
        if samples
        else "- **Importance-weighted NLL** is the tighter bound on −log p(x) of Burda et al. (2016) on the test images.",
        "- **Rate** is KL(q(z|x) ‖ p(z)), **distortion** is −E log p(x|z); their sum is the −ELBO."
        + (
            f" A latent unit is **active** when the variance of its posterior mean over images exceeds {threshold:g}."
            if threshold
            else ""
        ),
        "- **Intervals** of test figures are 95 % intervals over training seeds (Student's t; Welch's t for the difference of "
        "two configurations); those of matched pairs are over configurations, or over seeds where there is one configuration. "
        "They do not cover the choice of the images, and are not corrected for how many are looked at.",
        f"- {beta_scale(results)}",
    ]
    return [heading("What the numbers are", 3), "\n".join(lines)]


def _search(results: Results) -> dict[str, Any]:
    """Sampler, pruner, budget, and what follows the search."""
    spec = results.study.get("spec") or {}
    facts = {name: spec.get(name) for name in ("sampler", "pruner")} | {"budget": results.study.get("budget")}
    facts |= {name: spec.get(name) for name in ("confirm", "compare")}
    return {name: content for name, content in facts.items() if content}


def _fixed(results: Results) -> dict[str, Any]:
    """Settings that all trials share, by section."""
    spec = results.study.get("spec") or {}
    return {
        name: _without(spec[name], space(results))
        for name in ("data", "model", "train", "evaluation")
        if spec.get(name)
    }


def _without(content: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


def _range(parameter: Mapping[str, Any]) -> str:
    if parameter["kind"] == "choice":
        words = ", ".join(value_text(value) for value in parameter["values"])
    else:
        words = f"{value_text(parameter['low'])} to {value_text(parameter['high'])}"
        words += ", logarithmic" if parameter.get("log") else ""
        words += f", step {value_text(parameter['step'])}" if parameter.get("step") else ""
        words += ", whole numbers" if parameter["kind"] == "int" else ""
    for name, wanted in (parameter.get("when") or {}).items():
        words += f"; only if {name} is {_listed(wanted)}"
    return words


def _facts(content: Mapping[str, Any]) -> str:
    """A two-column table of names and values; nested values in one line."""
    rows = [(_words(name), _value(name, value)) for name, value in content.items() if value is not None]
    return table(["", ""], rows)


def _value(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        parts = [
            _value(key, part) if key == "name" else f"{_words(key)} {_value(key, part)}"
            for key, part in value.items()
            if part is not None
        ]
        return ", ".join(parts)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value) if "seed" in name else f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return escape(" × ".join(map(str, value)) if name in ("image_shape", "hidden") else ", ".join(map(str, value)))
    return code(value) if name in ("commit", "fingerprint") else escape(value)


def _words(name: str) -> str:
    return escape(name.replace("_", " "))


def _listed(wanted: Any) -> str:
    return " or ".join(map(value_text, wanted)) if isinstance(wanted, list | tuple) else value_text(wanted)
