"""The standard workload of all benchmarks, made once and cached.

    python bench/w16k.py [--bank]

Three detectors in Gaussian noise of O3 sensitivity, 120 s to 1600 Hz, with a precessing
signal of network signal-to-noise ratio 11.4, and a bank of 16384 IMRPhenomXPHM waveforms
around it (0.8 GB on disk). The environment variable ``DOTPE_EXEC_BENCH_CACHE`` names the
folder; by default it is in the user's cache.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

INJECTION = {
    "m1": 27.546, "m2": 19.282, "iota": 1.0471975511965976, "psi": 1.0, "phi_ref": 12.0,
    "ra": 0.5, "dec": 0.5, "s1x_n": 0.1, "s1y_n": 0.2, "s1z": 0.3, "s2x_n": 0.3,
    "s2y_n": -0.2, "s2z": 0.3, "d_luminosity": 1366.0, "l1": 0.0, "l2": 0.0, "f_ref": 50.0,
    "t_geocenter": 0.0,
}  # fmt: skip

RUN = {"n_ext": 512, "n_phi": 32, "n_t": 64, "mchirp_guess": 20.0, "seed": 42}
"""Arguments of the run itself."""

_PN_PHASE_TOL = 0.05


def cache_folder() -> Path:
    """Return the folder where event and bank are kept, made if needed."""
    folder = os.environ.get("DOTPE_EXEC_BENCH_CACHE")
    if folder:
        path = Path(folder)
    else:
        import platformdirs

        path = platformdirs.user_cache_path("dotpe") / "bench"
    path.mkdir(parents=True, exist_ok=True)
    return path


def make_event() -> Path:
    """Return the path of the event, simulated if it is not there yet."""
    from dotpe_exec.atomic import atomic_write
    from dotpe_exec.events import simulate_event

    path = cache_folder() / "w16k.npz"
    if not path.exists():
        event = simulate_event(
            "w16k", "HLV", duration=120.0, fmin=20.0, fmax=1600.0, injection=INJECTION,
            seed=20260314,
        )  # fmt: skip
        with atomic_write(path) as temporary:
            event.to_npz(filename=temporary, overwrite=True)
    return path


def make_bank(bank_size: int = 16384, **workers: Any) -> Path:
    """Return the folder of the bank, built or continued if it is not complete.

    Parameters
    ----------
    bank_size : int
        A smaller one serves quick checks.
    **workers
        ``executor``, ``n_procs``, ``progress`` of ``build_bank``.
    """
    from dotpe_exec.banks.build import build_bank

    return build_bank(
        cache_folder() / f"w{bank_size}_bank",
        bank_size=bank_size,
        mchirp_range=(15.0, 30.0),
        q_min=0.2,
        f_ref=50.0,
        event=make_event(),
        pn_phase_tol=_PN_PHASE_TOL,
        seed=777,
        blocksize=4096,
        **workers,
    )


def main() -> None:
    """Make what is missing and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bank", action="store_true", help="build the bank, too")
    arguments = parser.parse_args()
    print(make_event())
    if arguments.bank:
        print(make_bank())


if __name__ == "__main__":
    main()
