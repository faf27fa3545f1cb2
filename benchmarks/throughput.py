"""Trial-epochs per second, side by side in one run: what people use today, the best plain loops,
ours, and the limit.

    VAEEXP_DATA=FOLDER python benchmarks/throughput.py --device cpu|cuda [--repeats 5]
        [--models mlp conv] [--images N] [--contenders ours limit …] [--precisions float32 …]
        [--widths 1 2 …] [--json FILE] [--png FILE]

Training alone, without validation: Adam 1e-3, batch 128, on the first N of 50,000 digits (a
multiple of 128), scaled to a trial-epoch of 50,000. Every contender (contenders/, lineup.py) is a
process of its own that lives through all repetitions of a model and waits between its turns; in
each repetition each trains a short stretch to get warm and then one that is timed, one contender
after the other. Medians, with the least and the greatest. A contender that cannot run (a package
that is missing, no memory) is a row that says why.

`first step`: from the start of the process to the end of the first optimizer step, with the
imports, the data, and in wide contenders all trials; on CUDA with up to 7 other contenders that
start beside it. `memory`: peak, of the device on CUDA (as torch counts it) and else resident,
summed over the contender's processes. `share`: seconds of the limit over those of the contender, in
its own precision. The limit is the greater of two times (contenders/limit.py): the matrix products
of a step alone, the fastest way found, and the bytes that a step has to move, at the speed of a
copy. Below the table: one after the other, which is the limit of a core that cannot do both at
once.
"""

import argparse
import statistics
import tempfile
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contenders import BATCH, EPOCH
from contenders.digits import describe
from lineup import FAMILIES, Entry, compiled, ladder, lineup, precisions, uncompiled, widths
from runners import Bench, Runner, climbed, repeat
from table import bars, describe_machine, in_words, markdown, usable_cores, write_json

IMAGES = {("mlp", "cpu"): 6_400, ("conv", "cpu"): 1_920}
"""Images of a timed stretch; elsewhere 12,800."""


def main() -> None:
    options = parse()
    device, cores = options.device, usable_cores()
    rows: list[dict[str, Any]] = []
    machine = describe_machine(device)
    # Opening takes most of the time where training is fast: an import and a device for each of 60
    # contenders.
    at_once = 1 if device == "cpu" else max(1, min(8, cores // 2))
    for model in options.models:
        images = options.images or IMAGES.get((model, device), 12_800)
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            closing(Bench(folder, at_once)) as bench,
        ):
            runners = bench.open(
                lineup(model, device, cores, options.precisions, options.contenders)
            )
            if "ours" in options.contenders:
                steps = [
                    [ladder(model, device, cores, p, width) for p in options.precisions]
                    for width in options.widths
                ]
                more, fastest = climbed(bench, steps, images)
                others = []
                if device == "cpu" and model == "mlp":
                    others = [
                        uncompiled(model, cores, precision) for precision in options.precisions
                    ]
                # In the fastest arithmetic alone, for time's sake.
                if device == "cuda" and fastest is not None:
                    others = [compiled(fastest)]
                runners += more + bench.open(others)
            repeat(runners, images, options.repeats, bench.failed)
            rows += summary(runners, bench.failed, model, images)
    content = {
        "machine": machine,
        "data": describe(),
        "repeats": options.repeats,
        "opened_at_once": at_once,
        "rows": rows,
    }
    if options.json:
        write_json(options.json, content)
    if options.png:
        draw(options.png, content)
    below = "".join(f"\n{line}" for line in in_turn(rows))
    print(
        f"{describe()}; medians of {options.repeats}; "
        f"{in_words(machine)}\n\n{written(rows)}\n{below}"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", nargs="+", choices=("mlp", "conv"), default=["mlp", "conv"])
    parser.add_argument("--images", type=int)
    parser.add_argument("--contenders", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--precisions", nargs="+", choices=("float32", "tf32", "bf16"))
    parser.add_argument("--widths", nargs="+", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path)
    options = parser.parse_args()
    if options.images is not None and (options.images % BATCH or not 0 < options.images <= EPOCH):
        parser.error(f"--images: a multiple of {BATCH}, at most {EPOCH:,}")
    options.precisions = options.precisions or list(precisions(options.device))
    options.widths = options.widths or list(widths(options.device))
    return options


def summary(
    runners: list[Runner], failed: dict[Entry, str], model: str, images: int
) -> list[dict[str, Any]]:
    rows = []
    for runner in runners:
        entry = runner.entry
        if entry in failed:
            continue
        median = statistics.median(runner.seconds)
        rows.append(
            {
                "model": model,
                "name": entry.name,
                "family": entry.family,
                "task": asdict(entry.task),
                "images": images,
                "seconds": runner.seconds,
                "median_s": median,
                "trial_epochs_per_s": 1 / median,
                "memory_mb": runner.memory_mb,
                "first_step_s": runner.first_step_s,
            }
        )
    limits = {row["task"]["precision"]: limit_of(rows, row["task"]["precision"]) for row in rows}
    for row in rows:
        limit = limits[row["task"]["precision"]]
        row["share_of_limit"] = (
            limit / row["median_s"] if limit and row["family"] != "limit" else None
        )
    rows += [
        {
            "model": model,
            "name": entry.name,
            "family": entry.family,
            "task": asdict(entry.task),
            "failed": reason,
        }
        for entry, reason in failed.items()
    ]
    return rows


def limits_of(rows: list[dict[str, Any]], precision: str) -> tuple[float, float] | None:
    """Seconds of a trial-epoch's products, the fastest way, and of its bytes (0 where they were not
    measured).
    """
    limits = [row for row in rows if row["family"] == "limit"]
    of_products = [
        row["median_s"]
        for row in limits
        if row["task"]["variant"] != "bytes" and row["task"]["precision"] == precision
    ]
    moved_as = "float32" if precision == "tf32" else precision
    of_bytes = [
        row["median_s"]
        for row in limits
        if row["task"]["variant"] == "bytes" and row["task"]["precision"] == moved_as
    ]
    return (min(of_products), min(of_bytes, default=0.0)) if of_products else None


def limit_of(rows: list[dict[str, Any]], precision: str) -> float | None:
    """Seconds of a trial-epoch that cannot be beaten: products or bytes, whichever takes longer."""
    limits = limits_of(rows, precision)
    return max(limits) if limits else None


def in_turn(rows: list[dict[str, Any]]) -> list[str]:
    """For each model and precision: products, then bytes, beside the fastest of ours."""
    lines = []
    measured = [row for row in rows if "failed" not in row]
    for model, precision in dict.fromkeys(
        (row["model"], row["task"]["precision"]) for row in measured
    ):
        of_model = [row for row in measured if row["model"] == model]
        ours = [
            row["median_s"]
            for row in of_model
            if row["family"] == "ours" and row["task"]["precision"] == precision
        ]
        limits = limits_of(of_model, precision)
        if ours and limits:
            lines.append(
                f"{model}, {precision}: products {limits[0]:.3g} s of a trial-epoch, then bytes "
                f"{limits[1]:.3g} s, together {sum(limits):.3g} s; vaeexp {min(ours):.3g} s, "
                f"{sum(limits) / min(ours):.0%} of that speed."
            )
    return lines


def written(rows: list[dict[str, Any]]) -> str:
    """The table, as markdown."""
    lines = []
    for row in rows:
        if "failed" in row:
            lines.append(
                [row["model"], row["name"], "–", f"does not run: {row['failed']}", "–", "–", "–"]
            )
            continue
        share = row["share_of_limit"]
        spread = f"{min(row['seconds']):.3g} – {max(row['seconds']):.3g}"
        lines.append(
            [
                row["model"],
                row["name"],
                f"{row['trial_epochs_per_s']:.3g}",
                f"{row['median_s']:.3g} ({spread})",
                f"{share:.0%}" if share else "–",
                f"{row['memory_mb']:,.0f}",
                f"{row['first_step_s']:.1f}",
            ]
        )
    head = [
        "model",
        "contender",
        "trial-epochs/s",
        "s per trial-epoch",
        "share of the limit",
        "memory, MiB",
    ]
    return markdown([*head, "first step, s"], lines, texts=2)


def draw(path: Path, content: dict[str, Any]) -> None:
    """The fastest of each family; the table has them all."""
    panels = []
    for model in dict.fromkeys(row["model"] for row in content["rows"]):
        rows = [row for row in content["rows"] if row["model"] == model and "failed" not in row]
        fastest = {
            row["family"]: row
            for row in sorted(rows, key=lambda row: row["trial_epochs_per_s"])
            if row["family"] != "limit"
        }
        values = [
            (row["name"], row["trial_epochs_per_s"], row["family"] == "ours")
            for row in sorted(fastest.values(), key=lambda row: row["trial_epochs_per_s"])
        ]
        found = {row["task"]["precision"]: limit_of(rows, row["task"]["precision"]) for row in rows}
        limits = {
            f"matrix products alone, {precision}": 1 / seconds
            for precision, seconds in found.items()
            if seconds
        }
        panels.append((f"{model}: trial-epochs per second", values, limits))
    processor = content["machine"].get("accelerator") or content["machine"].get("processor", "")
    cores = content["machine"].get("cores", "")
    title = (
        f"{processor}, {cores} cores; {content['data']}; medians of {content['repeats']}; the "
        "fastest of each kind"
    )
    bars(path, panels, title)


if __name__ == "__main__":
    main()
