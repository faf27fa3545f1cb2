"""Every command in README.md, CONTRIBUTING.md and docs/ is a real one: all are parsed, and all but
those named below run.

The study that the pages call `beta_mnist` is here the small study `smoke` under that name.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import pytest
from command_line import Forks, Swept

from vaeexp.commands import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")]),
]

REPORTS = sorted((ROOT / "docs" / "examples").glob("*/README.md"))
"""Their commands are only parsed, because they need the studies of the reports, hours of
computing.
"""

NOT_RUN = {
    r"--storage|--tracking": "needs a server; tests/vaeexp/launch have one",
    r"_vae.yaml|pooled.yaml": "needs the files of its page; tests of their own run them",
    r"vaeexp ui|--watch": "goes on until Ctrl-C; tests/vaeexp/commands run it",
    r"vaeexp slurm|--engine ray": "needs Slurm or Ray; tests/vaeexp/launch have them",
    r"--data (FOLDER|FILE)": "needs images of the user's; tests/vaeexp/launch run it",
    r"\b(cells|calls|markers)\b": "needs the files of its page; tests/test_walks.py runs them",
    r"photos|usual.npy|vaeexp decode": "needs images of the user's; tests/vaeexp/commands run it",
    r"vaeexp restore": "needs another machine; tests/vaeexp/commands have one",
    r"copied/folder|vaeexp report a b": "needs a copy of a run, or two studies",
}
"""Pattern of a command → why it is only parsed here."""


def commands(page: Path) -> list[str]:
    """The commands of vaeexp in the shell blocks of a page, without their comments."""
    blocks = re.findall(
        r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("vaeexp ")]


SHORTER = {"--importance-samples 5000": "--importance-samples 50"}
"""What takes minutes as it stands in the docs → what runs here in its place."""
DRY = " --dry-run --name docs --compile off"
"""A sweep that trains for minutes is checked as a new study, without the compiler, which takes most
of a minute once; tests/test_whole.py and the fixture below train `smoke`."""

COMMANDS = sorted({command for page in PAGES for command in commands(page)})
OF_REPORTS = sorted({command for page in REPORTS for command in commands(page)} - {*COMMANDS})
AGAIN = (
    "vaeexp report --all",
    "vaeexp report beta_mnist --no-html",
    "vaeexp reproduce beta_mnist/7",
    "vaeexp reproduce beta_mnist/7 --device cpu",
    "vaeexp sweep smoke",
    "vaeexp sync beta_mnist",
)
"""Commands that take seconds and do what another of the list does, too."""
RUN = [
    command for command in COMMANDS if not any(re.search(pattern, command) for pattern in NOT_RUN)
]


@pytest.mark.parametrize("command", COMMANDS + OF_REPORTS)
def test_every_command_is_understood(command: str) -> None:
    name, *arguments = shlex.split(command)[1:]
    context = click.Context(cli, info_name="vaeexp")
    found = cli.get_command(context, name)
    assert found is not None, f"there is no command {name}"
    found.make_context(name, arguments, parent=context)


def said_in(path: Path) -> Iterator[str]:
    """The texts of a module but its docstrings, with the word `smoke` in place of what is filled
    in.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    left_out |= {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "smoke"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


SAID = {
    text
    for package in ("vaeexp", "sweeps")
    for path in Path(ROOT, package).rglob("*.py")
    for text in said_in(path)
}
OF_OTHERS = {"--help", "--help-all", "--version", "--workers"} | {
    # Options of mlflow.
    *(
        "--allowed-hosts",
        "--backend-store-uri",
        "--cors-allowed-origins",
        "--default-artifact-root",
    ),
    *("--experiment-id", "--host", "--no-serve-artifacts", "--port"),
}
"""Options that messages or calls name and that are of Click or of another program."""


def test_every_command_that_a_message_offers_is_understood() -> None:
    offered = {command for text in SAID for command in re.findall("`(vaeexp [a-z]+ [^`]+)`", text)}
    assert len(offered) > 8
    for command in sorted(offered):
        test_every_command_is_understood(command.replace("smokesmoke", "smoke"))


def test_every_option_and_variable_that_a_message_offers_is_there() -> None:
    context = click.Context(cli)
    params = [
        param
        for name in cli.list_commands(context)
        for param in cli.get_command(context, name).params
    ]
    known = {option for param in params for option in (*param.opts, *param.secondary_opts)}
    variables = {str(param.envvar) for param in params} | {
        "VAEEXP_CACHE",
        "VAEEXP_COMPLETE",
        "VAEEXP_OFFLINE",
        "VAEEXP_",
    }
    messages = [
        text for text in SAID if " " in text and "#SBATCH" not in text and "ray start" not in text
    ]
    options = {
        option for text in messages for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
    }
    assert options - known - OF_OTHERS - {"--smoke"} == set()
    assert {
        name for text in messages for name in re.findall(r"VAEEXP_[A-Z]+", text)
    } - variables == set()


@pytest.fixture(scope="module")
def vaeexp(tmp_path_factory: pytest.TempPathFactory, swept_smoke: Swept) -> Iterator[Forks]:
    """Commands in a folder that holds a finished study."""
    folder = tmp_path_factory.mktemp("docs")
    swept_smoke.copy_to(folder)
    with closing(Forks(folder)) as forks:
        yield forks


@pytest.mark.parametrize(
    "command",
    [pytest.param(command, marks=pytest.mark.slow if command in AGAIN else ()) for command in RUN],
)
def test_a_command_of_the_docs_runs(vaeexp: Forks, command: str) -> None:
    for long, short in SHORTER.items():
        command = command.replace(long, short)
    if command.startswith("vaeexp sweep "):
        command += " --compile off" if "--dry-run" in command else DRY
    done = vaeexp.run(*shlex.split(command)[1:])
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
