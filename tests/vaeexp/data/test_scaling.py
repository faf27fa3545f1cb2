"""Scaling: targets of any numbers, from the training images alone, and back."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_data import made

from sweeps import UserError
from vaeexp.data.dataset import targets
from vaeexp.data.scaling import scaling_from
from vaeexp.data.values import as_values, from_record

AXES = {"global": (0, 1, 2, 3), "channel": (0, 2, 3), "feature": (0,)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))


def drawn(shape=(60, 3, 4, 5), seed=0, dtype=np.float64):
    generator = np.random.default_rng(seed)
    spread = np.exp(generator.normal(size=shape[1:]))
    return (40 * spread * generator.normal(size=shape) - 300).astype(dtype)


def rows_of(data):
    """Place in the file of each training image that trains."""
    return np.load(data.folder / "training_order.npy")[: data.sizes[0]]


def in_file(images, data):
    """The numbers of the training images, in the order of the data set."""
    test = targets(data.test.images, data.target_kind, 0).numpy()
    kept = [row for row in range(len(images)) if not _among(images[row], data, test)]
    return images[kept][rows_of(data)]


def _among(image, data, test):
    ours = data.scaling.targets(image[None])[0]
    return any(np.array_equal(ours, other) for other in test)


@pytest.mark.parametrize("per", AXES)
@pytest.mark.parametrize("scale", ["range", "standard"])
def test_offset_and_scale_are_those_of_the_images_that_train(tmp_path, scale, per):
    images = drawn()
    data = made(images, tmp_path, scale=scale, scale_per=per, validation_size=5, train_size=30)
    assert data.sizes == (30, 5, 6)
    trained = in_file(images, data)
    axes = {"axis": AXES[per], "keepdims": True}
    low = trained.min(**axes)
    offset, width = (
        (low, trained.max(**axes) - low)
        if scale == "range"
        else (trained.mean(**axes), trained.std(**axes))
    )
    np.testing.assert_allclose(data.scaling.offset, offset[0], rtol=1e-12)
    np.testing.assert_allclose(data.scaling.scale, width[0], rtol=1e-12)
    expected = ((trained - offset) / width).astype(np.float32)
    np.testing.assert_allclose(data.train.images, expected, rtol=1e-5, atol=1e-6)
    each = np.broadcast_to(width[0], images.shape[1:])
    assert data.values.log_scale == pytest.approx(np.log(each).sum(), rel=1e-12)
    assert not data.values.unit
    back = data.scaling.numbers(data.train.images)
    np.testing.assert_allclose(back, trained, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("per", AXES)
def test_a_power_of_two_changes_no_bit_of_the_targets(tmp_path, per):
    images = drawn(dtype=np.float32)
    options = {"scale": "standard", "scale_per": per}
    plain, large = (made(images * np.float32(k), tmp_path / str(k), **options) for k in (1, 1024))
    np.testing.assert_array_equal(plain.train.images, large.train.images)
    assert large.values.log_scale - plain.values.log_scale == pytest.approx(
        60 * math.log(1024), rel=1e-12
    )


def test_numbers_far_from_zero_are_subtracted_before_they_are_rounded(tmp_path):
    images = 1e9 + drawn() / 1000
    data = made(images, tmp_path, scale="standard")
    trained = in_file(images, data)
    expected = (trained - trained.mean()) / trained.std()
    np.testing.assert_allclose(data.train.images, expected, rtol=1e-5, atol=2e-5)


def test_numbers_as_they_are(tmp_path):
    data = made(drawn(), tmp_path, scale="none")
    np.testing.assert_array_equal(data.train.images, in_file(drawn(), data).astype(np.float32))
    assert data.values.log_scale == 0
    assert data.scaling.kind == "none"


@pytest.mark.parametrize("per", AXES)
@pytest.mark.parametrize(
    ("dtype", "low", "high", "bottom", "top"),
    [
        (np.uint16, 0, 65_535, 0, 65_535),
        (np.uint16, 0, 4_000, 0, 4_095),
        (np.int8, -128, 127, -128, 127),
        (np.int16, -300, 300, -32_768, 32_767),
        (np.float16, 0, 1, 0, 1),
        (np.float64, 0.2, 0.7, 0, 1),
    ],
)
def test_unit_is_the_full_range_of_the_type(tmp_path, dtype, low, high, bottom, top, per):
    grid = np.linspace(low, high, 20 * 12).reshape(20, 1, 3, 4)
    images = (grid if np.dtype(dtype).kind == "f" else np.rint(grid)).astype(dtype)
    images[:, 0, 0, 0] = high
    data = made(images, tmp_path, scale="unit", scale_per=per)
    np.testing.assert_allclose(
        data.train.images, (in_file(images, data) - np.float64(bottom)) / (top - bottom), rtol=1e-6
    )
    assert data.values.unit
    assert data.values.levels == (None if np.dtype(dtype).kind == "f" else top - bottom + 1)
    # One sub-pixel never changes.
    assert data.values.log_scale == pytest.approx(11 * math.log(top - bottom))


def test_bytes_stay_bytes_and_their_report_is_in_units_of_white(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 3, 4), dtype=np.uint8)
    data = made(images, tmp_path)
    assert data.train.images.dtype == np.uint8
    assert data.values == as_values((1, 3, 4))
    standard = made(images, tmp_path, scale="standard")
    assert standard.fingerprint == data.fingerprint
    trained = standard.scaling.numbers(standard.train.images)
    assert standard.values.log_scale == pytest.approx(12 * math.log(trained.std() / 255), rel=1e-6)


def test_booleans_are_black_and_white(tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (40, 1, 3, 4)).astype(bool)
    data = made(images, tmp_path)
    assert set(np.unique(data.train.images)) == {0, 255}
    assert data.values.least_sigma == 0.5
    assert data.whites == {"0": 1, "1": 65_535, "2": 255}  # so that exports take 0 and 1
    assert made(images.astype(np.uint8), tmp_path).fingerprint == data.fingerprint


@pytest.mark.parametrize("white", [3, 9])
def test_a_learned_sigma_of_few_levels_stays_above_half_a_step(tmp_path, white):
    images = np.random.default_rng(0).integers(0, white + 1, (40, 1, 3, 4), dtype=np.uint8)
    assert made(images, tmp_path).values.least_sigma == pytest.approx(0.5 / white, rel=0.02)
    standard = made(images, tmp_path, scale="standard")
    assert standard.values.least_sigma == pytest.approx(0.5 / standard.scaling.scale.item())


@pytest.mark.parametrize("white", [9, 200])
def test_the_unit_of_a_report_on_bytes_is_that_of_the_type(tmp_path, white):
    """White of images, 1 of vectors; whatever the largest number is and however it is scaled."""
    random = np.random.default_rng(0)
    images = random.integers(0, white + 1, (60, 1, 3, 4), dtype=np.uint8)
    assert made(images, tmp_path, scale="none").values.scale == 1 / 255
    vectors = images.reshape(60, 1, 1, 12)
    assert made(vectors, tmp_path, scale="none").values.scale == 1
    standard = made(vectors, tmp_path, scale="standard")
    assert standard.values.scale == standard.scaling.scale.item()
    kept = made(vectors, tmp_path)
    assert kept.train.images.dtype == np.uint8
    assert kept.values.scale == pytest.approx(white if white == 9 else 255)


def test_floats_become_levels_only_to_be_binarised(tmp_path):
    images = np.random.default_rng(0).random((40, 1, 3, 4))
    kept = made(images, tmp_path)
    np.testing.assert_array_equal(kept.train.images, in_file(images, kept).astype(np.float32))
    binarised = made(images, tmp_path, binarisation="dynamic")
    assert binarised.train.images.dtype == np.uint8


@pytest.mark.parametrize("per", AXES)
def test_limits_are_percentiles_of_each_channel_whatever_the_scale(tmp_path, per):
    images = drawn()
    data = made(images, tmp_path, scale="range", scale_per=per, clip=(5, 90))
    trained = made(images, tmp_path, scale="none").train.images
    low, high = np.percentile(trained, (5, 90), axis=(0, 2, 3), keepdims=True)
    np.testing.assert_allclose(data.scaling.low, low[0], rtol=1e-6)
    np.testing.assert_allclose(data.scaling.high, high[0], rtol=1e-6)
    np.testing.assert_allclose(
        data.scaling.numbers(data.train.images), np.clip(trained, low, high), rtol=1e-4, atol=1e-4
    )
    if per != "feature":  # of 40 images, not each pixel reaches the limits
        assert (data.test.images.min(), data.test.images.max()) == (0, 1)
    [words] = data.reading
    assert words.startswith("cut to the percentiles 5 and 90 of the training images")


def test_limits_of_a_table_are_those_of_its_columns(tmp_path):
    table = drawn().reshape(-1, 1, 1, 60)[..., :3] * [1, 100, 1e4]
    raw = {"features": ("a", "b", "c")}
    found = [
        made(table, tmp_path, raw=raw, scale="standard", scale_per=per, clip=(5, 90))
        for per in ("global", "feature")
    ]
    assert found[0].scaling.low.shape == (1, 1, 3)
    assert found[0].fingerprint == found[1].fingerprint
    other = made(table, tmp_path, raw=raw, scale="standard", clip=(5, 90), train_size=20)
    assert other.fingerprint != found[0].fingerprint  # its limits are those of fewer rows
    nearly_constant = np.zeros((len(table), 1, 1, 1))
    nearly_constant[::30] = 1
    images = np.concatenate([table, nearly_constant], axis=3)
    raw = {"features": ("a", "b", "c", "d")}
    with pytest.raises(UserError, match=r"equal in the column 'd' \(0\) .* or leave it out"):
        made(images, tmp_path, raw=raw, scale="standard", clip=(5, 90))


def test_limits_are_protocol_and_scale_is_not(tmp_path):
    images = drawn()
    plain = made(images, tmp_path, scale="standard")
    for scale, per in (("range", "global"), ("standard", "feature"), ("none", "global")):
        other = made(images, tmp_path, scale=scale, scale_per=per)
        assert other.fingerprint == plain.fingerprint
    prints = {made(images, tmp_path, scale="standard", clip=clip).fingerprint
              for clip in ((0.1, 99.9), (1, 99), (0, 100))}  # fmt: skip
    assert len(prints | {plain.fingerprint}) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": np.float32}, "got float32 from .* with data.scale: unit; floats must lie in"),
        ({"dtype": np.int64}, "got int64 .* must be booleans, whole numbers of 8 or 16 bits"),
    ],
)
def test_unit_is_refused_where_the_type_has_no_range(tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        made(drawn().astype(change["dtype"]), tmp_path)


def test_what_is_no_grey_level_cannot_be_binarised(tmp_path):
    with pytest.raises(UserError, match="binarisation needs grey levels, scale: unit"):
        made(drawn(), tmp_path, scale="standard", binarisation="static")
    with pytest.raises(UserError, match=re.escape("must lie in [0, 1] with data.binarisation")):
        made(drawn(), tmp_path, binarisation="static")


def test_missing_numbers_are_counted_and_the_first_is_named(tmp_path):
    images = drawn((30, 1, 1, 4))
    images[7, 0, 0, 2] = np.nan
    images[9, 0, 0, 0] = -np.inf
    with pytest.raises(
        UserError, match=r"got 2 values .* first in row 7 \(from 0\), at \[0, 0, 2\]"
    ):
        made(images, tmp_path, scale="standard")
    names = {"features": ("a", "b", "age", "d")}
    with pytest.raises(UserError, match=r"row 7 .*, column 'age'"):
        made(images, tmp_path, raw=names, scale="standard")


def test_columns_of_one_value_are_left_out_by_name(tmp_path):
    images = drawn((30, 1, 1, 4))
    images[..., 1] = 5.0
    data = made(images, tmp_path, raw={"features": ("a", "b", "c", "d")}, scale="standard",
                scale_per="feature")  # fmt: skip
    assert data.dropped == ("b",)
    assert data.features == ("a", "c", "d")
    assert data.image_shape == (1, 1, 3)
    assert "Left out: 1 column of one value (b)" in data.notes
    with pytest.raises(UserError, match="every column has one value"):
        made(images[..., 1:2], tmp_path / "one", scale="standard")


def test_a_pixel_that_never_changes_keeps_its_scale(tmp_path):
    images = drawn((30, 1, 3, 4))
    images[:, 0, 1, 1] = 7.0
    data = made(images, tmp_path, scale="standard", scale_per="feature")
    assert data.scaling.scale[0, 1, 1] == 1
    assert (data.train.images[:, 0, 1, 1] == 0).all()


def test_the_least_sigma_is_half_the_step_of_columns_of_few_values(tmp_path):
    images = drawn((200, 1, 1, 4))
    images[..., 1] = images[..., 1] > -300
    images[..., 2] = np.rint(images[..., 2])
    data = made(images, tmp_path, scale="standard", scale_per="feature")
    scale = data.scaling.scale.reshape(-1)
    floor = math.exp(-6)
    assert data.values.least_sigma == pytest.approx(
        (floor, 0.5 / scale[1], max(floor, 0.5 / scale[2]), floor)
    )


def test_counts_are_whole_numbers_from_zero_as_they_are(tmp_path):
    images = np.random.default_rng(0).poisson(3, (50, 1, 1, 6)).astype(np.float64)
    data = made(images, tmp_path, scale="none")
    assert data.values.counts
    sums = data.scaling.numbers(data.train.images).sum(axis=(1, 2, 3))
    assert data.values.row_sum == pytest.approx(sums.mean(), rel=0.1)
    assert not made(images - 1, tmp_path / "less", scale="none").values.counts
    assert not made(images + 0.5, tmp_path / "half", scale="none").values.counts


@given(
    numbers=st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4, unique=True),
    per=st.sampled_from(list(AXES)),
)
def test_a_record_makes_the_same_scaling(tmp_path_factory, numbers, per):
    images = np.array(numbers * 6, np.float32).reshape(6, 1, 2, 2)
    images = images * np.arange(1, 7, dtype=np.float32).reshape(6, 1, 1, 1)
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("scaling")
        patch.setenv("VAEEXP_CACHE", str(folder / "cache"))
        data = made(images, folder, scale="range", scale_per=per)
    assert scaling_from(data.scaling.record()) == data.scaling
    assert from_record(data.values.record()) == data.values
    assert data.train.images.min() >= 0
    assert data.train.images.max() <= 1


# ---- the images to train on, alone ----


@pytest.mark.parametrize("scale", ["none", "unit", "standard"])
def test_what_is_held_out_decides_nothing(tmp_path, scale):
    """Numbers of validation rows that no training row has: neither columns, nor white, nor steps
    are learned from them.
    """
    table = np.random.default_rng(0).integers(0, 1000, (60, 1, 1, 3)).astype(np.uint16)
    table[..., 2] = 7
    sizes = {"scale": scale, "validation_size": 6}
    order = np.load(made(table, tmp_path / "first", **sizes).folder / "training_order.npy")
    tested = np.setdiff1d(np.arange(60), _training_rows(table, tmp_path, sizes))
    validated = np.setdiff1d(np.arange(60), tested)[order[-6:]]
    table[validated, ..., 2] = 8
    data = made(table, tmp_path / "second", **sizes)
    assert data.dropped == ("column 2",)
    assert data.kept == (0, 1)


def _training_rows(table, folder, settings):
    """Rows of the file that are not tested on, by a table whose first column is their number."""
    numbered = table.copy()
    numbered[..., 0] = np.arange(len(table))[:, None, None]
    data = made(numbered, folder / "numbered", **settings)
    found = [
        np.rint(data.scaling.numbers(np.asarray(split.images)))[:, 0, 0, 0]
        for split in (data.train, data.validation)
    ]
    return np.concatenate(found).astype(int)


# ---- numbers that cannot be meant ----


@pytest.mark.parametrize("scale", ["none", "range", "standard"])
def test_a_number_that_is_too_large_is_named_wherever_it_is(tmp_path, scale):
    """In training it decides the scale, so that its target is no larger than others."""
    table = np.random.default_rng(0).normal(size=(60, 1, 1, 3))
    found = {"training": 0, "validation": 0, "test": 0}
    for row in range(60):
        spoiled = table.copy()
        spoiled[row, 0, 0, 1] = 1e25
        options = {"raw": {"features": ("a", "b", "c")}, "scale": scale, "scale_per": "feature"}
        words = f"1e+25 in row {row} (from 0), column 'b' of the "
        try:
            [said] = made(spoiled, tmp_path / str(row), **options).warnings
            assert "images makes 98% of the variance" in said
        except UserError as error:
            said = str(error)
        found[said.partition(words)[2].split()[0]] += 1
        assert ("is too large for float32" in said) == (scale == "none" or "training" not in said)
    assert found == {"training": 48, "validation": 6, "test": 6}


def test_numbers_whose_square_is_none_are_refused(tmp_path):
    table = np.random.default_rng(0).normal(size=(60, 1, 1, 3))
    table[7, 0, 0, 2] = -1e300
    with pytest.raises(UserError, match=r"1 value .* beyond 1e150, the first in row 7 \(from 0\)"):
        made(table, tmp_path, scale="standard")


def test_numbers_far_from_those_of_training_are_doubted(tmp_path):
    table = np.random.default_rng(0).normal(size=(60, 1, 1, 3))
    assert made(table, tmp_path, scale="standard").warnings == ()
    found = []
    for row in range(60):
        spoiled = table.copy()
        spoiled[row, 0, 0, 1] = 1e6
        [warning] = made(spoiled, tmp_path / str(row), scale="standard").warnings
        assert f"1e+06 in row {row} (from 0), at [0, 0, 1] of [C, H, W] of the " in warning
        found.append(re.search("of the (training|validation|test) images", warning)[1])
    assert {name: found.count(name) for name in found} == {
        "training": 48,
        "validation": 6,
        "test": 6,
    }


def test_numbers_that_float32_joins_are_doubted(tmp_path):
    stamps = 1.7e9 + np.random.default_rng(0).normal(size=(60, 1, 1, 2)) * [1, 1e6]
    raw = {"features": ("seconds", "months")}
    [warning] = made(stamps, tmp_path, raw=raw, scale="none").warnings
    assert warning.startswith("seconds: numbers are so large beside their variation that float32")
    options = {"scale": "standard", "scale_per": "feature"}
    assert made(stamps, tmp_path, raw=raw, **options).warnings == ()
