"""How large the code is, and how much of it knows what: two states of the repository side by side,
with the ratio of each figure.

    python3.11 benchmarks/code_size.py [--before COMMIT] [--after COMMIT]
        [--apart "vaeexp/training/losses.py" "sweeps/*/engines.py"]

Without `--after` it is the working tree. Tokens of files that are given `--apart`, such as new
features, have a row of their own. Tokens are all that `tokenize` of Python 3.11 finds but comments,
ends of lines, indents and strings that begin with three quotes, so that neither documentation nor
layout counts. Other versions split f-strings into several tokens and are refused.
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tarfile
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from table import markdown

__all__ = ["Checkout", "count_tokens", "figures", "functions_naming", "imported_names", "words_of"]

ROOT = Path(__file__).resolve().parents[1]
FIRST = "bf8ae9c"
PACKAGES = ("sweeps", "vaeexp")
DOORS = ("sweeps", "sweeps.results", "sweeps.testing")
"""Modules of `sweeps` that other packages may import from."""

NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}

NOT_WRITTEN = re.compile(r"docs/(reference/.*|examples/[^/]+/README\.md|explain/search[^/]*\.md)")
"""Pages whose words do not count: the reference, the example reports, and those on what searches
need.
"""

BENCHMARKS_IN_TESTS = re.compile(
    r"tests/(benchmarks/.*|test_benchmarks\.py|test_curves\.py|test_search_\w+\.py|support/synthetic_table\.py)"
)
"""Where the benchmarks and their tests were before they had a folder of their own."""

Checkout = Mapping[str, str]
"""Path of each text file below the root → its text."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", default=FIRST, help="a commit (default: %(default)s)")
    parser.add_argument("--after", help="a commit; without it, the working tree")
    parser.add_argument(
        "--apart", nargs="+", default=[], metavar="PATTERN", help="files whose tokens count apart"
    )
    options = parser.parse_args()
    if sys.version_info[:2] != (3, 11):
        sys.exit(
            f"code_size.py: got Python {sys.version.split()[0]}; must be 3.11, because others "
            "split f-strings."
        )
    before = figures(commit_files(options.before), options.apart)
    after = figures(
        commit_files(options.after) if options.after else working_files(), options.apart
    )
    names = [*before, *(name for name in after if name not in before)]
    rows = [row_of(name, before.get(name, 0), after.get(name, 0)) for name in names]
    print(markdown(["", options.before, options.after or "working tree", "ratio"], rows, texts=1))


def row_of(name: str, before: int, after: int) -> list[str]:
    return [name, f"{before:,}", f"{after:,}", f"{after / before:.3f}" if before else "–"]


def commit_files(commit: str) -> Checkout:
    """Return the files of a commit."""
    packed = subprocess.run(
        ["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        files = {
            member.name: archive.extractfile(member).read() for member in archive if member.isfile()
        }
    return {name: content.decode() for name, content in files.items() if is_counted(name)}


def working_files() -> Checkout:
    """Return the files of the working tree that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    present = {name for name in names if is_counted(name) and (ROOT / name).exists()}
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in sorted(present)}


def is_counted(name: str) -> bool:
    return name.endswith((".py", ".md"))


def figures(files: Checkout, apart: Sequence[str] = ()) -> dict[str, int]:
    """Return the name of each figure → its value; tokens of files that match one of the patterns
    `apart` count apart.
    """
    code = {
        name: text
        for name, text in files.items()
        if name.endswith(".py") and name.startswith(tuple(f"{p}/" for p in PACKAGES))
    }
    tokens = {name: count_tokens(text) for name, text in code.items()}
    outside = sum(
        count
        for name, count in tokens.items()
        if any(fnmatchcase(name, pattern) for pattern in apart)
    )
    imported = {
        (module, name)
        for path, text in code.items()
        if path.startswith("vaeexp/")
        for module, name in imported_names(text)
    }
    pages = {name: words_of(text) for name, text in files.items() if is_written_page(name)}
    inside = {(module, name) for module, name in imported if module not in DOORS}
    return {
        **tokens_by_folder(tokens),
        "tokens apart": outside,
        "tokens without these": sum(tokens.values()) - outside,
        "modules": len(code),
        "lines of the packages": lines_of(code.values()),
        "functions naming FrozenTrial": sum(
            functions_naming(text, "FrozenTrial") for text in code.values()
        ),
        "files naming FrozenTrial": sum(
            bool(re.search(r"\bFrozenTrial\b", text)) for text in code.values()
        ),
        "names vaeexp imports from sweeps": len(imported),
        "… from so many modules": len({module for module, _ in imported}),
        "… of these names, not through a door": len(inside),
        "… of these modules, no door": len({module for module, _ in inside}),
        "words of docs": sum(pages.values()),
        "… without guide/search*.md": sum(
            words for name, words in pages.items() if not name.startswith("docs/guide/search")
        ),
        "lines of tests": lines_of(text for name, text in files.items() if is_test(name)),
    }


def tokens_by_folder(tokens: Mapping[str, int]) -> dict[str, int]:
    """Return the tokens of each folder, each package and both: "tokens, sweeps/engine" …; modules
    beside the folders count for the package alone.
    """
    sums: Counter[str] = Counter()
    for name, count in tokens.items():
        package, *inner = name.split("/")
        sums[package] += count
        if len(inner) > 1:
            sums[f"{package}/{inner[0]}"] += count
    return {
        "tokens": sum(tokens.values()),
        **{f"tokens, {folder}": sums[folder] for folder in sorted(sums)},
    }


def count_tokens(source: str) -> int:
    """Count the tokens of a module that are code."""
    found = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(
        1
        for token in found
        if token.type not in NO_CODE and not token.string.startswith(('"""', "'''"))
    )


def functions_naming(source: str, name: str) -> int:
    """Count the functions whose signature or body has a name, also within an annotation that is a
    string.
    """
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return sum(any(name in names_of(node) for node in ast.walk(function)) for function in functions)


def names_of(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        return (node.attr,)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return (node.value,)
    return ()


def imported_names(source: str) -> Iterator[tuple[str, str]]:
    """Yield module and name of each import `from sweeps… import name`."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] == "sweeps"
        ):
            yield from ((node.module, alias.name) for alias in node.names)


def is_written_page(name: str) -> bool:
    return name.startswith("docs/") and name.endswith(".md") and not NOT_WRITTEN.fullmatch(name)


def is_test(name: str) -> bool:
    return (
        name.startswith("tests/")
        and name.endswith(".py")
        and not BENCHMARKS_IN_TESTS.fullmatch(name)
    )


def words_of(text: str) -> int:
    return len(text.split())


def lines_of(texts: Iterable[str]) -> int:
    return sum(len(text.splitlines()) for text in texts)


if __name__ == "__main__":
    main()
