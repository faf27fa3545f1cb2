"""What is generated of the documentation: parts of README.md (commands from `--help`, settings), and the schema of summary.json.

`python tests/support/readme.py --write` (or `make docs`) writes them; tests/test_docs.py and tests/vaeexp/report/test_report_formats.py
check that they are up to date.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
SCHEMA = ROOT / "vaeexp" / "report" / "summary.schema.json"
sys.path.insert(0, str(ROOT))


def parts() -> dict[str, str]:
    """Name of a part → the text that stands between its markers, `<!-- NAME -->` and `<!-- /NAME -->`."""
    from sweeps.study.baselines import BaselineRow
    from sweeps.study.pruners import PRUNERS
    from sweeps.study.samplers import SAMPLERS
    from sweeps.study.study_file import Budget, Compare, Confirm
    from vaeexp.commands.main import cli
    from vaeexp.settings import SECTIONS, ExecutionSettings

    found = {"help": _help([])} | {f"help:{name}": _help([name]) for name in cli.commands}
    sections = {**SECTIONS, "execution": ExecutionSettings}
    found |= {f"settings:{name}": _settings(model) for name, model in sections.items()}
    found |= {
        f"study:{name}": _settings(model)
        for name, model in (
            ("budget", Budget),
            ("confirm", Confirm),
            ("compare", Compare),
            ("baselines", BaselineRow),
        )
    }
    found |= {"study:samplers": _named(SAMPLERS), "study:pruners": _named(PRUNERS)}
    return found | {"data:files": _files(), "studies": _studies()}


def markers(text: str) -> list[str]:
    """The names of the parts that a text has."""
    return re.findall(r"^<!-- ([a-z]+(?::[a-z]+)?) -->$", text, re.MULTILINE)


def written(text: str) -> str:
    """The text with every part as it should be. An unknown part is a KeyError."""
    contents = parts()
    for name in markers(text):
        pattern = rf"(?<=^<!-- {name} -->\n).*?(?=^<!-- /{name} -->$)"
        text = re.sub(
            pattern, lambda _, name=name: contents[name] + "\n", text, count=1, flags=re.MULTILINE | re.DOTALL
        )
    return text


def _help(arguments: list[str]) -> str:
    from click.testing import CliRunner

    from vaeexp.commands.main import cli

    shown = CliRunner().invoke(cli, [*arguments, "--help"], prog_name="vaeexp", terminal_width=100, color=False)
    assert shown.exit_code == 0, shown.output
    return f"```text\n{shown.output.rstrip()}\n```"


def _settings(model: Any) -> str:
    from vaeexp.models.likelihoods import LIKELIHOODS
    from vaeexp.models.networks import ACTIVATIONS, NETWORKS
    from vaeexp.models.posteriors import POSTERIORS
    from vaeexp.models.priors import PRIORS

    tables: dict[str, Any] = {"network": NETWORKS, "activation": ACTIVATIONS, "posterior": POSTERIORS}
    tables |= {"prior": PRIORS, "likelihood": LIKELIHOODS}
    rows = ["| Setting | Default | Values | Meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        values = ", ".join(f"`{value}`" for value in tables[name]) if name in tables else _values(field)
        default = "required" if field.is_required() else _default(field.default)
        cells = (f"`{name}`", default, values, field.description)
        rows.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _named(table: Mapping[str, Any]) -> str:
    """Name, what it does, and its options with their defaults."""
    rows = ["| Name | What it does | Options |", "| --- | --- | --- |"]
    for name, row in table.items():
        fields = {key: field for key, field in row.settings.model_fields.items() if key != "name"}
        options = "; ".join(
            f"`{key}` ({_default(field.default)}): {_sentence(field.description)}" for key, field in fields.items()
        )
        rows.append(f"| `{name}` | {' '.join(row.settings.__doc__.split())} | {options or 'none'} |")
    return "\n".join(rows)


def _studies() -> str:
    """The studies that come with vaeexp, with what they ask."""
    from sweeps.study.study_file import list_studies

    # Not those of the current folder, which a user may have put there.
    found = {path.stem for path in (ROOT / "studies").glob("*.yaml")}
    rows = ["| Study | Question |", "| --- | --- |"]
    listed = [study for study in list_studies(shipped=ROOT / "studies") if study.name in found]
    return "\n".join([*rows, *(f"| `{study.name}` | {study.question} |" for study in listed)])


def _files() -> str:
    """What is expected below `--data`, as the error messages have it."""
    from vaeexp.data import DATASETS
    from vaeexp.data.formats.layouts import LAYOUTS

    rows = ["| `dataset` | Images | Expected at `--data` |", "| --- | --- | --- |"]
    for name, row in DATASETS.items():
        images = f"{row.title}, {sum(row.counts):,}" if row.counts else "your own"
        rows.append(f"| `{name}` | {images} | {LAYOUTS[row.layout].expected(row)} |")
    return "\n".join(rows)


def _sentence(text: str) -> str:
    """As part of a longer one."""
    return text[0].lower() + text[1:].rstrip(".")


def _default(value: Any) -> str:
    if value is None:
        return "none"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def _values(field: Any) -> str:
    """What a field takes: its choices, or its type with the bounds that hold."""
    choices = [
        value
        for part in (field.annotation, *get_args(field.annotation))
        for value in get_args(part)
        if isinstance(value, str | int)
    ]
    kinds = {int: "whole number", float: "number", str: "name", tuple: "whole numbers"}
    types = [kinds[part] for part in (field.annotation, *get_args(field.annotation)) if part in kinds and not choices]
    if getattr(field.annotation, "__origin__", None) is tuple:
        types = [kinds[tuple]]
    if choices and int in get_args(field.annotation):
        types = [kinds[int]]
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{signs[key]} {getattr(rule, key):g}"
        for rule in field.metadata
        for key in signs
        if getattr(rule, key, None) is not None
    ]
    return ", ".join([*dict.fromkeys(f"`{choice}`" for choice in choices), *types[:1], *bounds])


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/support/readme.py --write")
    from vaeexp.report.summary import schema_json

    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA.write_text(schema_json(), encoding="utf-8")
