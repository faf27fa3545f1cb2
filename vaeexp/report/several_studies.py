"""Several studies on one page: a comparison `reports/<a>+<b>/README.md`, and the index `reports/README.md`."""

import math
import shlex
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from sweeps.errors import UserError
from vaeexp.plots.studies import side_by_side
from vaeexp.report.folder import README, png, write_folder
from vaeexp.report.markdown import code, escape, fenced, heading, picture, table
from vaeexp.results.study_summary import PROTOCOL, Standing, by_protocol
from vaeexp.words import format_duration, format_interval, format_number, join_and, plural

LONGEST = 120
"""Characters of a folder's name; file systems take 255 bytes."""
CAPTION = (
    "Above, the best setting of each study: a diamond is the mean on test images over fresh seeds, the bar its 95 % interval, "
    "the circle the lowest validation value of the search, which is optimistic. Below, that value against the epochs that "
    "all trials of the search had trained by then."
)
READING = """\
- Rows are sorted by validation −ELBO over fresh seeds, studies that are not confirmed last; nothing is selected on test.
- **test −ELBO** and **test IW-NLL** are means ± 95 % intervals over n training seeds of the best setting, in nats per image.
- **best val −ELBO** is the minimum over trials and epochs of the search; the more trials, the more it flatters.
- **Trial-epochs** of networks of different size do not cost the same; **wall time** depends on the machine and on what else it did."""


def folder_name(names: Sequence[str]) -> str:
    """Where studies are compared: their names in alphabetical order, joined by +, whatever the order they are given in.

    Names of studies have no +, so that two sets of studies never share a folder. A name that would be longer than
    `LONGEST` has the first study, how many others, and a checksum of all names.
    """
    ordered = sorted(names)
    joined = "+".join(ordered)
    if len(joined) <= LONGEST:
        return joined
    return f"{ordered[0][:80]}+{len(ordered) - 1}-others-{sha256(joined.encode()).hexdigest()[:8]}"


def write_comparison(found: Sequence[Standing], *, reports: Path, html: bool = False) -> Path:
    """Write the comparison of two or more studies and return the path of its README.md. The same studies give the same bytes.

    Their own reports must lie beside it in `reports`. Raises UserError when the folder cannot be written.
    """
    groups = by_protocol(found)
    titles = protocol_titles(groups)
    names = sorted(each.name for each in found)
    title = join_and(names) if len(names) <= 3 else plural(len(names), "study", "studies")
    blocks = [heading(f"{escape(title)} side by side", 1), *_opening(groups)]
    pictures = {}
    for place, (title, group) in enumerate(zip(titles, groups, strict=True), start=1):
        blocks += [heading(escape(title)), *_apart(group, groups[0], titles[0])]
        blocks += [protocol_words(group[0]), *_verdict(group), _table(group)]
        figure = side_by_side(group)
        if figure is not None:
            pictures[f"studies_{place}.png"] = png(figure)
            blocks += [picture(f"studies_{place}.png", f"Studies side by side: {title}"), CAPTION]
    given = " ".join(f"--study {shlex.quote(name)}" for name in names)
    blocks += [heading("How to read this"), READING]
    blocks.append(fenced(f"vaeexp report {given}    # writes these reports again", "sh"))
    return write_folder(reports / folder_name(names), "\n\n".join(blocks) + "\n", pictures, html=html)


def own_report(each: Standing, up: str = "") -> str:
    """The study's name as a link to its own report."""
    return f"[{escape(each.name)}]({up}{each.name}/README.md)"


def protocol_titles(groups: Sequence[Sequence[Standing]]) -> list[str]:
    """A heading for each protocol, no two alike: `MNIST, static binarisation, bernoulli likelihood, gaussian posterior`."""
    titles: list[str] = []
    for group in groups:
        protocol = group[0].protocol
        targets = str(protocol.get("binarisation", "")).partition(" (")[0].replace("none", "no")
        parts = {"": protocol.get("data"), " binarisation": targets, " likelihood": protocol.get("likelihood")}
        known = [f"{value}{ending}".replace("_", " ") for ending, value in parts.items() if value]
        ending = "deterministic autoencoder" if group[0].deterministic else f"{protocol.get('posterior')} posterior"
        title = ", ".join([*known, ending]) if known else f"{group[0].name}: protocol not recorded"
        again = sum(earlier.partition(" (table ")[0] == title for earlier in titles)
        titles.append(f"{title} (table {again + 1})" if again else title)
    return titles


def protocol_words(each: Standing) -> str:
    """All parts of a protocol in one sentence, with a warning where the images are a small part of a data set."""
    parts = [f"{name}: {_part(each.protocol, part)}" for part, name in PROTOCOL.items() if each.protocol.get(part)]
    words = "; ".join(parts)
    words = f"{words[0].upper()}{words[1:]}."
    subset = "**These are figures of a small part of the data set and cannot be compared with published ones.** "
    return f"{subset if each.subset else ''}{words}"


def state_words(each: Standing) -> str:
    """`finished`, or how far the search is."""
    planned = f" of {each.budget:,}" if each.budget else ""
    return "finished" if each.finished else f"interim: {each.ended:,}{planned} trials have ended"


def result_words(each: Standing) -> str:
    """What the best setting is worth: on test, or else the lowest value of the search."""
    if each.confirmed:
        return f"test {each.measure} {format_interval(each.test)} (n = {each.test.n})"
    if each.search_value is None:
        return "no complete trial"
    return f"validation {each.measure} {format_number(each.search_value)}, not confirmed"


def _opening(groups: Sequence[Sequence[Standing]]) -> list[str]:
    """How many studies in how many tables, and which of them are not at their end."""
    every = sorted((each for group in groups for each in group), key=lambda each: each.name)
    blocks = []
    going = [escape(each.name) for each in every if not each.finished]
    if going:
        verb = "has" if len(going) == 1 else "have"
        blocks.append(f"**Interim report: {join_and(going)} {verb} not finished; figures will change.**")
    links = join_and([own_report(each, "../") for each in every])
    if len(groups) == 1:
        return [*blocks, f"{links} share their protocol, so that their figures can be set side by side."]
    differing = [
        name for part, name in PROTOCOL.items() if len({str(group[0].protocol.get(part)) for group in groups}) > 1
    ]
    why = f"they differ in {join_and(differing)}" if differing else "what they share was not recorded"
    words = (
        f"{links} stand in {len(groups)} tables, for {why}. Figures of different tables measure different things: none of "
        "one table can be set against one of another."
    )
    return [*blocks, words]


def _apart(group: Sequence[Standing], first: Sequence[Standing], title: str) -> list[str]:
    """Why a table is not one with the first."""
    if group is first:
        return []
    own, other = group[0].protocol, first[0].protocol
    parts = [
        f"{name} (here {_part(own, part)}, there {_part(other, part)})"
        for part, name in PROTOCOL.items()
        if own.get(part) != other.get(part)
    ]
    why = f"it differs in {join_and(parts)}" if parts else "which images it has was not recorded"
    return [f"Kept apart from “{escape(title)}”, for {why}."]


def _part(protocol: dict[str, str], part: str) -> str:
    value = protocol.get(part)
    if value is None:
        return "not recorded"
    return code(f"{value[:12]}…") if part == "fingerprint" else escape(value)


def _verdict(group: Sequence[Standing]) -> list[str]:
    """Which study has the lowest confirmed figure, and whether the others can be told from it."""
    if len(group) < 2:
        return []
    confirmed = sorted((each for each in group if each.confirmed), key=lambda each: (each.test.mean, each.name))
    if len(confirmed) < 2:
        known = "None of them is" if not confirmed else "One of them alone is"
        return [f"{known} confirmed on test, so nothing is said yet of which is better."]
    leader, others = confirmed[0], confirmed[1:]
    words = (
        f"The lowest confirmed test {leader.measure} is that of {escape(leader.name)}, {format_interval(leader.test)}."
    )
    near = [each for each in others if not leader.test.high < each.test.low]
    if not near:
        rest = "The other interval lies" if len(others) == 1 else "The other intervals lie"
        return [f"{words} {rest} above its own."]
    names = join_and([f"{escape(each.name)} ({format_interval(each.test)})" for each in near])
    single = any(not math.isfinite(each.test.low) for each in (leader, *near))
    why = "one seed gives no interval" if single else "the intervals overlap"
    return [f"{words} That it is better than {names} is not settled: {why}."]


def _table(group: Sequence[Standing]) -> str:
    measure = group[0].measure
    header = [
        *("study", "state", f"test {measure}", "n", "test IW-NLL", f"val {measure}, fresh seeds"),
        *(f"best val {measure}, search", "search trials", "search trial-epochs", "later trial-epochs"),
        *("wall time of the search", "best setting"),
    ]
    return table(header, [_line(each) for each in group], right=range(2, 11))


def _line(each: Standing) -> list[str]:
    sure = each.confirmed and each.best is not None
    return [
        own_report(each, "../"),
        state_words(each),
        format_interval(each.test) if sure else "–",
        str(each.test.n) if sure else "–",
        format_interval(each.best.test("iw_nll")) if sure else "–",
        format_interval(each.best.validation) if sure else "–",
        format_number(each.search_value) if each.search_value is not None else "–",
        f"{each.trials:,}",
        f"{each.epochs:,}",
        f"{each.more_epochs:,}",
        format_duration(each.seconds) if each.seconds else "–",
        escape(each.best.setting) if each.best is not None else "–",
    ]


TITLE = heading("All studies", 1)


def check_index(reports: Path) -> None:
    """See that no text of somebody else stands where the index goes.

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
            "is not an index of studies and would be replaced; move it away, or name another folder with --reports.",
        )


def write_index(found: Sequence[Standing], unread: Mapping[str, str], *, reports: Path, html: bool = False) -> Path:
    """Write the index and return its path. The same studies give the same bytes.

    Args:
        found: the studies, whose own reports lie below `reports`.
        unread: studies that could not be read, with the reason.
        reports: folder that gets README.md.
        html: whether to write `report.html`, too.

    Raises:
        UserError: the folder cannot be written.
    """
    groups = by_protocol(found)
    titles = protocol_titles(groups)
    blocks = [TITLE, _index_opening(groups, len(found))]
    for title, group in sorted(zip(titles, groups, strict=True), key=lambda pair: pair[0]):
        blocks += [heading(escape(title)), protocol_words(group[0]), _index_table(group)]
    if unread:
        lines = [f"- {escape(name)}: {escape(problem)}" for name, problem in sorted(unread.items())]
        blocks += [heading("Studies that could not be read"), "\n".join(lines)]
    return write_folder(reports, "\n\n".join(blocks) + "\n", {}, html=html)


def _index_opening(groups: Sequence[Sequence[Standing]], count: int) -> str:
    words = f"{plural(count, 'study', 'studies')}; a name leads to the report."
    if len(groups) > 1:
        words += (
            " Each table holds studies of one protocol. Figures of different tables measure different things and are never "
            "to be ranked together."
        )
    return (
        f"{words} Test figures are means ± 95 % intervals over n training seeds, in nats per image; smaller is better."
    )


def _index_table(group: Sequence[Standing]) -> str:
    rows = [
        [
            own_report(each),
            escape(each.question),
            state_words(each),
            result_words(each),
            escape(each.best.setting) if each.best is not None else "–",
        ]
        for each in group
    ]
    return table(["study", "question", "state", "result", "best setting"], rows)
