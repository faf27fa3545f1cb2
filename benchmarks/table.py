"""What the benchmarks have in common: a table, a JSON file, a picture, and a description of the
machine.
"""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "bars",
    "child_environment",
    "describe_machine",
    "in_words",
    "markdown",
    "usable_cores",
    "write_json",
]

_OURS, _OTHERS, _LIMIT = "#0072B2", "#9a9a9a", "#D55E00"
"""Blue, grey and vermilion: told apart with any colour vision (Okabe & Ito 2008)."""
_INCHES = 9.0
"""900 pixels."""


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int) -> str:
    """A table whose columns line up in a terminal; all but the first `texts` are numbers."""
    cells = [list(head), *(list(row) for row in rows)]
    sizes = [max(len(row[column]) for row in cells) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        pairs = enumerate(zip(row, sizes, strict=True))
        return (
            "| "
            f"{' | '.join(cell.ljust(size) if i < texts else cell.rjust(size) for i, (cell, size) in pairs)} "  # noqa: E501
            "|"
        )

    rule = ["-" * size if i < texts else f"{'-' * (size - 1)}:" for i, size in enumerate(sizes)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def child_environment() -> dict[str, str]:
    """For a child process: it finds vaeexp and these modules, and imports from compiled files, as
    on any second day.
    """
    here = Path(__file__).resolve().parent
    found = dict(os.environ)
    given = [found["PYTHONPATH"]] if found.get("PYTHONPATH") else []
    found["PYTHONPATH"] = os.pathsep.join([str(here.parent), str(here), *given])
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found


def describe_machine(device: str) -> dict[str, Any]:
    """Processor, memory, accelerator, versions, and how busy it was before. With torch alone: what
    that knows.
    """
    import torch

    try:
        from vaeexp.machine import describe_hardware

        found = describe_hardware()
    except ImportError:
        found = {"processor": platform.processor() or platform.machine(), "cores": usable_cores()}
    if device == "cuda":
        found |= {"accelerator": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    load = {"load_before": round(os.getloadavg()[0], 1)} if hasattr(os, "getloadavg") else {}
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return found | versions | load | {"date": time.strftime("%Y-%m-%d %H:%M")}


def in_words(machine: Mapping[str, Any]) -> str:
    """The description on one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())


def bars(
    path: Path,
    panels: Sequence[tuple[str, Sequence[tuple[str, float, bool]], Mapping[str, float]]],
    title: str,
) -> None:
    """Horizontal bars with their values; a panel is (title, (label, value, whether ours), limit →
    value of its line).
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    counts = [len(values) for _, values, _ in panels]
    figure, axes = plt.subplots(
        len(panels),
        figsize=(_INCHES, sum(counts) * 0.3 + len(panels) * 0.9 + 0.5),
        height_ratios=[count + 1.5 for count in counts],
        squeeze=False,
        layout="constrained",
    )
    for axis, (name, values, limits) in zip(axes[:, 0], panels, strict=True):
        labels, heights, ours = zip(*values, strict=True) if values else ((), (), ())
        found = axis.barh(
            range(len(labels)),
            heights,
            color=[_OURS if mine else _OTHERS for mine in ours],
            height=0.72,
        )
        paper = {
            "facecolor": "white",
            "edgecolor": "none",
            "pad": 0.8,
        }  # where the line of a limit would cross a number
        axis.bar_label(
            found, [f"{height:.3g}" for height in heights], padding=4, fontsize=9, bbox=paper
        )
        axis.set_yticks(range(len(labels)), labels, fontsize=9)
        axis.invert_yaxis()
        for limit, value in limits.items():
            axis.axvline(value, color=_LIMIT, linestyle="--", linewidth=1.3)
            axis.annotate(
                f"{limit}: {value:.3g}",
                (value, 1),
                xycoords=("data", "axes fraction"),
                xytext=(-3, 2),
                textcoords="offset points",
                color=_LIMIT,
                fontsize=9,
                ha="right",
            )
        axis.set_xlim(0, 1.12 * max([*heights, *limits.values()], default=1))
        axis.set_title(name, loc="left", fontsize=10, fontweight="bold", pad=16)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9, color="#444444")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)
