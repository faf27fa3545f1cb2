"""Numbers, values, durations and lists as text."""

import json
import math

import pytest

from sweeps.results import mean_interval
from vaeexp.console import json_value
from vaeexp.words import (
    format_configuration,
    format_duration,
    format_interval,
    format_number,
    format_params,
    format_short,
    format_tick,
    format_value,
    naming,
    of_data,
)


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
        format_short(value)
        for value in (None, float("nan"), 0.123456, 123.456, 12345.6, 12, True, (512, 512), "adam")
    ] == [*("", "", "0.1235", "123.46", "12,346", "12", "True", "512, 512", "adam")]
    assert format_params({"beta": 0.0123456, "latent_size": 12}) == "beta=0.0123 latent_size=12"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (0.000123456, "0.000123"),
        (1234.0, "1,234"),
        (0.98, "0.98"),
        (True, "True"),
        ([512, 256], "512–256"),
    ],
)
def test_values_are_shown_short(value, text):
    assert format_value(value) == text


def test_numbers_and_settings_as_text():
    assert format_number(-0.5) == "−0.50"
    assert format_number(-0.001) == "0.00"
    assert format_number(math.nan) == "–"
    assert format_number(12345.678) == "12,345.68"
    assert format_number(1234.5678, 3) == "1,234.568"
    assert [format_number(value, 5) for value in (0.012345678, 9.8765432)] == ["0.01235", "9.87654"]
    assert [format_number(value, 5) for value in (-98.765432, 6.2857846e7)] == [
        "−98.7654",
        "62,857,846",
    ]
    assert format_number(math.inf, 5) == "–"
    assert format_interval(mean_interval([41.0, 42.0, 43.0]), 5) == "42.0000 ± 2.4841"
    assert format_configuration({"beta": 1.0, "latent_size": 20}) == "β = 1, latent size = 20"
    assert [format_tick(value) for value in (0.0001, 0.1, 1, 1000, 1e-6)] == [
        "0.0001",
        "0.1",
        "1",
        "1,000",
        "1e-06",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"parameters": 235540.0, "rate": 0.5}, '{"parameters": 235540, "rate": 0.5}'),
        ([(-0.0, 1e-5), True, None, "1.0"], '[[0, 1e-05], true, null, "1.0"]'),
        ({7: [math.nan, math.inf]}, '{"7": [null, null]}'),
        (1e300, "1e+300"),
    ],
)
def test_json_has_whole_numbers_without_a_point(value, text):
    assert json.dumps(json_value(value), allow_nan=False) == text
    assert json.loads(text) == json_value(value)


@pytest.mark.parametrize(
    ("noun", "words"),
    [
        ("image", "An image of images/x.png: nats per image, 12 sub-pixels, Images, per_image.npz"),
        ("row", "A row of images/x.png: nats per row, 12 values, Rows, per_image.npz"),
        ("signal", "A signal of images/x.png: nats per signal, 12 values, Signals, per_image.npz"),
    ],
)
def test_words_name_the_data_and_leave_names_of_files(noun, words):
    text = "An image of images/x.png: nats per image, 12 sub-pixels, Images, per_image.npz"
    with naming(noun):
        assert of_data(text) == words
    assert of_data(text) == text
