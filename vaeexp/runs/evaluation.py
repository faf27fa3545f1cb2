"""The figures of a finished run on test or validation images."""

from collections.abc import Callable
from typing import Any

from vaeexp.evaluation.classifier import open_classifier
from vaeexp.evaluation.nll import bits_per_dimension
from vaeexp.runs.artifacts import test_figures
from vaeexp.runs.provenance import protocol
from vaeexp.runs.run import Images, Run
from vaeexp.training.device import resolve_device


def evaluate_run(
    run: Run,
    images: Images,
    *,
    importance_samples: int | None,
    device: str,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """run, protocol (in words) and figures of a model on `images`, JSON-able.

    Names of figures are those of a sweep, `test/neg_elbo` …, with the prefix of the split. With the run's own number of importance
    samples (None), on the device of the sweep, they are the very figures that it recorded for test.
    """
    open_classifier(images.dataset, say=say)  # it is trained once, which is to be announced
    given = {"importance_samples": importance_samples} if importance_samples else {}
    settings = run.settings.with_params(given)
    found = test_figures(
        run.vae.to(resolve_device(device)),
        images.dataset,
        images.x,
        settings.evaluation,
        study_seed=run.study_seed or 0,
        progress=progress,
    )
    if "test/bits_per_dimension" in found:
        found["test/bits_per_dimension_se"] = bits_per_dimension(found["test/neg_elbo_se"], images.x[0].numel())
    k = settings.evaluation.importance_samples
    bounds = f"−ELBO at β = 1, one sample per image; importance-weighted NLL with k = {k:,}"
    words = protocol(images.dataset, settings) | {
        "images": f"{len(images.x):,} {images.split} images",
        "estimator": bounds if run.vae.posterior.stochastic else "distortion at the code; no bound on the likelihood",
    }
    return {
        "run": run.name,
        "split": images.split,
        "protocol": words,
        "figures": {name.replace("test/", f"{images.split}/", 1): value for name, value in found.items()},
    }
