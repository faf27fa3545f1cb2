"""The documentation keeps what it promises: generated pages are up to date, links lead somewhere,
studies load.
"""

import json
import re
import shlex
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from reference_pages import REFERENCE, pages

from sweeps.study.study import load_study
from vaeexp.commands import COMMANDS, cli
from vaeexp.report.markup import escape
from vaeexp.settings import SECTIONS
from vaeexp.study import open_study_file

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(
        [
            *(ROOT / "docs").rglob("*.md"),
            *(ROOT / "benchmarks").glob("*.md"),
            *(ROOT / "benchmarks" / "search").glob("*.md"),
        ]
    ),
]
WITH_STUDIES = [
    path
    for path in PAGES
    if "```yaml" in path.read_text(encoding="utf-8")
    and "examples" not in path.parts
    and not path.match("*-vae.md")
]
"""Pages that show studies; test_public_networks.py holds those of public networks."""


def anchors(text: str) -> set[str]:
    """The anchors that a git host makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_generated_pages_are_up_to_date() -> None:
    for path, text in pages().items():
        assert path.read_text(encoding="utf-8") == text, (
            f"{path.name} is out of date: run `make docs`"
        )


@pytest.mark.parametrize("name", [name for table in COMMANDS.values() for name in table])
def test_every_command_and_option_says_what_it_is(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command.help
    for option in command.params:
        if option.param_type_name == "option":
            assert option.help, f"{name} {option.name} has no help"
            assert option.help.endswith("."), f"the help of {name} {option.name} is not a sentence"
    short = command.get_short_help_str(limit=60)
    assert not short.endswith("..."), f"the first sentence of {name} does not fit: {short}"


def test_every_setting_is_documented() -> None:
    for section, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            assert field.description, f"{section}.{name} has no description"
            assert field.description.endswith("."), (
                f"the description of {section}.{name} is not a sentence"
            )
            page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
            assert f"| `{name}` |" in page, f"{section}.{name} is not in settings.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        name, _, anchor = (target[0] or target[1]).partition("#")
        if "://" in name:
            continue
        path = page.parent / name if name else page
        assert path.exists(), f"{page.name} links to {name}, which is not there"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path.read_text(encoding="utf-8")), (
                f"{page.name} links to {name}#{anchor}"
            )


def test_the_page_on_search_has_the_tables_that_were_written() -> None:
    page = (ROOT / "docs" / "explain" / "search.md").read_text(encoding="utf-8")
    written = (ROOT / "benchmarks" / "search" / "search-tables.md").read_text(encoding="utf-8")
    results = page.partition("\n## Results\n")[2].partition("\n## Other searches")[0]
    tables = re.findall(r"(?:^\|.*\n)+", results, re.MULTILINE)
    assert len(tables) >= 4
    for table in tables:
        assert f"\n\n{table}" in written, (
            f"search.md has another table than search-tables.md:\n{table}"
        )


def test_nothing_is_left_to_fill_in() -> None:
    assert re.findall(r"<<.*?>>", README) == []


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_shipped_studies_load_and_are_listed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = load_study(path.stem, sections=SECTIONS, shipped=ROOT / "studies", epochs="epochs")
    assert study.path == path
    shown = CliRunner().invoke(cli, ["studies"], catch_exceptions=False)
    assert f"{study.name} " in shown.output
    assert " ".join(study.question.split()) in " ".join(shown.output.split())


def test_the_example_in_the_guide_is_the_shipped_study() -> None:
    guide = (ROOT / "docs" / "guide" / "studies.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", guide, re.DOTALL)
    assert example is not None
    assert yaml.safe_load(example[1]) == yaml.safe_load(
        (ROOT / "studies" / "beta_mnist.yaml").read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("page", WITH_STUDIES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_study_on_a_page_loads(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands there, with the module beside it that the page names; an entry alone as a change
    to the main job.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = page.read_text(encoding="utf-8")
    for module, code in re.findall(r"is `(\w+\.py)`:\n+```python\n(.*?)```", text, re.DOTALL):
        (tmp_path / module).write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, module.removesuffix(".py"), raising=False)
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        whole = "question:" in block
        path = tmp_path / f"study{number}.yaml"
        path.write_text(block if whole else f"extends: beta_mnist\n{block}", encoding="utf-8")
        assert open_study_file(str(path)).space.names


RAY_JOB = {
    "RayJobSpec": (
        "activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata "
        "clusterSelector submitterConfig managedBy deletionStrategy entrypoint runtimeEnvYAML "
        "jobId submissionMode entrypointResources entrypointNumCpus entrypointNumGpus "
        "ttlSecondsAfterFinished shutdownAfterJobFinishes suspend schedule"
    ),
    "RayClusterSpec": (
        "authOptions suspend managedBy autoscalerOptions headServiceAnnotations "
        "enableInTreeAutoscaling gcsFaultToleranceOptions headGroupSpec rayVersion "
        "workerGroupSpecs"
    ),
    "HeadGroupSpec": "template headService enableIngress rayStartParams serviceType",
    "WorkerGroupSpec": (
        "suspend groupName replicas minReplicas maxReplicas idleTimeoutSeconds rayStartParams "
        "template scaleStrategy numOfHosts"
    ),
}
"""Fields of KubeRay's resources, from its reference:
https://ray-project.github.io/kuberay/reference/api/.
"""


def test_the_rayjob_has_fields_of_kuberay_and_a_command_of_ours() -> None:
    job = yaml.safe_load((ROOT / "docs" / "examples" / "rayjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    parts = {
        "RayJobSpec": job["spec"],
        "RayClusterSpec": cluster,
        "HeadGroupSpec": cluster["headGroupSpec"],
    }
    for kind, part in [
        *parts.items(),
        *(("WorkerGroupSpec", group) for group in cluster["workerGroupSpecs"]),
    ]:
        assert part.keys() <= set(RAY_JOB[kind].split()), kind
    assert cluster["authOptions"] == {"mode": "token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        mounted = {
            mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]
        }
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    program, name, *arguments = shlex.split(job["spec"]["entrypoint"])
    command = cli.get_command(click.Context(cli), name)
    assert program == "vaeexp"
    assert command.make_context(name, arguments).params["engine"] == "ray"


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "examples").glob("*/README.md")), ids=lambda p: p.parent.name
)
def test_a_shipped_report_says_what_its_summary_says(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    summary = json.loads((page.parent / "summary.json").read_text("utf-8"))
    checks = summary["trust"]
    assert checks
    for check in checks:
        said = (
            "; ".join(one["text"] for one in check["statements"])
            if "statements" in check
            else check["figure"]
        )
        assert f"| {check['name']} | {escape(said)} |" in text, (
            f"{page.parent.name}: {check['name']}"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_makes_is_a_target_that_says_what_it_is(page: Path) -> None:
    described = set(
        re.findall(
            r"^([a-z-]+):.*## .+", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    assert {
        *re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    } <= described


DIFFS = re.findall(
    r"^```diff\n(.*?)^```$",
    (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize(
    "diff", DIFFS, ids=[re.findall(r"^--- (\S+)", diff, re.MULTILINE)[0] for diff in DIFFS]
)
def test_a_diff_for_contributors_fits_the_file(diff: str) -> None:
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        path, _, new = head.partition(" ")
        assert (ROOT / path).is_file() == (not new), path
        for hunk in [] if new else body.split("@@\n"):
            before = "".join(
                f"{line[1:]}\n" for line in hunk.splitlines() if not line.startswith("+")
            )
            assert before in (ROOT / path).read_text(encoding="utf-8"), (
                f"{path} has no longer:\n{before}"
            )
