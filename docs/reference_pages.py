"""Writes the generated pages of docs/reference.

`python docs/reference_pages.py --write` (or `make docs`) writes them; tests/test_docs.py
checks that they are up to date.
"""

import ast
import inspect
import itertools
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
sys.path.insert(0, str(ROOT))

CURVES = (
    "`curves.csv` has a row for each epoch of each run: `repeat`, `number`, `epoch` (from 1), "
    "`round` (of the driver, from 0), `objective` and the columns `train/…` and `val/…`."
)
PER_IMAGE = (
    "`per_image.npz` has the figures of each test image of the runs in the first table, where "
    "they left them: `r3/neg_elbo` and `r3/iw_nll` of repeat 3, float32 [N], nats, in the order "
    "of the data set. report.html has 25 MB at most: it holds the other files up to 1.5 MB each "
    "and links to larger ones and to this one; then come all trials, their curves and their "
    "pictures, the best first, as far as there is room. It says what was left out."
)
FACTS = """\
| Column of `trials.csv` | Meaning and unit |
| --- | --- |
| `repeat`, `number`, `name` | whether it is a run beside the search (confirm, compare, baseline), its number among its kind, its name |
| `state` | `complete`, `pruned`, `failed`, `running`, `paused` or `waiting` |
| `objective` | lowest validation −ELBO at β = 1 over epochs, nats per image (a deterministic autoencoder: its distortion) |
| `epochs`, `best_epoch` | epochs reported, and that of `objective`, counted from 1 |
| `seed` | of weights, batches and noise |
| `started`, `ended`, `seconds` | seconds since 1970-01-01 UTC, and seconds of training |
| `ended_round` | round of the driver in which it ended, counted from 0: it orders the trials where clocks do not |
| `duplicate_of` | number of the earlier trial of equal configuration, whose value it took |
| `failure`, `message` | kind of failure, and what it said |
| `source_trial`, `purposes`, `seed_index`, `pair_ids`, `baseline` | of a repeat: trial whose setting it has, what it is for (joined by +), index of its seed, its matched pairs (parameter:trial/seed index, joined by +), its name in the study file (of baselines that share it, joined by +) |
| `stage`, `counts`, `fixed.<setting>` | in a study of more than one stage: where it began, from 1; whether the present stage could have proposed it; its value of each fixed setting that a stage changed |
| `params.<setting>` | searched settings as in the study file; of a baseline also those that it changes; empty where a condition was false |"""
"""The meaning of each column of `trials.csv` that is no metric."""

RUNS = """\
```text
mlruns/
  mlflow.db              MLflow's runs, metrics and tags (SQLite)
  artifacts/<study>/     MLflow's pictures, files of trials, models
  journal/<study>.log    the study's storage: every fact, one line per record, with its checksum
  journal/<study>.snapshot   of a large study: a cache with which its journal opens in a second
  logs/<study>.txt       the lines of every sweep of the study
  trials/<study>/<run>/  files of each run, listed below
reports/
  <study>/               README.md, plots, trials.csv, curves.csv, per_image.npz, summary.json
```"""


FOLDER = """\
| File | Content |
| --- | --- |
| `settings.json` | settings, seed, data fingerprint and arithmetic of the run |
| `weights.safetensors` | state dict of the best epoch, in float32; the header has the epoch |
| `last.safetensors` | the same of the last epoch, of repeats alone (confirm, compare, baselines) |
| `result.json` | how the run ended, its best epoch, the metrics of this epoch, the test figures |
| `pictures.npz` | uint8 [N, H, W, C]: `originals` (each class in turn), `reconstructions` and `samples` of the best epoch; `last_reconstructions` and `last_samples` of the last epoch, unless the run failed; of tested runs also pictures of the latent space. Arrays that are no images are drawn as grey pictures. Of signals, and of images that are no grey levels, float32 [4, C, H, W] `originals_numbers` and `last_reconstructions_numbers` in the unit of the files; of tables these are rows as they are scaled, and unicode [F] `column_names` their columns |
| `sheet.npz` | of each trial of the search, paused, pruned and failed ones, too: uint8 [N, H, W, C] `reconstructions` of validation images, the same for all trials, and `samples` from the same noise; int64 [] `epoch`, the last one, of a failed trial the best. At most 100 kB: of large images there are fewer, or smaller ones |
| `pictures/*.png` | of tested runs: the pictures of the best epoch as files |
| `evaluation.npz` | of tested runs, at the best epoch, the arrays listed below |
| `calibration.npz` | written by the first `vaeexp score`: scores of the validation and test rows, hashes of all rows, ranges of the columns, from which p comes afterwards |
| `epoch-0005-samples.png` … | pictures of single epochs |
| `checkpoint.safetensors`, `checkpoint-previous.safetensors` | while the run trains: what it goes on from, and the one before |

`.safetensors` and `.json` have their SHA-256 as the key `sha256` of the header or of the file, `.npz` in the comment of the zip file: that of the
file with 64 zeros in the place of the SHA-256. It is checked whenever vaeexp opens the file. The trial's record holds the SHA-256 of its weights' files."""
"""The files in the folder of a run."""

ARRAYS = """\
| Array of `evaluation.npz` | Meaning, type and unit |
| --- | --- |
| `rate_per_dimension` | float64 [L]: KL(q(z_d\\|x) ‖ p(z_d)) of each latent dimension, mean over test images, nats |
| `rate_threshold` | float64 []: the study's setting, nats above which a dimension counts as used |
| `nll_k`, `nll_by_k` | int64 [K] and float64 [K]: importance-weighted NLL of the first k = 1, 2, 5, 10 … of the samples, nats per image; the last is `test/iw_nll` |
| `neg_elbo_per_image`, `iw_nll_per_image` | float32 [N]: −ELBO and importance-weighted NLL of each test image, in the order of the data set, nats; their means are `test/neg_elbo` and `test/iw_nll` |
| `neighbour_samples`, `neighbour_images` | uint8 [8, H, W, C]: samples and the training image nearest to each; samples of binarised data are draws from p(x\\|z), as test images are |
| `neighbour_distances`, `neighbour_usual` | float64 [8] and []: Euclidean distance of the two as targets, black to white is 1 for images of bytes; median of this distance of test images to their nearest training image |
| `feature_names`, `feature_means`, `feature_deviations`, `feature_errors` | of tables: unicode [F], and float64 [F] over the test rows in the unit of each column: mean, standard deviation, root mean squared error of the reconstructions at the posterior means |
| `aggregate_dimensions` | int64 [D]: the D ≤ 6 latent dimensions with the highest rate, from 0 |
| `aggregate_codes`, `prior_codes` | float32 [D, N]: codes z ~ q(z\\|x) of N ≤ 2,000 test images in these dimensions; as many samples of the prior |
| `embedding`, `embedding_labels`, `classes` | float32 [N, 2]: t-SNE of posterior means; their labels; names of the classes |
| `traversal_dimensions`, `traversal_reach` | int64 [D]: dimensions of the traversals; half their length in standard deviations |
| `component_weights`, `component_classes` | float64 [K] and [K, classes]: weights of a joint mixture's components; the share of each class that each serves |"""
"""The arrays of evaluation.npz; a test compares it with the arrays that are written."""


def pages() -> dict[Path, str]:
    """File → the text that it should have."""
    texts = {
        "settings.md": _settings_page(),
        "study-file.md": _study_page(),
        "cli.md": _cli_page(),
        "files.md": _files_page(),
        "plots.md": _plots_page(),
        "python.md": _python_page(),
        "study.schema.json": _study_schema(),
    }
    return {REFERENCE / name: text for name, text in texts.items()}


def _study_schema() -> str:
    """The JSON Schema of study files, with the names of the data sets and of a model's parts."""
    from study_schema import study_schema

    from vaeexp.settings import SECTIONS

    schema = study_schema(SECTIONS)
    for name, known in _tables().items():
        section = "DataSettings" if name == "dataset" else "ModelSettings"
        setting = schema["$defs"][section]["properties"][name]
        kind = setting.pop("type")
        pattern = {"network": ":", "dataset": "^hf:"}.get(name)
        own = [{"type": kind, "pattern": pattern}] if pattern else []
        setting["anyOf"] = [{"enum": list(known)}, *own]
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _page(title: str, *blocks: str) -> str:
    note = "<!-- Generated by `make docs`. Change the docstrings and descriptions in the code, not this page. -->"
    return "\n\n".join([f"# {title}", note, *blocks]) + "\n"


def _settings_page() -> str:
    from vaeexp.settings import SECTIONS

    blocks = [
        "Any setting of the first four sections can be fixed or searched by a study. Field names "
        "are unique across sections."
    ]
    for name, model in SECTIONS.items():
        blocks += [f"## {name}", _sentence_of(model), _settings(model)]
    execution = (
        "Device, precision, lanes and workers are given on the command line, not in a study file; "
        "each study records them: [How it runs](cli.md#vaeexp-sweep)."
    )
    return _page("Settings", *blocks, "## Execution", execution)


def _study_page() -> str:
    from sweeps.search.pruners import PRUNERS
    from sweeps.search.samplers import SAMPLERS
    from sweeps.study.start import BestOf
    from sweeps.study.study_model import BaselineRow, Budget, Compare, Confirm, Keep

    blocks = [
        "[Studies](../guide/studies.md) explains a study file part by part. "
        "[Settings](settings.md) lists what can be fixed and searched."
    ]
    for title, model in (
        ("budget", Budget),
        ("confirm", Confirm),
        ("compare", Compare),
        ("keep", Keep),
        ("baselines", BaselineRow),
        ("start, from another study", BestOf),
    ):
        blocks += [f"## {title}", _sentence_of(model), _settings(model)]
    blocks += [
        "## sampler",
        _named(SAMPLERS),
        "## pruner",
        _named(PRUNERS),
        "## Shipped studies",
        _studies(),
    ]
    return _page("Study file", *blocks)


def _cli_page() -> str:
    from vaeexp.commands import cli

    whole, *helps = _helps(names := sorted(_command_names(cli)))
    blocks = [f"## vaeexp {name}\n\n{text}" for name, text in zip(names, helps, strict=True)]
    return _page("Command line", whole, *blocks)


def _command_names(group: Any) -> list[str]:
    import click

    return list(group.list_commands(click.Context(group)))


def _files_page() -> str:
    return _page(
        "Files",
        "## Output",
        RUNS,
        "## Folder of a run",
        FOLDER,
        "## evaluation.npz",
        ARRAYS,
        "## trials.csv",
        columns(),
        CURVES,
        PER_IMAGE,
        "## Data sets",
        _files(),
    )


def columns() -> str:
    """The meaning of each column of `trials.csv`; tests/vaeexp/report/test_report_formats.py
    compares it with the columns that are written.
    """
    from vaeexp.evaluation.metrics import METRICS, measured_at

    lines = [_column([f"result.{name}"], name) for name in measured_at("", "condition", "course")]
    lines += [_column([f"result.test/{name}"], name) for name in measured_at("test")]
    last = ", ".join(f"`{name}`" for name in measured_at("test_last"))
    lines.append(f"| `result.test_last/…` | the same at the last epoch: {last} |")
    for name, metric in METRICS.items():
        splits = [f"{place}/{name}" for place in ("train", "val") if place in metric.places]
        lines += [_column(splits, name, "at the best epoch: ")] if splits else []
    tested = (
        "Columns `result.test/…` belong to runs that confirm or are baselines; a study has those "
        "that its settings ask for."
    )
    return "\n".join([FACTS, *lines, "", tested])


def _column(columns: Sequence[str], name: str, when: str = "") -> str:
    """A row of the table of columns."""
    from vaeexp.evaluation.metrics import METRICS

    metric = METRICS[name]
    facts = [when + metric.meaning] + [metric.unit] * bool(metric.unit and metric.unit not in metric.meaning)
    facts += [metric.direction] * bool(metric.direction)
    facts += ["with `_se`: standard error over images"] * (metric.error and columns[0].startswith("result.test/"))
    return f"| {', '.join(f'`{column}`' for column in columns)} | {'; '.join(facts).replace('|', chr(92) + '|')} |"


FOR_WORKLOADS = (
    *(
        "Lanes",
        "TrialSpec",
        "Progress",
        "Failure",
        "Outcome",
        "TrialResult",
        "Observer",
        "Description",
        "UserError",
    ),
    *(
        "Program",
        "use_program",
        "Study",
        "load_study",
        "run_study",
        "Results",
        "read_results",
        "mirroring",
        "sync",
    ),
)
"""The names of sweeps that a workload of one's own needs."""


def _python_page() -> str:
    import sweeps
    import vaeexp

    blocks = []
    for module, names in ((vaeexp, vaeexp.__all__), (sweeps, FOR_WORKLOADS)):
        blocks += [f"## {module.__name__}", " ".join((module.__doc__ or "").split())]
        for name in sorted(names):
            blocks += _public(module, name)
    return _page("Python", *blocks)


def _plots_page() -> str:
    from vaeexp.plots import CHAPTERS

    blocks = [
        "The plots of a report, in its order. A report leaves out a plot for which the study has "
        "too little, and says why."
    ]
    for chapter, plots in CHAPTERS.items():
        blocks.append(f"## {chapter}")
        for name, plot in plots.items():
            shown = " ".join((inspect.getdoc(plot.make) or "").split()).split(" None ")[0].removeprefix("Draw ")
            caption = plot.caption if isinstance(plot.caption, str) else shown[:1].upper() + shown[1:]
            blocks += [
                f"### {plot.title}",
                f"`{name}.png`. {caption}",
                f"Not drawn: {plot.absent[:1].lower()}{plot.absent[1:]}",
            ]
    return _page("Plots of a report", *blocks)


def _public(module: ModuleType, name: str) -> list[str]:
    value = getattr(module, name)
    if not callable(value):
        return [f"### {module.__name__}.{name}"]
    text = inspect.getdoc(value) or ""
    signature = name
    if hasattr(value, "__signature__"):
        signature += _made_signature(value)
    elif inspect.isfunction(value):
        signature = _signature(_source(value))
    members = _members(value) if inspect.isclass(value) and module.__name__ == "vaeexp" else ""
    return [f"### {module.__name__}.{name}", f"```text\n{signature}\n\n{text}\n{members}```"]


def _source(value: Any) -> Any:
    """Return the syntax of a function or a class."""
    return ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]


def _signature(function: ast.FunctionDef) -> str:
    arguments = ast.unparse(function.args).removeprefix("self").removeprefix(", ")
    return f"{function.name}({arguments}) -> {_returned(function)}"


def _made_signature(function: Any) -> str:
    """Return the signature that a decorator has given to a function, as its source would have
    it.
    """
    text = re.sub(r"\b(?:pathlib|typing|collections\.abc)\.", "", str(function.__signature__))
    return re.sub(r"(?:Posix)?Path\(('.*?')\)|-> '(\w+)'", lambda found: found[1] or f"-> {found[2]}", text)


def _returned(function: ast.FunctionDef) -> str:
    return ast.unparse(function.returns).strip("'") if function.returns else "None"


def _members(cls: type) -> str:
    """Return the fields, properties and methods that a class adds, each with its signature and its
    docstring.
    """
    lines = []
    tree = _source(cls)
    for node, after in itertools.pairwise([*tree.body, None]):
        if isinstance(node, ast.AnnAssign):
            described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            shown = ast.unparse(node)
            text = inspect.cleandoc(str(after.value.value)) if described else ""
        elif isinstance(node, ast.FunctionDef) and (node.name == "forward" or not node.name.startswith("_")):
            plain = {"property", "cached_property"} & {ast.unparse(each) for each in node.decorator_list}
            shown = f"{node.name}: {_returned(node)}" if plain else _signature(node)
            text = ast.get_docstring(node) or ""
        else:
            continue
        lines.append(f"\n{shown}\n{textwrap.indent(text, '    ')}".rstrip() + "\n")
    return "".join(lines)


def _sentence_of(model: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(model) or "").split())


def _helps(names: Sequence[str]) -> list[str]:
    """The help of all commands together, then that of each of these."""
    # In a process of their own, because click keeps the help option that the first caller of a
    # command asked for.
    code = """
import sys
from vaeexp.commands import cli
for name in ("", *sys.argv[1:]):
    whole = "--help-all" if name == "sweep" else "--help"
    cli([*filter(None, [name]), whole], prog_name="vaeexp", terminal_width=100, standalone_mode=False)
    print("\\f", end="")
"""
    command = [sys.executable, "-c", code, *names]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [f"```text\n{text.rstrip()}\n```" for text in shown.split("\f")[:-1]]


def _tables() -> dict[str, Mapping[str, Any]]:
    """Setting of the data or the model → the names that it takes."""
    from vaeexp.data import DATASETS
    from vaeexp.models.likelihoods import LIKELIHOODS
    from vaeexp.models.networks import ACTIVATIONS, NETWORKS
    from vaeexp.models.posteriors import POSTERIORS
    from vaeexp.models.priors import PRIORS

    tables = {"dataset": DATASETS, "network": NETWORKS, "activation": ACTIVATIONS}
    return tables | {"posterior": POSTERIORS, "prior": PRIORS, "likelihood": LIKELIHOODS}


def _settings(model: Any) -> str:
    tables = _tables()
    rows = ["| Setting | Default | Values | Meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        values = ", ".join(f"`{value}`" for value in tables[name]) if name in tables else _values(field)
        default = "required" if field.is_required() else _default(field.default)
        cells = (f"`{name}`", default, values, " ".join(field.description.split()))
        rows.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _named(table: Mapping[str, Any]) -> str:
    """Name, what it does, and its options with their defaults."""
    rows = ["| Name | What it does | Options |", "| --- | --- | --- |"]
    for name, row in table.items():
        fields = {key: field for key, field in row.model_fields.items() if key != "name"}
        options = "; ".join(
            f"`{key}` ({_default(field.default)}): {_sentence(field.description)}" for key, field in fields.items()
        )
        rows.append(f"| `{name}` | {' '.join(row.__doc__.split())} | {options or 'none'} |")
    return "\n".join(rows)


def _studies() -> str:
    """The studies that come with vaeexp, with what they ask."""
    from sweeps.study.study import list_studies

    # Not those of the current folder, which a user may have put there.
    found = {path.stem for path in (ROOT / "studies").glob("*.yaml")}
    rows = ["| Study | Question |", "| --- | --- |"]
    listed = list_studies(shipped=ROOT / "studies")
    return "\n".join([*rows, *(f"| `{name}` | {listed[name]} |" for name in listed if name in found)])


def _files() -> str:
    """Return the layout below `--data`, as the error messages have it."""
    from vaeexp.data import DATASETS

    rows = ["| `dataset` | Images | Expected at `--data` |", "| --- | --- | --- |"]
    for name, row in DATASETS.items():
        images = f"{row.title}, {sum(row.counts):,}" if row.counts else "your own"
        rows.append(f"| `{name}` | {images} | {row.layout.expected(row)} |")
    return "\n".join(rows)


def _sentence(text: str) -> str:
    """As part of a longer one."""
    text = " ".join(text.split())
    return text[0].lower() + text[1:].rstrip(".")


def _default(value: Any) -> str:
    if value is None:
        return "none"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def _values(field: Any) -> str:
    """Return the values of a field: its choices, or its type with the bounds that hold."""
    choices = [
        value
        for part in (field.annotation, *get_args(field.annotation))
        for value in get_args(part)
        if isinstance(value, str | int)
    ]
    kinds = {int: "whole number", float: "number", str: "name", tuple: "whole numbers"}
    bounded = [get_args(part) for part in get_args(field.annotation) if get_origin(part) is Annotated]
    types = [kinds[part] for part in (field.annotation, *get_args(field.annotation)) if part in kinds and not choices]
    if getattr(field.annotation, "__origin__", None) is tuple:
        types = [kinds[tuple]]
    if choices and int in get_args(field.annotation):
        types = [kinds[int]]
    types += [kinds[kind] for kind, *_ in bounded]
    rules = [
        *field.metadata,
        *(rule for _, *given in bounded for each in given for rule in each.metadata),
    ]
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{signs[key]} {getattr(rule, key):g}"
        for rule in rules
        for key in signs
        if getattr(rule, key, None) is not None
    ]
    return ", ".join([*dict.fromkeys(f"`{choice}`" for choice in choices), *types[:1], *bounds])


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python docs/reference_pages.py --write")
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
