"""On which scale β stands: what it weighs here, and what it is in losses that average where this one sums."""

from decimal import Decimal
from typing import Any

from sweeps.results import Results
from vaeexp.figures.frames import best_number, fixed, params, recorded, references, space, value_text
from vaeexp.report.rows import sub_pixels

__all__ = ["beta_scale"]


def beta_scale(results: Results) -> str:
    """Sentences with the numbers of this study's images and likelihood.

    The loss is Σ_d −log p(x_d|z) + β·KL, in nats per image. Divided by a factor it has the same minimum: by D it is a
    mean over sub-pixels with the weight β/D; for a Gaussian of σ, Σ (x − μ)²/2σ² + β·KL is D/2σ² times
    MSE + (2σ²β/D)·KL; for a Laplace of scale b, Σ |x − μ|/b + β·KL is D/b times MAE + (bβ/D)·KL.
    """
    shape = recorded(results, "data").get("image_shape")
    size = sub_pixels(results)
    words = "**β** weighs the rate in nats per image against the distortion summed over all "
    if not size:
        return (
            f"{words}D = H·W·C sub-pixels; in a loss that averages over sub-pixels the same model has the weight β/D."
        )
    channels, height, width = shape
    best = _best_beta(results)
    words += (
        f"D = {height} × {width} × {channels} = {size:,} sub-pixels of an image. In a loss that averages −log p(x|z) over "
        f"sub-pixels the same model has the weight β/D: β = 1 here is {_short(1 / size)} there"
    )
    words += f", and the β = {value_text(best)} of the best setting is {_short(best / size)}." if best else "."
    return " ".join([words, *(_of_errors(name, scale, size, best) for name, scale in _scales(results))])


def _of_errors(likelihood: str, scale: float, size: int, best: float | None) -> str:
    """In the terms of those who minimise squared or absolute errors."""
    if likelihood == "gaussian":
        factor = 2 * scale**2 / size
        name, formula, symbol = "mean squared error per sub-pixel", "2σ²β/D", f"σ² = {value_text(scale**2)}"
    else:
        factor = scale / size
        name, formula, symbol = "mean absolute error per sub-pixel", "bβ/D", f"b = {value_text(scale)}"
    also = f", and β = {value_text(best)} is {_short(factor * best)}" if best else ""
    return f"With {symbol}, β = 1 here is {_short(factor)} in a loss of {name} + β·KL ({formula}){also}."


def _scales(results: Results) -> list[tuple[str, float]]:
    """(gaussian or laplace, its scale) of all that the study trains with a known, fixed scale, each once."""
    given = [{}, *((row.get("settings") or {}) for row in references(results).values())]
    searched = space(results)
    found = []
    for settings in given:
        values: dict[str, Any] = {
            name: settings.get(name, fixed(results, name)) for name in ("likelihood", "sigma", "laplace_scale")
        }
        names = [values["likelihood"], *(searched.get("likelihood") or {}).get("values", [])]
        for likelihood, scale in (("gaussian", "sigma"), ("laplace", "laplace_scale")):
            if likelihood in names and scale not in searched and values[scale] is not None:
                found.append((likelihood, float(values[scale])))
    return list(dict.fromkeys(found))


def _best_beta(results: Results) -> float | None:
    """β of the best setting, where β was searched; None for 1 and 0, of which nothing more is to be said."""
    best = best_number(results)
    if best is None or "beta" not in space(results):
        return None
    trials = results.trials
    row = trials[~trials["replica"] & (trials["number"] == best)].iloc[0]
    beta = params(results, row).get("beta")
    return float(beta) if beta and float(beta) != 1 else None


def _short(value: float) -> str:
    """Three significant digits, never with an exponent."""
    return format(Decimal(f"{value:.3g}"), ",f")
