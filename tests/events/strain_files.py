"""Strain files of white noise, as the open data have them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

RATE, START = 1024, 1126259446
TGPS = START + 16.4


def strain_values(detector, duration):
    rng = np.random.default_rng(ord(detector))
    return 1e-21 * rng.standard_normal(RATE * duration)


def write_gwosc(folder, detector="H", duration=32, start=START, gap=None) -> Path:
    """Write HDF5 in the layout of gwosc.org; ``gap`` is a range of seconds without data."""
    path = folder / f"{detector}-{detector}1_GWOSC_4KHZ_R1-{start}-{duration}.hdf5"
    values = strain_values(detector, duration)
    if gap:
        values[int(gap[0] * RATE) : int(gap[1] * RATE)] = np.nan
    with h5py.File(path, "w") as file:
        strain = file.create_dataset("strain/Strain", data=values)
        strain.attrs.update(Xspacing=1 / RATE, Xstart=start, Npoints=len(values),
                            Xunits="second", Yunits="")  # fmt: skip
        for name, value in (("Detector", f"{detector}1"), ("Observatory", detector),
                            ("GPSstart", start), ("Duration", duration)):  # fmt: skip
            file[f"meta/{name}"] = value
    return path
