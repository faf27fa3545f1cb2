"""The commands init and completion: a commented study file to start from, and the completion script
of a shell.
"""

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class
from pydantic import ValidationError

from sweeps import (
    Mistakes,
    UserError,
    apply_overrides,
    check_name,
    find_study,
    is_path,
    parse_yaml,
)
from vaeexp.commands.options import complete_study
from vaeexp.console import open_console, program, write_line
from vaeexp.data import DATASETS
from vaeexp.data.formats import printable
from vaeexp.data.formats.array_pixels import LIKELIHOOD
from vaeexp.data.formats.named_arrays import ROLES
from vaeexp.launch.fitting import fit_study
from vaeexp.machine import shipped_studies
from vaeexp.settings import DataSettings
from vaeexp.study import open_study_file

WHOLE = """\
{schema}
# {name}: what this study is about, in a line. `vaeexp show {name}` prints every setting that it resolves to;
# `vaeexp sweep {name} --dry-run` checks it against the data; `vaeexp sweep {name}` runs or continues it.
question: Which β, latent size and learning rate explain these images best?

# ---- fixed: what every trial has in common. What is not named here keeps its default. ----
data:
  dataset: {dataset}
  {binarisation}
{size}model:
  {model}
  prior: normal                  # mixture or vampprior (with components: 16)
train:
  epochs: 20                     # passes over the training images, at most
  batch_size: 128                # images per step
  schedule: cosine               # the learning rate falls to 0 over the epochs; constant, linear, exponential, step
evaluation:
  importance_samples: 100        # samples per test image of the final NLL; 5000 for figures to publish

# ---- searched: a range {{low, high}}, with log: true or step: where wanted, or a choice {{values: […]}} ----
search:
  beta: {{low: 0.1, high: 10, log: true}}
  latent_size: {{low: 2, high: 64, log: true}}
  learning_rate: {{low: 1.0e-4, high: 1.0e-2, log: true}}
  # prior: {{values: [normal, mixture]}}                                    # take it from `model:` first
  # components: {{low: 2, high: 64, log: true, when: {{prior: mixture}}}}     # searched only with that prior

# ---- how the search goes ----
seed: 0                          # of the sampler and of all trials
sampler: curves                  # tpe, random, qmc, grid, cmaes, gp
pruner: promotion                # pauses trials; median ends them, none lets every trial run to its end
budget: {{trials: 40}}             # also seconds, epochs, stale_trials: the first that is reached ends the search
confirm: {{top: 2, seeds: 3}}      # the best configurations again, with fresh seeds, then on the test images

# ---- rows of the report that are trained whatever the search finds ----
# baselines:
#   plain:
#     title: β = 1
#     settings: {{beta: 1}}
"""  # noqa: E501

EXTENDING = """\
{schema}
# {name}: {parent}, changed. Everything that stands here replaces what {parent} says; null removes an entry.
# `vaeexp show {name}` prints the result.
extends: {parent}
# question: What is this study to find out?
{changes}# epochs: 5                      # any setting by its name, as with --set; a searched setting is then fixed
# search:
#   beta: {{low: 0.5}}             # one end of a range
#   learning_rate: null          # no longer searched
# trials: 10
# compare: null
"""  # noqa: E501

FITTED = """\
{schema}
# {name}: a study of {file}, which was understood as
#   {words}
{order}# `vaeexp show {name}` prints every setting that it resolves to; `vaeexp sweep {name} --data {file} --dry-run`
# checks it against the file; `vaeexp sweep {name} --data {file}` runs or continues it.
question: Which β, latent size and learning rate explain these data best?

# ---- fixed: what every trial has in common. What is not named here keeps its default. ----
data:
{data}model:
{model}train:
{train}  schedule: cosine               # the learning rate falls to 0 over the epochs
evaluation:
{evaluation}  importance_samples: 100        # samples per row of the final NLL; 5000 for figures to publish

# ---- searched: a range {{low, high}}, with log: true or step: where wanted, or a choice {{values: […]}} ----
search:
  beta: {{low: 0.3, high: 3, log: true}}
  latent_size: {{low: {least}, high: {most}, log: true}}
  learning_rate: {{low: 3.0e-4, high: 1.0e-2, log: true}}

# ---- how the search goes ----
seed: 0                          # of the sampler and of all trials
sampler: curves                  # tpe, random, qmc, grid, cmaes, gp
pruner: promotion                # pauses trials; median ends them, none lets every trial run to its end
budget: {{trials: 40}}             # also seconds, epochs, stale_trials: the first that is reached ends the search
confirm: {{top: 2, seeds: 3}}      # the best configurations again, with fresh seeds, then on the test rows
"""  # noqa: E501
WORDS = {
    "dataset": "folder: image files; arrays: one file, or a folder, of arrays or tables",
    "dataset: arrays": "one file, or a folder, of arrays or tables",
    "binarisation: none": "numbers as they are",
    "binarisation": "none: numbers as they are; static: grey levels drawn black or white, once",
    "image_size": "pixels, as 64 or [height, width]; the files have several sizes",
    "labels": "array or column of labels; a model is not given them",
    "names": "array or column that names the rows",
    "factors": "known factors, kept with the rows and not given to a model",
    "drop": "columns that are left out",
    "split_by": "groups that no split parts: array, column, or pattern of paths, the group in ()",
    "scale": "unit: the type's full range; range, standard: of the training rows; none",
    "scale_per": "global, channel or feature",
    "network": "mlp, conv, or one of your own: package.module:Class",
    "likelihood": "one that does not fit is refused with those that do",
    "size_factor": "true: means in proportion to the sum of a row, as of sequencing depth",
    "hidden": "widths of the encoder's layers; [] is a linear model",
    "batch_size": "rows per step",
    "epochs": "passes over the training rows, at most",
    "validation_draws": "draws of z per validation row, because these are few",
}
"""Setting, or setting and value → what a fitted study says beside it."""
_VALUES = ("true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf")
"""Words that are values in YAML, of some version."""

BINARISATION = {
    True: "binarisation: static           # each pixel drawn once; dynamic: drawn anew each epoch",
    False: "binarisation: none             # levels as they are",
}
MODELS = {
    True: "network: mlp                   # conv, or one of your own: package.module:Class\n  "
    "hidden: [512, 512]             # widths of the encoder's layers",
    False: "network: conv                  # mlp, or one of your own: package.module:Class\n  "
    "likelihood: discretised_logistic    # gaussian, laplace and others: `binarisation: none` "
    "as well",
}
"""Whether the images are grey → lines that suit them."""
FEW = 20_000
"""From so many images on, the default number is held out for validation, as from data sets with
validation images of their own, which torchvision does not have.
"""
VALIDATION = "validation_size: {size:<14} # images; the default leaves too few to train on\n"
SIZE = (
    "  image_size: 32                 # pixels, as 64 or [height, width]; null: as the files are\n"
)


@click.command()
@click.argument("name")
@click.option(
    "--extends",
    "parent",
    metavar="STUDY",
    shell_complete=complete_study,
    help="Start from this study and write only what changes.",
)
@click.option(
    "--dataset",
    type=click.Choice(list(DATASETS)),
    show_default="mnist, or that of the extended study",
    help="Data set that the study trains on.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="File of arrays or a table, or folder of images, that the study is to fit.",
)
@click.option("--names", metavar="NAME", help="Array or column that names the rows of --data.")
@click.option("--labels", metavar="NAME", help="Array or column of labels in --data.")
@click.option(
    "--split-by",
    metavar="NAME",
    help="Array or column of groups in --data; of image files, a pattern of their paths with the "
    "group in brackets: 'slide([0-9]+)'.",
)
@click.option(
    "--factors",
    multiple=True,
    metavar="NAME",
    help="Array or column of a known factor in --data. Repeatable.",
)
@click.option(
    "--drop",
    multiple=True,
    metavar="NAME",
    help="Column of --data that is left out. Repeatable.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another setting of the data, as images=NAME or image_size=64. Repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Say how --data is understood, and write nothing.")
def init(
    *,
    name: str,
    parent: str | None,
    dataset: str | None,
    data: Path | None,
    dry_run: bool,
    changes: tuple[str, ...],
    **roles: Any,
) -> None:
    """Write a study file to start from.

    The file is ./studies/NAME.yaml, with a comment for each part; a file that exists is never
    replaced. With --data it fits the shape, the type and the range of a file.
    """
    check_name(name, "NAME")
    path = Path("studies") / f"{name}.yaml"
    if data is not None and (parent or dataset):
        other = "--extends" if parent else "--dataset"
        raise UserError("--data", f"decides what {other} names; give one of the two.")
    given = {name: _several(name, value) for name, value in roles.items() if value}
    for option, value in (given | {"set": changes, "dry-run": dry_run}).items():
        if value and data is None:
            raise UserError(_option(option), "is of --data; give the file, too.")
    if parent is not None:
        find_study(parent, shipped_studies(), "--extends")
        if Path(parent).stem == name:
            raise UserError(
                "NAME", f"got '{name}', the name of the study that it extends; must be another."
            )
    if path.exists() and not dry_run:
        raise UserError(str(path), "exists already. Choose another name, or edit it.")
    if data is None:
        text = study_text(name, parent, dataset)
    else:
        text = fitted_text(name, data, given | _changes(changes))
    if dry_run:
        write_line(open_console(), "Nothing was written.")
        return
    _write_study(path, text)
    files = f" --data {shlex.quote(str(data))}" if data is not None else ""
    command = f"{program()} sweep {name}{files}"
    write_line(open_console(), f"{path} is written. Edit it, then: {command} --dry-run")
    if data is not None:
        short = f"--name {name}_try --trials 6 --set epochs=15"
        write_line(open_console(), f"A first try that is short: {command} {short}")


def _write_study(path: Path, text: str) -> None:
    """Write a study file that is checked first. Raises UserError, and leaves nothing behind, where
    it is no study or exists already.
    """
    made = not path.parent.exists()
    path.parent.mkdir(exist_ok=True)  # before the check, because `extends` may start from there
    try:
        open_study_file(str(path), text=text)
    except UserError:
        if made:
            path.parent.rmdir()
        raise
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(str(path), "exists already. Choose another name, or edit it.") from None


def _several(name: str, value: Any) -> Any:
    """Return the names that an option was given one by one, or as the list of an advice."""
    if isinstance(value, str):
        return value
    listed = (parse_yaml(each, _option(name))[0] if each[:1] == "[" else [each] for each in value)
    return [*chain.from_iterable(listed)]


def _changes(changes: Sequence[str]) -> dict[str, Any]:
    """Return settings of the data from KEY=VALUE. Raises UserError where one is none."""
    mistakes = Mistakes("--set", {})
    changed = apply_overrides({}, changes, {"data": DataSettings}, mistakes)
    mistakes.raise_if_any()
    given = changed.pop("data", {})
    if changed:
        raise UserError("--set", f"got {next(iter(changed))}; must be a setting of the data")
    try:
        DataSettings(**given)
    except ValidationError as error:
        [*_, mistake] = error.errors()
        problem = f"got {mistake['loc'][0]}={mistake['input']}; must be a setting of the data"
        raise UserError("--set", f"{problem} ({mistake['msg']})") from error
    return given


def fitted_text(name: str, data: Path, given: Mapping[str, Any]) -> str:
    """Return the text of a study that fits a file, with the settings that are given."""
    console = open_console(stderr=True)
    say = partial(write_line, console)
    try:
        fitting = fit_study(data, say=say, **given)
    except UserError as error:
        raise UserError(error.place, _as_options(error.problem)) from error
    notes = [*filter(None, (fitting.order, fitting.sums))]
    for line in (fitting.words, *notes):
        write_line(open_console(), line)
    return FITTED.format(
        schema=f"# yaml-language-server: $schema={_schema_path()}",
        name=name,
        file=printable(shlex.quote(str(data))),
        words=fitting.words,
        order="".join(f"#   {line}\n" for line in notes),
        data=_lines(fitting.data),
        model=_lines(fitting.model),
        train=_lines(fitting.train),
        evaluation=_lines(fitting.evaluation),
        least=fitting.latent_size[0],
        most=fitting.latent_size[1],
    )


def _as_options(problem: str) -> str:
    """Return a problem in which roles are options of init, which chooses the likelihood itself."""
    return re.sub(
        rf"(?:--set )?\b({'|'.join(ROLES)})=",
        lambda found: f"{_option(found[1])} ",
        problem.replace(LIKELIHOOD, ""),
    )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _lines(settings: Mapping[str, Any]) -> str:
    """Return a line for each setting, with a word on it."""
    text = ""
    for name, value in settings.items():
        words = WORDS.get(f"{name}: {value}") or WORDS.get(name, "as --set says")
        shown = _plain(value) if isinstance(value, str) else json.dumps(value)
        text += f"{f'  {name}: {shown}':<32} # {words}\n"
    return text


def _plain(text: str) -> str:
    """Return a text for YAML, in quotes where it would be a number or another value without."""
    plain = re.fullmatch(r"[^\W\d]\w*", text) and text.lower() not in _VALUES
    return text if plain else json.dumps(text, ensure_ascii=False)


def study_text(name: str, parent: str | None, dataset: str | None) -> str:
    """Return the text of a new study file: a whole study, or the changes to another."""
    row = DATASETS[dataset or "mnist"]
    image_shape = row.image_shape
    training = row.counts[0] if row.counts and row.torchvision else FEW
    tenth = VALIDATION.format(size=training // 10) if training < FEW else ""
    grey = image_shape is not None and image_shape[0] == 1
    given = {"schema": f"# yaml-language-server: $schema={_schema_path()}", "name": name}
    if parent is None:
        given |= {
            "dataset": dataset or "mnist",
            "binarisation": BINARISATION[grey],
            "model": MODELS[grey],
        }
        size = f"  {tenth}" if tenth else ""
        return WHOLE.format(size=SIZE if dataset == "folder" else size, **given)
    changes = f"dataset: {dataset}\n{BINARISATION[grey]}\n{tenth}" if dataset else ""
    if not grey:
        changes += (
            "likelihood: discretised_logistic    # bernoulli takes black and white images alone\n"
        )
    inner = os.path.relpath(parent, "studies") if is_path(parent) else parent
    inner = inner if re.fullmatch(r"[\w./-]+", inner) else json.dumps(inner, ensure_ascii=False)
    return EXTENDING.format(parent=inner, changes=changes, **given)


def _schema_path() -> str:
    """Return the path of the JSON Schema of study files, as a file in ./studies names it: in the
    installed package, or in a checkout.
    """
    package = Path(__file__).resolve().parents[1]
    here = Path.cwd()
    schema = package / "study.schema.json"
    if not schema.is_file():
        schema = package.parent / "docs/reference/study.schema.json"
    return os.path.relpath(schema, here / "studies") if schema.is_relative_to(here) else str(schema)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print the completion script of a shell.

    It completes vaeexp's commands, options and studies. For bash: eval "$(vaeexp completion bash)".
    """
    complete = get_completion_class(shell)
    assert complete is not None, shell
    click.echo(complete(ctx.find_root().command, {}, "vaeexp", "_VAEEXP_COMPLETE").source())
