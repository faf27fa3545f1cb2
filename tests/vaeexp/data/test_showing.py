"""Pictures of targets: which pixel is black or white, and where lines and bars go."""

import numpy as np
import pytest
import torch

from vaeexp.data.showing import (
    HEIGHT,
    MARGIN,
    MOST_TILES,
    ROOM,
    WIDTH,
    kind_of,
    picture_words,
    tile_columns,
    to_pictures,
)
from vaeexp.data.values import Values

DARK = 100
PAPER = 255


def values(*shape, low=-1.0, high=1.0, **others) -> Values:
    return Values(shape=shape, unit=False, levels=None, shown=(low, high), **others)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 2, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_of_bytes_have_the_bytes_that_they_always_had(shape, dtype):
    targets = noise(2, 50, *shape).to(dtype) * 1.2 - 0.1
    targets[0, 0] = torch.arange(256).repeat(12)[: targets[0, 0].numel()].view(shape) / 255
    former = (targets.clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1).numpy()
    pictures = to_pictures(targets, Values(shape=shape))
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures, former)


def test_images_are_rounded_and_their_channels_come_last():
    image = torch.tensor([-0.5, 0.0, 0.5, 1.0, 2.0, 0.2]).view(1, 3, 2, 1)
    expected = [[[[0, 128, 255]], [[0, 255, 51]]]]
    assert to_pictures(image, Values(shape=(3, 2, 1))).tolist() == expected


def test_what_is_shown_goes_from_black_to_white():
    targets = torch.tensor([-70.0, -60.0, -35.0, -10.0, 0.0]).view(5, 1, 1, 1).expand(5, 1, 2, 3)
    pictures = to_pictures(targets, values(1, 2, 3, low=-60.0, high=-10.0))
    assert pictures.shape == (5, 2, 3, 1)
    assert pictures[:, 0, 0, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((1, 8, 8), "image"),
        ((3, 8, 8), "image"),
        ((2, 8, 8), "channels"),
        ((256, 8, 8), "channels"),
        ((1, 1, 8), "signal"),
        ((3, 1, 8), "signal"),
    ],
)
def test_the_shape_decides_what_a_picture_shows(shape, kind):
    assert kind_of(values(*shape)) == kind
    assert kind_of(values(1, 1, 8, table=True)) == "table"


@pytest.mark.parametrize(
    ("count", "height", "width", "columns"),
    [(5, 8, 8, 3), (2, 8, 8, 2), (16, 8, 8, 4), (4, 2, 32, 1), (4, 32, 2, 4)],
)
def test_tiles_stand_in_a_grid_near_to_square(count, height, width, columns):
    assert tile_columns(count, height, width) == columns


def test_channels_are_tiles_in_their_order_with_lines_between():
    shades = torch.linspace(-1, 1, 5).view(1, 5, 1, 1).expand(2, 5, 4, 6)
    picture = to_pictures(shades, values(5, 4, 6))[1, :, :, 0]
    columns = tile_columns(5, 4, 6)
    assert picture.shape == (-(-5 // columns) * 5 + 1, columns * 7 + 1)
    for channel, grey in enumerate([0, 64, 128, 191, 255]):
        top, left = channel // columns * 5 + 1, channel % columns * 7 + 1
        assert (picture[top : top + 4, left : left + 6] == grey).all()
    assert (picture[5, 1:-1] == 128).all()
    assert (picture[[0, -1]] == PAPER).all()


def test_of_many_channels_the_first_ones_are_shown():
    targets = noise(1, 40, 3, 3)
    wanted = to_pictures(targets[:, :MOST_TILES], values(MOST_TILES, 3, 3))
    np.testing.assert_array_equal(to_pictures(targets, values(40, 3, 3)), wanted)
    assert picture_words(values(40, 3, 3)) == (
        "the first 16 of 40 channels side by side, row by row, grey from −1 to 1"
    )


@pytest.mark.parametrize("count", [7, 96, 300, 5000])
def test_the_line_of_a_sine_goes_through_its_values(count):
    places = np.linspace(0, 1, count)
    signal = np.sin(2 * np.pi * places)
    targets = torch.from_numpy(signal.astype(np.float32)).view(1, 1, 1, -1)
    picture = to_pictures(targets, values(1, 1, count))[0, :, :, 0].astype(float)
    assert picture.shape == (HEIGHT, WIDTH)
    across = MARGIN + places * (WIDTH - 1 - 2 * MARGIN)
    for column in range(MARGIN + 1, WIDTH - 1 - MARGIN):
        share = (np.interp(column, across, signal) + 1) / 2
        row = 2 + (1 - (share + ROOM) / (1 + 2 * ROOM)) * (HEIGHT - 5)
        assert picture[round(row), column] < DARK
        ink = PAPER - picture[1:-1, column]
        assert np.average(np.arange(1, HEIGHT - 1), weights=ink) == pytest.approx(row, abs=0.6)


def test_no_value_of_a_long_signal_is_left_out():
    signal = torch.full((1, 1, 1, 10_000), -1.0)
    signal[..., 4321] = 1.0
    picture = to_pictures(signal, values(1, 1, 10_000))[0, :, :, 0]
    assert (picture[8, :] < DARK).sum() == 1


def test_channels_of_a_signal_are_lines_one_below_the_other():
    targets = torch.tensor([1.0, -1.0, 0.0, 0.0]).view(1, 4, 1, 1).expand(1, 4, 1, 50)
    picture = to_pictures(targets, values(4, 1, 50))[0, :, :, 0]
    assert picture.shape == (HEIGHT, WIDTH)
    rows = [int(lane[1:-1, 50].argmin()) + 1 for lane in np.split(picture, 4)]
    assert rows[0] < rows[2] == rows[3] < rows[1]
    twelve = to_pictures(noise(2, 12, 1, 50), values(12, 1, 50))
    assert twelve.shape == (2, 192, WIDTH, 1)


@pytest.mark.parametrize("count", [1, 3, 30, 88, 200, 288])
def test_bars_reach_from_zero_to_their_values(count):
    row = np.where(np.arange(count) % 2, 1.0, -0.5)
    targets = torch.from_numpy(row.astype(np.float32)).view(1, 1, 1, -1)
    picture = to_pictures(targets, values(1, 1, count, table=True))[0, :, :, 0]
    wide = (picture.shape[1] - 2 * MARGIN) / count
    assert wide == int(wide)
    tall = HEIGHT - 2 * MARGIN
    zero = MARGIN + round(tall / 2)
    for place, value in enumerate(row):
        column = picture[:, MARGIN + int(place * wide)]
        drawn = np.flatnonzero((column < 200) & (column != column[zero]))
        length = abs(value) / 2 / (1 + 2 * ROOM) * tall
        assert len(drawn) == pytest.approx(length, abs=1)
        assert (drawn < zero).all() if value > 0 else (drawn > zero).all()


def test_columns_beyond_the_room_share_bars():
    row = torch.zeros(1, 1, 1, 1000)
    row[..., 500] = 1.0
    picture = to_pictures(row, values(1, 1, 1000, table=True))[0, :, :, 0]
    assert picture.shape == (HEIGHT, 288 + 2 * MARGIN)
    assert (picture[20] < 200).sum() == 1


@pytest.mark.parametrize(
    "others",
    [
        {"shape": (1, 1, 9), "table": True},
        {"shape": (1, 1, 9)},
        {"shape": (1, 1, 1)},
        {"shape": (2, 1, 9)},
        {"shape": (5, 6, 7)},
        {"shape": (1, 6, 7)},
    ],
    ids=str,
)
def test_leading_axes_stay_and_a_target_has_one_picture(others):
    known = Values(unit=False, shown=(0.2, 0.7), **others)
    targets = noise(2, 3, *known.shape)
    together = to_pictures(targets, known)
    assert together.shape[:2] == (2, 3)
    assert together.shape[-1] == 1
    np.testing.assert_array_equal(to_pictures(targets[1, 2], known), together[1, 2])


@pytest.mark.parametrize("others", [{"table": True}, {}], ids=["bars", "line"])
def test_values_that_are_no_numbers_are_drawn_at_the_edges(others):
    targets = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0]).view(1, 1, 1, 4)
    near = torch.tensor([-1.0, 9.0, -9.0, 0.0]).view(1, 1, 1, 4)
    known = values(1, 1, 4, **others)
    with np.errstate(all="raise"):
        pictures = to_pictures(targets, known)
    np.testing.assert_array_equal(pictures, to_pictures(near, known))


def test_words_say_how_a_picture_shows_an_array():
    assert picture_words(Values(shape=(3, 8, 8))) == ""
    assert picture_words(values(1, 1, 1200)) == "a line of 1,200 values from −1 to 1"
    assert picture_words(values(2, 1, 9)).startswith("2 channels as lines, one below the other,")
    assert picture_words(values(1, 1, 9, table=True)).startswith("a bar for each of the 9 columns")
