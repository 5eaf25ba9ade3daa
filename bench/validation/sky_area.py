"""The sky map of a run against directions that cogwheel draws for the same waveforms.

    python bench/validation/sky_area.py RUNDIR [--n 6000]

For waveforms of the run's posterior, cogwheel's ``MarginalizedExtrinsicLikelihood`` draws
one direction each, as it does for the samples of a nested sampler; nothing of this
package's extrinsic part is in them. Printed are the 90% areas of both, with kernels by
Scott's rule as ``ligo.skymap`` has them and with fitted ones, and the share of cogwheel's
directions in each area. Those in a map of cogwheel's are others than made it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from pathlib import Path

import numpy as np
from infer_evidence import cogwheels_likelihood

from dotpe_exec import load
from dotpe_exec.report.sky_density import fitted_density
from dotpe_exec.report.skymap import credible_areas, effective_directions

MAX_CLUSTERS, TRIALS = 8, 2


def main() -> None:
    """Print a row for each map."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rundir", type=Path)
    parser.add_argument("--n", type=int, default=6000, help="Directions of cogwheel's.")
    arguments = parser.parse_args()
    run = load(arguments.rundir)
    drawn = cogwheel_directions(run, arguments.n)
    half = arguments.n // 2
    points = effective_directions(run.samples)[:, :2]
    print("| directions | of | kernels | 90% area [square degrees] | holds |")
    print("| --- | --- | --- | --- | --- |")
    row("the run", points, drawn)
    for n in (len(points), half):
        row("cogwheel", drawn[:n], drawn[half:])


def row(name: str, points: np.ndarray, others: np.ndarray) -> None:
    """Print what the maps of some directions say, and what they hold of others."""
    from ligo.skymap.kde import Clustered2DSkyKDE

    np.random.seed(0)  # noqa: NPY002 (what the clustering draws from)
    with contextlib.redirect_stderr(io.StringIO()):
        scott = Clustered2DSkyKDE(points, max_k=MAX_CLUSTERS, trials=TRIALS, jobs=1)
        fitted = fitted_density(points)
    for kernels, density in ("Scott's", scott), ("fitted", fitted):
        with contextlib.redirect_stderr(io.StringIO()):
            table, found = density.as_healpix(), density(others)
        area = credible_areas(table)[0.9]
        share = np.mean(found > edge_of(table, area))
        print(f"| {len(points)} | {name} | {kernels} | {area:.0f} | {share:.1%} |")


def edge_of(table, square_degrees: float) -> float:
    """Return the density at the edge of the densest part of a map [1/sr]."""
    from ligo.skymap.moc import uniq2pixarea

    density_u = np.asarray(table["PROBDENSITY"], float)
    order = np.argsort(-density_u)
    areas = np.degrees(1) ** 2 * np.cumsum(uniq2pixarea(np.asarray(table["UNIQ"]))[order])
    return float(np.interp(square_degrees, areas, density_u[order]))


def cogwheel_directions(run, n: int) -> np.ndarray:
    """Return right ascensions and declinations (n, 2) for waveforms of the posterior."""
    marginalised = cogwheels_likelihood(run.files.path)
    some = run.samples.sample(n, replace=True, weights="weights", random_state=1)
    directions = []
    for waveform in some[marginalised.params].to_dict("records"):
        _, metadata = marginalised.lnlike_and_metadata(waveform)
        drawn = marginalised.get_blob(metadata)
        directions.append((drawn["ra"] % (2 * np.pi), drawn["dec"]))
    return np.array(directions)


if __name__ == "__main__":
    main()
