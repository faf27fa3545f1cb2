"""The page as a document: the words of the README and no others, its opening, its signs, its
titles.
"""

import html
import re

import pytest

from vaeexp.report.markup import folded
from vaeexp.report.page.document import MOST_INSIDE, page

OPENING = """# name

*Question:* Which?

## Answer

- **Use** β = 1.
- **Doubts** ✗ Does it fit? 3 &lt; 4
- ? Is it levelled off? no
- the best ✗ of all
- one

<details>
<summary>All findings</summary>

- **two**: 2

</details>

"""
FIRST = """| row | verdict |
| --- | --- |
| a | ✓ good |
| b | ? cannot be said |
| c | – nothing to check |
| ? d | ✗ |

On test images.

<img src="x.png" width="929" alt="Rate &amp; distortion">

How to read it.

"""
REST = """## Contents

- [Tables](#tables)

## Tables

#### Curves

<img src="y.png" width="929" alt="Curves">

<details>
<summary>Alone</summary>

<img src="z.png" width="929" alt="Alone">

</details>
"""
DRAWN = {f"{name}.png": f'<svg viewBox="0 0 9 9"><text>{name}</text></svg>' for name in "xyz"}


def words(text: str) -> list[str]:
    """The words of HTML without its tags, plots, styles and scripts."""
    for part in ("style", "script", "svg", "head"):
        text = re.sub(rf"(?s)<{part}[ >].*?</{part}>", " ", text)
    return html.unescape(re.sub(r"<[^>]*>", " ", text)).split()


def test_the_page_says_what_the_markdown_says_and_adds_no_word():
    text = page(OPENING + FIRST + REST, {}, drawings=DRAWN)
    said = re.sub(
        r"<img [^>]*>|<[^>]*>|[*#|]|---|^- |\]\(#\w+\)|\[",
        " ",
        OPENING + FIRST + REST,
        flags=re.MULTILINE,
    )
    missing = [word for word in html.unescape(said).split() if word not in words(text)]
    assert missing == []
    captions = {"Rate", "&", "distortion"}
    assert set(words(text)) - set(html.unescape(said).split()) <= captions
    assert " ".join(words(text)).count("All findings") == 1


@pytest.mark.parametrize(
    "between", [FIRST, "", "| a |\n| --- |\n| 1 |\n\n"], ids=["whole", "nothing", "table"]
)
@pytest.mark.parametrize(
    "answer", [OPENING, OPENING.split("<details>")[0]], ids=["folded", "all shown"]
)
def test_the_first_table_and_picture_stand_beside_the_answer(answer, between):
    text = page(answer + between + REST, {}, drawings=DRAWN, data=lambda room: {"trials": []})
    assert ('<div class="opening"><div class="answer">' in text) == bool(between)
    if between:
        left, right = text.split('<div class="answer">')[1].split('</div><div class="first">')
        assert "<h2" in left
        assert ("All findings" in left) == ("<details>" in answer)
        assert "<table" in right.split("</div></div>")[0]
    assert text.count("<div") == text.count("</div>")
    assert (
        text.index("All findings" if "<details>" in answer else "Use")
        < text.index('id="look"')
        < text.index('id="tables"')
    )


def test_pages_without_an_answer_stay_as_they_are():
    text = page("# a and b\n\nTwo.\n\n## Data\n\n| a |\n| --- |\n| 1 |\n", {})
    assert "opening" not in text.split("<body>")[1]
    assert re.findall(r'<li><a href="#([^"]*)"', text) == ["data"]


def test_verdicts_have_their_colour_beside_their_sign():
    text = page(OPENING + FIRST + REST, {}, drawings=DRAWN)
    assert re.findall(r'<span class="sign (\w+)">([^<]*)</span>', text) == [
        ("warning", "✗"),
        ("unknown", "?"),
        ("good", "✓ good"),
        ("unknown", "? cannot be said"),
        ("unknown", "?"),
    ]
    assert "3 &lt; 4" in text, "words after a sign stay words"
    assert "the best ✗ of all" in text


@pytest.mark.parametrize(
    ("line", "figure"),
    [
        ("test −ELBO 96.32 ± 0.38 nats per image, IW-NLL 92.2 ± 0.6; 3 new seeds", "96.32 ± 0.38"),
        (
            "1 of 4 new seeds diverged at epoch 5; test distortion 1,096.3 ± 2 nats per image",
            "1,096.3 ± 2",
        ),
        ("validation −ELBO −3.5 nats per image in the search (n = 1)", "−3.5"),
        ("validation −ELBO 97.50 nats per image, 2 ± 1 of 3", "97.50"),
        ("the front has 3 trials", ""),
    ],
)
def test_the_figure_that_one_gets_is_large(line, figure):
    answer = f"- **Use** β = {figure}.\n- **Get** {line}\n- **Next** {figure}"
    text = page(f"# A\n\n## Answer\n\n{answer}\n\n## Contents\n", {})
    found = re.findall(r'<span class="large">([^<]*)</span>', text)
    assert [each.replace("\N{NO-BREAK SPACE}", " ") for each in found] == (
        [figure] if figure else []
    )
    get = text.split("Get</strong>")[1].split("</li>")[0]
    assert 'class="large"' in get or not figure
    assert words(get) == line.split()


def test_no_line_ends_inside_an_interval():
    text = page("# A\n\nFID 9 ± 2: x\n\n| a |\n| --- |\n| 9 ± 2 |\n", {})
    space = "\N{NO-BREAK SPACE}"
    assert f"FID 9{space}±{space}2:" in text
    assert f"<td>9 ±{space}2</td>" in text


def test_a_plot_has_one_title():
    text = page(OPENING + FIRST + REST, {}, drawings=DRAWN)
    assert re.findall(r'<p class="caption">([^<]*)</p>', text) == ["Rate &amp; distortion"]
    assert re.findall(r'role="img" aria-label="([^"]*)"', text) == [
        "Rate &amp; distortion",
        "Curves",
        "Alone",
    ]
    many = "\n\n".join(
        folded(
            "A and B",
            [
                "#### A",
                '<img src="y.png" width="9" alt="A">',
                '<img src="z.png" width="9" alt="C">',
            ],
        )
    )
    assert re.findall(r'<p class="caption">([^<]*)</p>', page(many, {}, drawings=DRAWN)) == ["C"]


@pytest.mark.parametrize(
    ("name", "size", "inside"),
    [
        ("trials.csv", MOST_INSIDE, True),
        ("trials.csv", MOST_INSIDE + 1, False),
        ("summary.json", 9_000_000, False),
        ("images.npz", 9, False),
    ],
)
def test_large_files_stay_beside_the_page(name, size, inside):
    text = page(f"[all]({name})", {name: b"x" * size})
    assert (f'download="{name}"' in text) == inside
    assert (f'href="{name}"' in text) != inside
