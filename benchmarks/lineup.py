"""Who takes part in `throughput.py`, on a CPU and on CUDA."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from contenders import Task

__all__ = [
    "FAMILIES",
    "Entry",
    "compiled",
    "ladder",
    "lineup",
    "precisions",
    "uncompiled",
    "widths",
]

FAMILIES = (
    "notebook",
    "resident",
    "compile",
    "graphs",
    "lightning",
    "pythae",
    "processes",
    "ours",
    "limit",
)
_LIMIT_WIDTH = {"cpu": 1, "cuda": 64}
_MOST = 512


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the table."""

    name: str
    family: str
    task: Task


def precisions(device: str) -> tuple[str, ...]:
    """What the device computes in at full speed, the most exact first."""
    import torch

    from vaeexp.training.device import has_fast_bf16

    if device == "cuda":
        return ("float32", "tf32", "bf16")
    return ("float32", "bf16") if has_fast_bf16(torch.device(device)) else ("float32",)


def widths(device: str) -> tuple[int, ...]:
    """Trials at once that `ours` tries, until time per trial stops improving; on CUDA in steps of
    4, for time's sake.
    """
    step = 2 if device == "cpu" else 4
    return tuple(step**power for power in range(10) if step**power <= _MOST)


def lineup(
    model: str, device: str, cores: int, among: Collection[str], families: Collection[str]
) -> list[Entry]:
    """All entries but those of `ours`. `among`: precisions."""
    alone = Task(module="resident", model=model, device=device, threads=cores)
    fastest = [precision for precision in precisions(device) if precision in among][-1]
    entries = [
        Entry(
            name=f"notebook, {n} workers",
            family="notebook",
            task=replace(alone, module="notebook", variant=str(n)),
        )
        for n in (0, 2)
    ]
    entries += [
        Entry(
            name=f"plain loop, resident, {p}", family="resident", task=replace(alone, precision=p)
        )
        for p in among
    ]
    compiled = replace(alone, precision=fastest, variant="compile")
    entries.append(
        Entry(name=f"plain loop, torch.compile, {fastest}", family="compile", task=compiled)
    )
    if device == "cuda":
        entries += [
            Entry(
                name=f"plain loop, CUDA graph, {p}",
                family="graphs",
                task=replace(alone, precision=p, variant="graph"),
            )
            for p in among
        ]
        # The other way to fuse: what grouped convolutions and batched products are measured
        # against.
        entries += [
            Entry(
                name=f"{width} branches in one CUDA graph, {fastest}",
                family="graphs",
                task=replace(alone, precision=fastest, variant="graph", width=width),
            )
            for width in (16, 64)
        ]
    entries += [
        Entry(
            name="Lightning + Optuna + MLflow",
            family="lightning",
            task=replace(alone, module="lightning_trainer"),
        ),
        Entry(
            name="pythae's trainer", family="pythae", task=replace(alone, module="pythae_trainer")
        ),
    ]
    # A process takes seconds to open the device: on CUDA, many of them in one precision.
    shared = [(cores, p) for p in among] if device == "cpu" else [(4, fastest), (8, fastest)]
    entries += [
        Entry(
            name=f"{n} processes of the plain loop, {p}",
            family="processes",
            task=replace(alone, precision=p, processes=n, threads=max(1, cores // n)),
        )
        for n, p in shared
    ]
    entries += _limits(alone, cores, among)
    return [entry for entry in entries if entry.family in families]


def _limits(alone: Task, cores: int, among: Collection[str]) -> list[Entry]:
    """On a CPU the products with all cores in one process, and with one core in each of as many;
    the faster counts.
    """
    ways = [replace(alone, module="limit", width=_LIMIT_WIDTH[alone.device])]
    if alone.device == "cpu" and cores > 1:
        ways.append(replace(ways[0], processes=cores, threads=1))
    found = []
    for precision in among:
        for way in ways:
            products = replace(way, precision=precision, variant="products")
            found.append(("products alone", products))
            if alone.model == "conv":
                found.append(
                    ("convolutions alone", replace(products, variant="convolutions", width=1))
                )
        # TF32 moves the same numbers as float32.
        if precision != "tf32":
            found.append(
                ("bytes at copy speed", replace(ways[-1], precision=precision, variant="bytes"))
            )
    entries = []
    for what, task in found:
        each = f", {task.processes} processes" if task.processes > 1 else ""
        entries.append(
            Entry(name=f"limit: {what}{each}, {task.precision}", family="limit", task=task)
        )
    return entries


def ladder(model: str, device: str, cores: int, precision: str, width: int) -> Entry:
    """`ours` with so many trials at once: on a CPU in a process for each core, as a sweep runs
    them; fused on CUDA.
    """
    task = Task(module="ours", model=model, device=device, precision=precision, threads=cores)
    if device == "cuda":
        return Entry(
            name=f"vaeexp, {width} fused, {precision}",
            family="ours",
            task=replace(task, variant="vectorised", width=width),
        )
    processes = min(width, cores)
    lanes = width // processes
    # As a long study trains them; convolutions are left as they are.
    task = replace(
        task,
        variant="compiled",
        width=lanes,
        processes=processes,
        threads=max(1, cores // processes),
    )
    return Entry(
        name=f"vaeexp, {width} at once ({processes} × {lanes}), {precision}",
        family="ours",
        task=task,
    )


def compiled(entry: Entry) -> Entry:
    """`ours` on CUDA as a long study trains it: the fused step compiled whole."""
    return replace(
        entry, name=f"{entry.name}, compiled", task=replace(entry.task, variant="compiled")
    )


def uncompiled(model: str, cores: int, precision: str) -> Entry:
    """`ours` as a short study trains it on a CPU: a lane per process, operation by operation."""
    entry = ladder(model, "cpu", cores, precision, cores)
    return replace(
        entry, name=f"{entry.name}, not compiled", task=replace(entry.task, variant="sequential")
    )
