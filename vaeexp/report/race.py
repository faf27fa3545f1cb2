"""The race of the confirmed configurations: how it ended, and which was dropped when and why."""

from sweeps.results.racing import MOST_LOST, Dropped, Race
from vaeexp.report.markup import escape
from vaeexp.report.sentences import sentence
from vaeexp.results.statements import NATS, Figure, Statement
from vaeexp.results.study_view import StudyView
from vaeexp.results.tested_settings import TestedSetting
from vaeexp.words import plural


def race_words(view: StudyView) -> list[str]:
    """Return how the race of a study ended, then a list with a sentence for each dropped configuration; empty without a race."""
    said = {statement.id: sentence(statement, escape) for statement in race(view)}
    dropped = [f"- {sentence(one, escape)}" for one in race(view) if one.id.startswith("race.dropped")]
    opening = " ".join(words for name, words in said.items() if not name.startswith("race.dropped"))
    return [block for block in (opening, "\n".join(dropped)) if block]


def race(view: StudyView) -> list[Statement]:
    """Return how the race ended and, where configurations were dropped, the rule and when each was dropped."""
    race, repeats = view.race, view.trials[view.trials["repeat"]]
    if race is None or not race.order:
        return []
    left = len(race.order) - len(race.dropped)
    values = {"configurations": len(race.order), "seeds": race.most, "left": left, "looked": race.looked}
    values |= {"runs": int(repeats["purposes"].map(lambda purposes: "confirm" in purposes).sum())}
    values |= {"planned": len(race.order) * race.most}
    spread = Figure(value=race.spread, unit=NATS) if race.ended == "close" else None
    kind = race.ended or ("goes_on" if race.looked else "begun")
    ended = Statement(id=f"race.{kind}", values={**values, "spread": spread})
    if not race.dropped:
        return [ended]
    rule = {"pairs": race.pairs, "looks": race.looks - 1, "rate": MOST_LOST}
    return [ended, Statement(id="race.rule", values=rule), *map(_dropped, race.dropped)]


def _dropped(dropped: Dropped) -> Statement:
    rows, values = (str(dropped.trial),), {"trial": dropped.trial, "seeds": dropped.seeds}
    if dropped.leader is None:
        return Statement(id="race.dropped_failed", values=values, rows=rows)
    behind = Figure(value=dropped.behind, unit=NATS)
    return Statement(
        id="race.dropped", values={**values, "leader": dropped.leader, "behind": behind, "p": dropped.p}, rows=rows
    )


def place_in_race(race: Race, setting: TestedSetting) -> str:
    """Return a configuration's cell of the table: `won`, `dropped after 3 seeds`, or where it stands."""
    left = next((dropped for dropped in race.dropped if dropped.trial == setting.source_trial), None)
    if left is not None:
        return f"dropped after {plural(left.seeds, 'seed')}"
    if not race.ended:
        return "in it"
    return "won" if setting.source_trial == race.order[0] else "in it to the end"
