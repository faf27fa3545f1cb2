"""Several studies on one page: a comparison `reports/<a>+<b>/README.md`, and the index
`reports/README.md`.
"""

import shlex
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path

from sweeps import UserError
from vaeexp.report.folder import README, write_folder
from vaeexp.report.markup import code, escape, fenced, heading, narrow_tables, table
from vaeexp.report.page.document import page
from vaeexp.results.plan import PROTOCOL, likelihood_words
from vaeexp.results.study_summary import StudySummary, by_protocol
from vaeexp.words import format_duration, format_interval, format_number, join_and, one_line, plural

LONGEST = 120
"""Characters of a folder's name; file systems take 255 bytes."""
READING = """\
- Rows are sorted by validation −ELBO over fresh seeds, studies that are not confirmed last; nothing is selected on test.
- **test −ELBO** and **test IW-NLL** are means ± 95 % intervals over n training seeds of the best configuration, in nats per image.
- **best val −ELBO** is the minimum over trials and epochs of the search; the more trials, the more it flatters.
- **Trial-epochs** of networks of different size do not cost the same; **wall time** depends on the machine and on what else it did."""  # noqa: E501


def folder_name(names: Sequence[str]) -> str:
    """Return the folder of a comparison: the names in alphabetical order, joined by +, whatever
    order they are given in.

    Names of studies have no +, so that two sets of studies never share a folder. A name that would
    be longer than `LONGEST` has the first study, how many others, and a checksum of all names.
    """
    ordered = sorted(names)
    joined = "+".join(ordered)
    if len(joined) <= LONGEST:
        return joined
    return f"{ordered[0][:80]}+{len(ordered) - 1}-others-{sha256(joined.encode()).hexdigest()[:8]}"


def write_comparison(studies: Sequence[StudySummary], *, reports: Path, html: bool = True) -> Path:
    """Write the comparison of two or more studies and return the path of its README.md. The same
    studies give the same bytes.

    Their own reports must lie next to it in `reports`. Raises UserError when the folder cannot be
    written.
    """
    groups = by_protocol(studies)
    names = sorted(study.name for study in studies)
    titles = protocol_titles(groups)
    title = join_and(names) if len(names) <= 3 else plural(len(names), "study", "studies")
    blocks = [heading(f"{escape(title)} side by side", 1), *_introduction(groups)]
    for title, group in zip(titles, groups, strict=True):
        blocks += [heading(escape(title)), protocol_words(group)]
        blocks += [*leader_sentence(group), _table(group)]
    command = f"vaeexp report {shlex.join(names)}    # writes these reports again"
    blocks += [heading("How to read this"), READING, fenced(command, "sh")]
    text = "\n\n".join(blocks) + "\n"
    return write_folder(reports / folder_name(names), text, {}, page if html else None)


def report_link(study: StudySummary, up: str = "") -> str:
    """Return the study's name as a link to its own report."""
    return f"[{escape(study.name)}]({up}{study.name}/README.md)"


def protocol_titles(groups: Sequence[Sequence[StudySummary]]) -> list[str]:
    """Return a heading for each protocol, no two alike: `MNIST, static binarisation, bernoulli
    likelihood, gaussian posterior`.
    """
    titles: list[str] = []
    for group in groups:
        study, protocol = group[0], group[0].protocol
        targets = str(protocol.get("binarisation", "")).partition(" (")[0].replace("none", "no")
        parts = {
            "": protocol.get("data"),
            " binarisation": targets,
            " likelihood": likelihood_words(each.protocol for each in group),
        }
        recorded = [
            f"{value}{ending}".replace("_", " ") for ending, value in parts.items() if value
        ]
        ending = (
            "deterministic autoencoder"
            if study.deterministic
            else f"{protocol.get('posterior')} posterior"
        )
        title = (
            ", ".join([*recorded, ending]) if recorded else f"{study.name}: protocol not recorded"
        )
        again = sum(earlier.partition(" (table ")[0] == title for earlier in titles)
        titles.append(f"{title} (table {again + 1})" if again else title)
    return titles


def protocol_words(group: Sequence[StudySummary]) -> str:
    """Say all parts of the protocol of a table in one sentence, and the likelihoods; with a warning
    where the images are a small part of a data set.
    """
    study = group[0]
    parts = [
        f"{name}: {_part(part, value)}"
        for part, name in PROTOCOL.items()
        if (value := study.protocol.get(part))
    ]
    likelihoods: dict[str, list[str]] = {}
    for each in group:
        likelihoods.setdefault(each.protocol.get("likelihood", ""), []).append(escape(each.name))
    for words, names in likelihoods.items():
        of = f" of {join_and(names)}" if len(likelihoods) > 1 else ""
        parts += [f"likelihood{of}: {escape(words)}"] if words else []
    sentence = "; ".join(parts)
    subset = (
        "**These are figures of a small part of the data set and cannot be compared with "
        "published ones.** "
    )
    return f"{subset if study.subset else ''}{sentence[0].upper()}{sentence[1:]}."


def state_words(study: StudySummary) -> str:
    """Say `finished`, or how far the search is."""
    planned = f" of {study.budget:,}" if study.budget else ""
    return "finished" if study.finished else f"interim: {study.ended:,}{planned} trials have ended"


def _introduction(groups: Sequence[Sequence[StudySummary]]) -> list[str]:
    """Say how many studies stand in how many tables, and which of them have not finished."""
    studies = sorted(chain.from_iterable(groups), key=lambda study: study.name)
    going = [escape(study.name) for study in studies if not study.finished]
    verb = "has" if len(going) == 1 else "have"
    interim = (
        [f"**Interim report: {join_and(going)} {verb} not finished; figures will change.**"]
        if going
        else []
    )
    links = join_and([report_link(study, "../") for study in studies])
    if len(groups) == 1:
        return [
            *interim,
            f"{links} share their protocol, so that their figures can be set side by side.",
        ]
    protocols = [group[0].protocol for group in groups]
    parts = [
        title
        for part, title in PROTOCOL.items()
        if len({protocol.get(part) for protocol in protocols}) > 1
    ]
    why = f"they differ in {join_and(parts)}" if parts else "what they share was not recorded"
    sentence = (
        f"{links} stand in {len(groups)} tables, for {why}. Figures of different tables measure "
        "different things: none of one table can be set against one of another."
    )
    return [*interim, sentence]


def _part(part: str, value: str) -> str:
    return code(f"{value[:12]}…") if part == "fingerprint" else escape(value)


def leader_sentence(group: Sequence[StudySummary]) -> list[str]:
    """Say which study has the lowest confirmed figure, and whether the others can be told from
    it.
    """
    if len(group) < 2:
        return []
    confirmed = sorted(
        (study for study in group if study.confirmed),
        key=lambda study: (study.test.mean, study.name),
    )
    if len(confirmed) < 2:
        subject = "None of them is" if not confirmed else "One of them alone is"
        return [f"{subject} confirmed on test, so nothing is said yet of which is better."]
    leader, *others = confirmed
    sentence = (
        f"The lowest confirmed test {leader.measure} is that of {escape(leader.name)}, "
        f"{format_interval(leader.test)}."
    )
    near = [study for study in others if not leader.test.high < study.test.low]
    if not near:
        rest = "The other interval lies" if len(others) == 1 else "The other intervals lie"
        return [f"{sentence} {rest} above its own."]
    names = join_and([f"{escape(study.name)} ({format_interval(study.test)})" for study in near])
    why = "the intervals overlap, or there are fewer than three seeds"
    return [f"{sentence} That it is better than {names} is not settled: {why}."]


def _table(group: Sequence[StudySummary]) -> str:
    measure = group[0].measure
    header = [
        *("study", "state", f"test {measure}", "n", "test IW-NLL", f"val {measure}, fresh seeds"),
        *(
            f"best val {measure}, search",
            "search trials",
            "search trial-epochs",
            "later trial-epochs",
        ),
        *("wall time of the search", "best configuration"),
    ]
    return narrow_tables(header, [_line(study) for study in group], right=range(2, 11))


def _line(study: StudySummary) -> list[str]:
    tested = ["–"] * 4
    if study.confirmed and study.best is not None:
        means = [
            format_interval(mean)
            for mean in (study.test, study.best.test("iw_nll"), study.best.validation)
        ]
        tested = [means[0], str(study.test.n), *means[1:]]
    return [
        *(
            report_link(study, "../"),
            state_words(study),
            *tested,
            format_number(study.search_value),
        ),
        *(f"{count:,}" for count in (study.trials, study.epochs, study.more_epochs)),
        *(format_duration(study.seconds) if study.seconds else "–", _best(study)),
    ]


def _best(study: StudySummary) -> str:
    return escape(study.best.setting) if study.best is not None else "–"


TITLE = heading("All studies", 1)


def check_index(reports: Path) -> None:
    """Check that the index would replace no file of the user.

    Raises:
        UserError: `reports/README.md` is not an index that was written here.
    """
    try:
        earlier = (reports / README).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(str(reports / README), f"cannot be read: {error.strerror}.") from error
    if not earlier.startswith(f"{TITLE}\n"):
        raise UserError(
            str(reports / README),
            "is not an index of studies and would be replaced; move it away, or name another "
            "folder with --reports.",
        )


def write_index(
    studies: Sequence[StudySummary], unread: Mapping[str, str], *, reports: Path, html: bool = True
) -> Path:
    """Write the index and return its path. The same studies give the same bytes.

    Args:
        studies: the studies, whose own reports lie below `reports`.
        unread: studies that could not be read, with the reason.
        reports: folder that gets README.md.
        html: whether to write `report.html`, too.

    Raises:
        UserError: the folder cannot be written.
    """
    groups = by_protocol(studies)
    titles = protocol_titles(groups)
    apart = (
        " Each table holds studies of one protocol. Figures of different tables measure "
        "different things and are never to be ranked together."
    )
    opening = (
        f"{plural(len(studies), 'study', 'studies')}; a name leads to the "
        f"report.{apart if len(groups) > 1 else ''} Test figures are means ± 95 % intervals over "
        "n training seeds, in nats per image; smaller is better."
    )
    blocks = [TITLE, opening]
    for title, group in sorted(zip(titles, groups, strict=True), key=lambda pair: pair[0]):
        blocks += [heading(escape(title)), protocol_words(group), _index_table(group)]
    if unread:
        lines = [f"- {escape(name)}: {escape(problem)}" for name, problem in sorted(unread.items())]
        blocks += [heading("Studies that could not be read"), "\n".join(lines)]
    return write_folder(reports, "\n\n".join(blocks) + "\n", {}, page if html else None)


def _result(study: StudySummary) -> str:
    """Say what the best configuration is worth: on test, or else the lowest value of the search."""
    if study.confirmed:
        return f"test {study.measure} {format_interval(study.test)} (n = {study.test.n})"
    if study.search_value is None:
        return "no complete trial"
    return f"validation {study.measure} {format_number(study.search_value)}, not confirmed"


def _index_table(group: Sequence[StudySummary]) -> str:
    rows = [
        [
            report_link(study),
            escape(one_line(study.question)),
            state_words(study),
            _result(study),
            _best(study),
        ]
        for study in group
    ]
    return table(["study", "question", "state", "result", "best configuration"], rows)
