"""The command gc: what takes how much room, and what of it is freed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import click

from sweeps import (
    Keep,
    State,
    UserError,
    driver_in_words,
    is_path,
    load_study,
    study_holder,
    study_names,
)
from vaeexp.commands.options import Places, places_options, study_argument
from vaeexp.console import open_console, print_table, write_line
from vaeexp.machine import shipped_studies
from vaeexp.results import stored_study, study_name
from vaeexp.runs import tidy
from vaeexp.runs.tidy import Item
from vaeexp.settings import OBJECTIVES
from vaeexp.study import sections_for
from vaeexp.words import format_megabytes

OF_STUDIES = {"pruned": tidy.PRUNED, "checkpoints": [tidy.CHECKPOINTS], "paused": [tidy.PAUSED]}
OF_CACHE = {"programs": [tidy.PROGRAMS], "prepared": [tidy.PREPARED]}
"""Option → the kinds of files that it frees."""


@click.command()
@study_argument(
    "Study to look at; without it, all studies of the runs folder or the storage.", required=False
)
@click.option(
    "--keep",
    is_flag=True,
    help="Free what the study's `keep:` would not have left: of pruned trials, of trials beyond "
    "the best, pictures of earlier epochs, or sheets.",
)
@click.option("--pruned", is_flag=True, help="Free weights and pictures of pruned trials.")
@click.option(
    "--checkpoints",
    is_flag=True,
    help="Free checkpoints that trials left although they have ended.",
)
@click.option(
    "--paused",
    is_flag=True,
    help="Free checkpoints of trials that a stopped study goes on with, or a larger budget "
    "revives. They begin again, with the same result.",
)
@click.option(
    "--programs",
    is_flag=True,
    help="Free compiled programs that were not used for 30 days, of all studies of this user.",
)
@click.option(
    "--prepared",
    is_flag=True,
    help="Free prepared images that no study here uses. They are made again when needed.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be freed; change nothing.")
@places_options
def gc(*, study: str | None, keep: bool, dry_run: bool, places: Places, **flags: bool) -> None:
    """Show what takes how much room, and free it.

    Without an option that frees, it only shows. What a report, the best run, a registered model, a
    study that goes on or --extend needs stays in any case; freed files are on record, so that
    no check misses them. A running study is refused.
    """
    runs = places.runs
    storage = places.storage
    names = study_names(runs, storage)
    chosen = [study_name(study)] if study else names
    every = {name: stored_study(name, runs, storage) for name in dict.fromkeys([*names, *chosen])}
    wanted = _kinds_of(OF_STUDIES, flags)
    cached = _kinds_of(OF_CACHE, flags)
    plans: dict[str, tuple[set[str], int | None]] = {}
    """Study → kinds of files to free, and how many of its best trials keep their weights."""
    for name in chosen:
        kinds = set(wanted)
        best = None
        if keep:
            section = _keep(study or name, every[name])
            kinds |= _not_kept(section)
            best = None if section.weights == "all" else section.weights
        if kinds or best is not None:
            plans[name] = kinds, best
    for name in plans:
        if (holder := study_holder(storage, runs, name)) is not None:
            problem = f"{driver_in_words(holder)} is running it; stop it first."
            raise UserError(f"study '{name}'", problem)
    cache_items = tidy.items_of_cache([*every.values()])
    items = list[tuple[str, Item]]()
    for name in chosen:
        items += [(name, item) for item in tidy.items_of_study(runs, every[name])]
    _show([*items, *(("cache", item) for item in cache_items)])
    freed: list[Item] = []
    for name, (kinds, best) in plans.items():
        if dry_run:
            freed += tidy.freeable(runs, every[name], kinds, best)
        else:
            freed += tidy.free_of_study(runs, storage, name, kinds, best)
    unused = [item for item in cache_items if item.kind in cached]
    if not dry_run:
        tidy.free_of_cache(unused)
    if plans or cached:
        freed += unused
        size = format_megabytes(sum(item.size for item in freed))
        done = "Would free" if dry_run else "Freed"
        write_line(open_console(), f"{done} {len(freed):,} files or folders, {size}.")


def _kinds_of(table: Mapping[str, Sequence[str]], flags: Mapping[str, bool]) -> set[str]:
    """Return the kinds of files that the given options free."""
    return set(chain.from_iterable(kinds for option, kinds in table.items() if flags[option]))


def _keep(given: str, stored: State) -> Keep:
    """Return the section `keep:` of the file that is given by its path, else of the study's
    record.
    """
    if is_path(given):
        return load_study(
            given,
            sections=sections_for(given),
            shipped=shipped_studies(),
            metrics=OBJECTIVES,
            epochs="epochs",
        ).keep
    return Keep.model_validate(stored.study.keep)


def _not_kept(keep: Keep) -> set[str]:
    """Return the kinds of files that `keep:` leaves out, of whichever run."""
    kinds = set(tidy.PRUNED) if keep.pruned == "figures" else set()
    kinds |= set() if keep.sheets else {tidy.SHEETS}
    return kinds | ({tidy.EARLIER_PICTURES} if keep.pictures == "last" else set())


def _show(items: Iterable[tuple[str, Item]]) -> None:
    """Print the bytes of each kind of file, by study and of the user's cache."""
    sizes = defaultdict[tuple[str, str], list[int]](list)
    for place, item in items:
        sizes[place, item.kind].append(item.size)
    rows = [(*key, f"{len(each):,}", format_megabytes(sum(each))) for key, each in sizes.items()]
    if rows:
        print_table(open_console(), ("where", "what", "number", "size"), rows)
