"""The table of metrics: what each is called, measured in, and made from.

Tables, report, summary, comparisons of trainings, commands and reference pages take their names
from here. The standard library is all that this module needs, so reading a study needs no PyTorch.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, product
from typing import Literal

Place = Literal["train", "val", "test", "test_last", ""]
NATS = "nats per image"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric and what people need to know of it."""

    label: str
    """In tables and plots."""
    basis: str = ""
    """What the label stands for here, where other works give it another meaning."""
    in_full: str = ""
    """For a line of its own; the label where empty."""
    meaning: str
    """For the reference page."""
    unit: str = ""
    kind: Literal["figure", "course", "condition", "cost"] = "figure"
    """A figure says how good a model is; a course, how its training goes; a condition, what a
    figure rests on; a cost, what the machine needed."""
    places: tuple[Place, ...]
    """Where it stands, as `val/rate`. train, val: of each epoch; test: of a tested run's best
    epoch; test_last: of its last epoch. Empty: under its name alone, as `seconds` of an epoch and
    `parameters` of a run."""
    measured: str
    """The function that measures it, `module:function`."""
    better: Literal["lower", "higher", ""] = ""
    """Which of two values of a figure is the better one; empty where neither is."""
    digits: int = 2
    """Decimals in the report."""
    protocol: tuple[str, ...] = ()
    """Settings that two values must share to be compared."""
    by_classifier: bool = False
    """Whether it rests on the classifier in the user's cache."""
    bound: bool = False
    """Whether it is a bound on −log p(x)."""
    error: bool = False
    """Whether its standard error over the test images stands beside it, with `_se`."""
    always: bool = True
    """Whether each model has it, so that tables have its column in any case."""

    @property
    def words(self) -> str:
        """Return the label in full."""
        return self.in_full or self.label

    @property
    def direction(self) -> str:
        """Return `lower is better`; empty where neither is."""
        return f"{self.better} is better" if self.better else ""

    @property
    def title(self) -> str:
        """Return the label with its basis: `FID (classifier features)`."""
        return f"{self.label} ({self.basis})" if self.basis else self.label


_NLL = "vaeexp.evaluation.nll:evaluate_test"
_SAMPLES = "vaeexp.evaluation.generation:generation_figures"
_RECONSTRUCTIONS = "vaeexp.evaluation.generation:reconstruction_figures"
_LANE = "vaeexp.training:Lane.metrics"
_SPLITS: tuple[Place, ...] = ("train", "val")
_EVERYWHERE: tuple[Place, ...] = ("train", "val", "test", "test_last")
_TESTED: tuple[Place, ...] = ("test", "test_last")

METRICS: dict[str, Metric] = {
    "parameters": Metric(
        label="parameters",
        in_full="numbers learned",
        meaning="weights of the model",
        kind="condition",
        places=("",),
        measured="vaeexp.models.vae:VAE.parameter_count",
    ),
    "best_epoch": Metric(
        label="best epoch",
        meaning="epoch whose weights were kept",
        unit="counted from 1",
        kind="course",
        places=("",),
        measured=_LANE,
    ),
    "loss": Metric(
        label="loss",
        meaning="what a training step minimises: distortion + β · rate, or as `loss` says; on "
        "validation for `elbo` alone",
        unit=NATS,
        kind="course",
        places=_SPLITS,
        measured=_LANE,
        better="lower",
        protocol=("beta",),
    ),
    "neg_elbo": Metric(
        label="−ELBO",
        meaning="−ELBO at β = 1, one sample per image; on validation `validation_draws`",
        unit=NATS,
        places=_EVERYWHERE,
        measured=_NLL,
        better="lower",
        bound=True,
        error=True,
    ),
    "iw_nll": Metric(
        label="IW-NLL",
        in_full="importance-weighted NLL",
        meaning="importance-weighted bound on −log p(x) with k = `importance_samples` (Burda et "
        "al. 2016)",
        unit=NATS,
        places=("test",),
        measured=_NLL,
        better="lower",
        protocol=("importance_samples",),
        bound=True,
        error=True,
    ),
    "distortion": Metric(
        label="distortion",
        meaning="−E log p(x|z)",
        unit=NATS,
        places=_EVERYWHERE,
        measured=_NLL,
        better="lower",
    ),
    "rate": Metric(
        label="rate",
        meaning="KL(q(z|x) ‖ p(z))",
        unit=NATS,
        places=_EVERYWHERE,
        measured=_NLL,
    ),
    "bits_per_dimension": Metric(
        label="bits per dimension",
        meaning="`neg_elbo` in bits per sub-pixel, where the likelihood is of whole grey levels",
        unit="bits per sub-pixel",
        places=("test",),
        measured=_NLL,
        better="lower",
        digits=3,
        always=False,
    ),
    "active_units": Metric(
        label="active units",
        meaning="latent dimensions whose posterior mean varies over images by more than "
        "`active_threshold` (Burda et al. 2016)",
        unit="latent dimensions",
        places=_EVERYWHERE,
        measured="vaeexp.evaluation.nll:active_units",
        protocol=("active_threshold",),
    ),
    "used_dimensions": Metric(
        label="used dimensions",
        in_full="dimensions that carry nats",
        meaning="latent dimensions whose rate is above `rate_threshold` nats",
        unit="latent dimensions",
        places=_TESTED,
        measured="vaeexp.evaluation.nll:used_dimensions",
        protocol=("rate_threshold",),
        always=False,
    ),
    "reconstruction_mse": Metric(
        label="MSE",
        in_full="reconstruction MSE",
        meaning="squared error of reconstructions per sub-pixel",
        unit="squared unit of the values; black to white is 1 for images of bytes",
        places=_TESTED,
        measured=_RECONSTRUCTIONS,
        better="lower",
        digits=5,
        always=False,
    ),
    "unexplained_variance": Metric(
        label="1 − R²",
        in_full="unexplained variance",
        meaning="squared error of reconstructions by the variance of a column among the test rows, "
        "mean over the columns that vary; of tables, in place of `reconstruction_mse`",
        unit="share; 1 is what the means of the columns leave",
        places=_TESTED,
        measured=_RECONSTRUCTIONS,
        better="lower",
        digits=4,
        always=False,
    ),
    "reconstruction_ssim": Metric(
        label="SSIM",
        in_full="reconstruction SSIM",
        meaning="structural similarity of reconstructions (Wang et al. 2004)",
        unit="1 is equal",
        places=_TESTED,
        measured=_RECONSTRUCTIONS,
        better="higher",
        digits=4,
        always=False,
    ),
    "inception_score": Metric(
        label="IS",
        basis="classifier",
        in_full="inception score",
        meaning="inception score of `generated` samples by the classifier",
        unit="1 to the number of classes",
        places=_TESTED,
        measured=_SAMPLES,
        better="higher",
        by_classifier=True,
        always=False,
    ),
    "fid": Metric(
        label="FID",
        basis="classifier features",
        in_full="Fréchet distance",
        meaning="Fréchet distance between `generated` samples and the test images, of features "
        "of the classifier",
        unit="of features of the classifier",
        places=_TESTED,
        measured=_SAMPLES,
        better="lower",
        by_classifier=True,
        always=False,
    ),
    "classifier_accuracy": Metric(
        label="accuracy of the classifier",
        meaning="share of the test images on which the classifier of `fid` and `inception_score` "
        "is right",
        unit="share of the test images",
        kind="condition",
        places=("test",),
        measured=_SAMPLES,
        by_classifier=True,
        always=False,
    ),
    "generated": Metric(
        label="samples",
        in_full="samples drawn",
        meaning="samples of `fid` and `inception_score`",
        unit="images",
        kind="condition",
        places=("test",),
        measured=_SAMPLES,
        always=False,
    ),
    "images": Metric(
        label="test images",
        meaning="test images",
        unit="images",
        kind="condition",
        places=("test",),
        measured=_NLL,
    ),
    "importance_samples": Metric(
        label="k",
        in_full="samples per image",
        meaning="samples k per image of `iw_nll`",
        unit="samples",
        kind="condition",
        places=("test",),
        measured=_NLL,
    ),
    "neg_elbo_raw": Metric(
        label="−ELBO, last weights",
        in_full="−ELBO of the last weights",
        meaning="`neg_elbo` of the last weights where their running average counts, in the first "
        "and last epoch and in those with pictures",
        unit=NATS,
        kind="course",
        places=("val",),
        measured=_LANE,
        always=False,
    ),
    "learning_rate": Metric(
        label="learning rate",
        meaning="learning rate at its end",
        kind="course",
        places=("train",),
        measured="vaeexp.training:Lane.learning_rate",
    ),
    "beta": Metric(
        label="β",
        meaning="β at its end",
        kind="course",
        places=("train",),
        measured="vaeexp.training:Lane.beta",
    ),
    "seconds": Metric(
        label="seconds",
        meaning="time of the epoch",
        unit="seconds",
        kind="cost",
        places=("",),
        measured=_LANE,
    ),
    "images_per_second": Metric(
        label="images per second",
        meaning="images that train, by the time of the epoch",
        unit="images per second",
        kind="cost",
        places=("",),
        measured=_LANE,
    ),
    "memory_mb": Metric(
        label="memory",
        meaning="peak memory of the device",
        unit="MiB",
        kind="cost",
        places=("",),
        measured="vaeexp.training:peak_memory_mb",
    ),
}
"""Metric by name, in the order of tables. A run has it as `<place>/<name>`."""


BESIDE = ("rate", "fid", "reconstruction_mse", "unexplained_variance")
"""Metrics that stand beside the −ELBO in the answer and in the first table, in their order: what
the code carries, samples, reconstructions.
"""
SUM = ("neg_elbo", "rate", "distortion")
"""The −ELBO and what it is the sum of."""
REACHED = ("neg_elbo", "distortion", "iw_nll", "fid")
"""Metrics of what the best setting reaches, in the answer: the −ELBO, the distortion of a model
without one, and what stands beside them.
"""
OF_PICTURES = tuple(
    name
    for name, metric in METRICS.items()
    if metric.measured in (_SAMPLES, _RECONSTRUCTIONS) and metric.better
)
"""Metrics of reconstructions and of samples."""


def with_own(paths: Iterable[str]) -> dict[str, Metric]:
    """Return the table and a row for each metric of the user's own, by its import path (setting
    `metrics`).

    The row needs the path alone: reading a study imports no code of the user's.
    """
    rows = {}
    for path in paths:
        name = own_name(path)
        rows[name] = Metric(
            label=name.replace("_", " "),
            meaning=f"`{path}`",
            places=_TESTED,
            measured=path,
            digits=4,
            error=True,
            always=False,
        )
    return METRICS | rows


def own_name(path: str) -> str:
    """Return the name of a metric of the user's own: the last part of its import path."""
    return path.replace(":", ".").rpartition(".")[2]


def measured_at(place: Place, *kinds: str, own: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of what is measured there; with `kinds` those of these kinds. `own`: as for
    `with_own`.
    """
    rows = with_own(own).items()
    return tuple(
        name
        for name, metric in rows
        if place in metric.places and (not kinds or metric.kind in kinds)
    )


def epoch_columns() -> tuple[str, ...]:
    """Return the metrics that a table of epochs has as columns in any case, as `val/rate`."""
    trained = [name for name in measured_at("train") if METRICS[name].always]
    both = [name for name in trained if "val" in METRICS[name].places]
    return (
        *(f"{place}/{name}" for place, name in product(_SPLITS, both)),
        *(f"train/{name}" for name in trained if name not in both),
        *measured_at("", "cost"),
    )


def result_columns() -> tuple[str, ...]:
    """Return the metrics that a table of runs has as columns in any case, as `test/rate`."""
    tested = [name for name in measured_at("test") if METRICS[name].always]
    with_errors = [(name, f"{name}_se") if METRICS[name].error else (name,) for name in tested]
    return (
        *measured_at("", "condition", "course"),
        *(f"test/{name}" for name in chain.from_iterable(with_errors)),
    )


def runs_have(select: Callable[[Metric], object]) -> frozenset[str]:
    """Return the metrics that `select` takes, as tested runs have them: `test/rate`,
    `test_last/rate`.
    """
    columns = set[str]()
    for name, metric in METRICS.items():
        if select(metric):
            columns |= {f"{place}/{name}" for place in metric.places if place in _TESTED}
    return frozenset(columns)
