"""The command gc: what takes how much room, and what of it is freed."""

from collections import defaultdict
from collections.abc import Callable, Iterable

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
from vaeexp.commands.options import Places, TitledCommand, places_options, study_argument, titled
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


def _flag(name: str, help: str) -> Callable:
    return click.option(name, is_flag=True, help=help)


@click.command(cls=TitledCommand)
@study_argument(
    "Study to look at; without it, all studies of the runs folder or the storage.", required=False
)
@titled(
    "What to free",
    _flag(
        "--keep",
        "What the study's `keep:` would not have left: of pruned trials, of trials beyond the "
        "best, pictures of earlier epochs, or sheets.",
    ),
    _flag("--pruned", "Weights and pictures of pruned trials."),
    _flag("--checkpoints", "Checkpoints that trials left although they have ended."),
    _flag(
        "--paused",
        "Checkpoints of trials that a stopped study goes on with, or a larger budget revives. "
        "They begin again, with the same result.",
    ),
    _flag(
        "--programs",
        "Compiled programs that nobody has used for 30 days, of all studies of this user.",
    ),
    _flag(
        "--prepared", "Prepared images that no study here uses. They are made again when needed."
    ),
)
@click.option("--dry-run", is_flag=True, help="Show what would be freed; change nothing.")
@places_options
def gc(*, study: str | None, keep: bool, dry_run: bool, places: Places, **flags: bool) -> None:
    """Show what takes how much room, and free it.

    Without an option that frees, it only shows. What a report, the best run, a registered model, a
    study that goes on or --extend needs stays in any case; freed files are on record, so that
    nobody misses them. A running study is refused.
    """
    runs, storage = places.runs, places.storage
    every = {name: stored_study(name, runs, storage) for name in study_names(runs, storage)}
    name = study_name(study) if study else None
    if name is not None and name not in every:
        # It is not there, and the error says what is.
        every[name] = stored_study(name, runs, storage)
    chosen = [name] if name else [*every]
    wanted, cached = (
        {kind for flag, kinds in table.items() if flags[flag] for kind in kinds}
        for table in (OF_STUDIES, OF_CACHE)
    )
    keeps = {name: _keep(study or name, every[name]) for name in chosen if keep}
    kinds = {name: wanted | (_not_kept(keeps[name]) if keep else set()) for name in chosen}
    best = {name: each.weights for name, each in keeps.items() if each.weights != "all"}
    frees = bool(best) or any(kinds.values())
    for name in chosen if frees else ():
        if (holder := study_holder(storage, runs, name)) is not None:
            raise UserError(
                f"study '{name}'", f"{driver_in_words(holder)} is running it; stop it first."
            )
    cache_items = tidy.items_of_cache([*every.values()])
    items = [(name, item) for name in chosen for item in tidy.items_of_study(runs, every[name])]
    _show([*items, *(("cache", item) for item in cache_items)])
    freed: list[Item] = []
    for name in chosen:
        if dry_run:
            freed += tidy.freeable(runs, every[name], kinds[name], best.get(name))
        elif kinds[name] or name in best:
            freed += tidy.free_of_study(runs, storage, name, kinds[name], best.get(name))
    unused = [item for item in cache_items if item.kind in cached]
    if not dry_run:
        tidy.free_of_cache(unused)
    freed += unused
    if frees or cached:
        size = format_megabytes(sum(item.size for item in freed))
        write_line(
            open_console(),
            f"{'Would free' if dry_run else 'Freed'} {len(freed):,} files or folders, {size}.",
        )


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
