"""What each plot says of whose points it draws: the rows of the tables, at the places that the
tables give them.
"""

import numpy as np
import pandas as pd
import pytest
from default_studies import default_study
from drawn_studies import bowl, two_objectives
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.lines import Line2D
from synthetic_study import make_results, with_baselines, with_samples_tested, write_pictures

from vaeexp.plots import PLOTS, style
from vaeexp.results.study_view import StudyView

NO_TRIALS = {
    "baseline_strip",
    "beta_strip",
    "best_reconstructions",
    "best_samples",
    "component_samples",
    "neighbours",
    "interpolations",
    "traversals",
    "latent_map",
    "latent_plane",
    "aggregate_posterior",
    "rate_per_dimension",
}
"""Plots without a point or a line of a single trial: of images, of dimensions, of means."""
RATES = ["val/rate", "val/distortion"]


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    """A study with pictures and baselines, one with two objectives, one that was paused and
    promoted, and one with few parameters that matter.
    """
    runs = tmp_path_factory.mktemp("marked")
    full = with_baselines(
        make_results(folder=runs / "trials" / "beta_mnist"), folder=runs / "trials" / "beta_mnist"
    )
    write_pictures(full, runs)
    promoted = default_study("strong", 0, trials=24, epochs=9)
    found = {
        "full": with_samples_tested(full),
        "two": two_objectives(),
        "promoted": promoted,
        "bowl": bowl(60),
    }
    return {name: StudyView(results) for name, results in found.items()}


def marks(figure):
    """Axes, rows and places of each mark of a figure: points [N, 2], or the vertices of each
    line.
    """
    for axes in figure.axes:
        for artist in axes.get_children():
            if not str(artist.get_gid() or "").startswith(style.TRIALS):
                continue
            rows = artist.get_gid().removeprefix(style.TRIALS).split(",")
            if isinstance(artist, PathCollection):
                places = [point[None] for point in np.asarray(artist.get_offsets(), float)]
            elif isinstance(artist, LineCollection):
                places = [np.asarray(segment, float) for segment in artist.get_segments()]
            else:
                assert isinstance(artist, Line2D)
                places = [np.asarray(artist.get_xydata(), float)]
            assert len(rows) == len(places), (rows, len(places))
            yield axes, rows, places, artist


class Tables:
    """What the CSV files of a study say of a row."""

    def __init__(self, view):
        self.view = view
        names = [
            f"{'r' if repeat else ''}{number}"
            for repeat, number in view.trials[["repeat", "number"]].to_numpy()
        ]
        self.trials = view.trials.set_axis(names)
        keys = [
            f"{'r' if repeat else ''}{number}"
            for repeat, number in view.epochs[["repeat", "number"]].to_numpy()
        ]
        self.curves = dict(list(view.epochs.set_axis(keys).groupby(level=0)))

    def value(self, row, name="objective"):
        return self.trials.loc[row, name]

    def last(self, row):
        return self.curves[row].sort_values("epoch").iloc[-1]

    def curve(self, row, name="objective"):
        return self.curves[row].sort_values("epoch")[["epoch", name]].dropna().to_numpy(float)

    def on_axis(self, row, label):
        """Where the parameter of an axis has this row; a choice stands within a quarter of it."""
        parameter = next(
            each
            for each in self.view.plan.parameters.values()
            if style.wrapped(each.label, 36) == label
        )
        value = self.trials.loc[row, f"params.{parameter.name}"]
        if parameter.is_choice:
            return parameter.texts.index(str(value)), 0.26
        return float(value), 1e-9 * float(value)


def under(value, axes):
    """A value as it is drawn: at the upper edge where it lies beyond, or is none."""
    high = axes.get_ylim()[1]
    return high if np.isnan(value) else min(value, high)


def on_line(place, curve):
    return np.allclose(place, curve[np.isin(curve[:, 0], place[:, 0])])


def along_parameter(tables, axes, row, place, value):
    (x, y), (at, room) = place[0], tables.on_axis(row, axes.get_xlabel().split("\nimportance")[0])
    return abs(x - at) <= room and np.isclose(y, under(value, axes))


def at_ends(tables, axes, row, place):
    last = tables.last(row)
    return np.allclose(place[0], last[RATES].to_numpy(float))


def units(tables, axes, row, place):
    """A share of the latent size, of a trial at its last epoch."""
    used = tables.last(row)["val/active_units"]
    return along_parameter(
        tables, axes, row, place, 100 * used / tables.value(row, "params.latent_size")
    )


def pair(tables, axes, row, place):
    """The point of the run with the second value: its value less that of its partner."""
    own = tables.trials.loc[row]
    others = tables.trials[
        tables.trials["repeat"] & (tables.trials["source_trial"] == own["source_trial"])
    ]
    first = axes.get_xlabel().split(" − ")[1].split(" (")[0]
    partner = others[
        (others["params.optimizer"] == first) & (others["seed_index"] == own["seed_index"])
    ].iloc[0]
    return np.isclose(place[0][0], own["objective"] - partner["objective"])


def seed(tables, axes, row, place):
    name = "result.test/neg_elbo" if axes.get_xlabel().startswith("test") else "objective"
    return np.isclose(place[0][0], min(tables.value(row, name), axes.get_xlim()[1]))


def median(tables, axes, row, place):
    """The median over the runs that confirm a trial, by epoch."""
    trials = tables.trials[tables.trials["repeat"] & (tables.trials["source_trial"] == int(row))]
    runs = trials.index[trials["purposes"].map(lambda purposes: "confirm" in purposes)]
    curves = pd.concat(
        [tables.curves[run].set_index("epoch")["objective"] for run in runs], axis=1
    ).dropna()
    return np.allclose(place, curves.median(axis=1).sort_index().reset_index().to_numpy(float))


def one_of(names):
    """A line is the curve of one of these metrics."""
    return lambda tables, axes, row, place: any(
        on_line(place, tables.curve(row, name)) for name in names
    )


def in_order(tables, axes, row, place):
    return place[0][0] == int(row) and np.isclose(place[0][1], under(tables.value(row), axes))


def at_equal_epoch(tables, axes, row, place):
    epoch = float(axes.figure.get_supylabel().split("epoch ")[1])
    assert epoch == min(
        tables.value(str(number), "epochs") for number in tables.view.influence.learned["number"]
    )
    (value,) = (value for at, value in tables.curve(row) if at == epoch)
    return along_parameter(tables, axes, row, place, value)


EXPECTED = {
    "front": at_ends,
    "confirmed_seeds": seed,
    "rate_distortion": at_ends,
    "active_units": units,
    "history": in_order,
    "equal_epochs": at_equal_epoch,
    "learning_curves": one_of(["objective"]),
    "confirmed_curves": median,
    "paired_differences": pair,
}
"""Plot → whether a mark of this row stands where the tables have it."""


@pytest.mark.parametrize("name", PLOTS)
def test_marks_are_rows_of_the_tables_at_their_places(views, name):
    assert (name in NO_TRIALS) != (name in EXPECTED), (
        "a new plot says which of its points are trials"
    )
    drawn = {
        key: figure for key, view in views.items() if (figure := PLOTS[name].draw(view)) is not None
    }
    assert drawn
    for key, figure in drawn.items():
        tables, found = Tables(views[key]), 0
        figure.draw_without_rendering()
        for axes, rows, places, artist in marks(figure):
            for row, place in zip(rows, places, strict=True):
                assert EXPECTED[name](tables, axes, row, place), (key, row, place)
                if isinstance(artist, PathCollection):
                    inside = figure.bbox.contains(
                        *artist.get_offset_transform().transform(place)[0]
                    )
                    assert inside, "no element is written for a point beyond the figure"
            found += len(rows)
        assert bool(found) == (name in EXPECTED), key


@pytest.mark.parametrize(
    ("name", "key", "states"),
    [
        ("history", "full", {"complete", "pruned", "failed"}),
        ("learning_curves", "full", {"complete", "pruned", "failed"}),
        ("equal_epochs", "full", {"complete", "pruned"}),
        ("equal_epochs", "promoted", {"complete", "pruned", "paused"}),
        ("rate_distortion", "full", {"complete", "pruned", "failed"}),
        ("front", "two", {"complete"}),
    ],
)
def test_every_trial_with_a_place_is_marked(views, name, key, states):
    view = views[key]
    marked = {row for _, rows, *_ in marks(PLOTS[name].draw(view)) for row in rows}
    trials = view.search[view.search["state"].isin(states) & view.search["objective"].notna()]
    wanted = {str(number) for number in trials["number"]}
    outside = {"rate_distortion": 30, "front": 30}.get(name, 0)  # those beyond the axes
    assert marked <= {str(number) for number in view.search["number"]}
    assert len(wanted - marked) <= outside
    assert len(marked) > len(wanted) / 3


def test_a_collection_of_many_points_is_an_image_without_rows():
    figure = style.new_figure()
    axes = figure.add_subplot()
    axes.set_ylim(0, 1)
    for count, rasterised in ((style.MOST_MARKED, False), (style.MOST_MARKED + 1, True)):
        values = np.linspace(0, 1, count)
        trials = pd.DataFrame({"number": range(count), "repeat": False, "x": values, "y": values})
        style.scatter(axes, trials, "pruned", size=34, label=None)
        assert bool(axes.collections[-1].get_rasterized()) == rasterised
        assert (axes.collections[-1].get_gid() is None) == rasterised
