"""Numbers, values, durations and lists as text."""

import pytest

from vaeexp.words import format_duration, format_params, format_short, plural


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.2, "under 1 s"),
        (48.4, "48 s"),
        (60, "1 min"),
        (250, "4 min 10 s"),
        (7500, "2 h 5 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_figures_are_short() -> None:
    assert [
        format_short(value) for value in (None, float("nan"), 0.123456, 123.456, 12345.6, 12, True, (512, 512), "adam")
    ] == [*("", "", "0.1235", "123.46", "12,346", "12", "True", "512, 512", "adam")]
    assert format_params({"beta": 0.0123456, "latent_size": 12}) == "beta=0.0123 latent_size=12"


def test_counts_have_their_noun() -> None:
    assert [plural(count, "trial") for count in (0, 1, 1200)] == ["0 trials", "1 trial", "1,200 trials"]
