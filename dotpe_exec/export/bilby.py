"""Results as bilby reads them, ``bilby.result.read_in_result(filename)``."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from .._version import __version__
from ..atomic import atomic_write, output_file
from ..loading import StoredRun, load_run
from ..run_prior import bilby_priors
from .data import AnalysedData, analysed_data, waveform_arguments
from .tables import export_table, ln_evidence

_SAMPLED = (
    "chirp_mass", "mass_ratio", "a_1", "a_2", "tilt_1", "tilt_2", "phi_12", "phi_jl",
    "theta_jn", "luminosity_distance", "ra", "dec", "psi", "phase", "geocent_time",
)  # fmt: skip


def to_bilby(rundir: str | os.PathLike, output: str | os.PathLike) -> Path:
    """Write a run's samples, prior, evidence and settings as a bilby result.

    bilby itself is not needed. The evidence of DOT-PE is relative to that of noise:
    ``log_bayes_factor`` is the run's, ``log_noise_evidence`` that of the data being noise
    with the assumed spectra, as in bilby, and ``log_evidence`` their sum.

    Parameters
    ----------
    rundir : path
        Of a finished run.
    output : path
        The ``.json`` file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        ``output`` is empty.
    MissingFileError, RunDirectoryError
        The run is not finished, its samples lack parameters, its event or posterior is not
        kept, or the file cannot be written.
    """
    run = load_run(rundir)
    output = output_file(output)
    evidence, error = ln_evidence(run)
    posterior = export_table(run)
    data = analysed_data(run)
    bayes_factor = -math.inf if evidence is None else evidence
    content = {
        "label": output.name.removesuffix(".json").removesuffix("_result"),
        "outdir": str(output.parent),
        "sampler": "dotpe-exec",
        "log_evidence": bayes_factor + data.noise_lnlike,
        "log_evidence_err": math.nan if error is None else error,
        "log_noise_evidence": data.noise_lnlike,
        "log_bayes_factor": bayes_factor,
        "priors": bilby_priors(run),
        "posterior": {
            "__dataframe__": True,
            "content": {name: column.tolist() for name, column in posterior.items()},
        },
        "injection_parameters": None,
        "meta_data": {
            "likelihood": _likelihood(run, data),
            # As text: bilby's HDF5 has no place for lists of dictionaries.
            "dotpe_exec": {"version": __version__, "summary": json.dumps(run.summary)},
        },
        "search_parameter_keys": list(_SAMPLED),
        "fixed_parameter_keys": [],
        "constraint_parameter_keys": [],
        "sampling_time": (run.report or {}).get("seconds"),
        "sampler_kwargs": run.kwargs,
        "use_ratio": True,
        "version": f"dotpe-exec {__version__}",
    }
    with atomic_write(output) as temporary:
        Path(temporary).write_text(json.dumps(content), encoding="utf-8")
    return output


def _likelihood(run: StoredRun, data: AnalysedData) -> dict[str, Any]:
    """Return what bilby's likelihood says about itself."""
    functions = {
        "frequency_domain_source_model": ("bilby.gw.source", "lal_binary_black_hole"),
        "parameter_conversion": (
            "bilby.gw.conversion",
            "convert_to_lal_binary_black_hole_parameters",
        ),
    }
    return {
        "interferometers": {
            name: {
                "name": name,
                "minimum_frequency": data.f_low,
                "maximum_frequency": data.f_final,
                "asd_drift": float(drift),
            }
            for name, drift in zip(data.names, data.asd_drift_d, strict=True)
        },
        "waveform_arguments": waveform_arguments(run, data),
        **{
            key: {"__function__": True, "__module__": module, "__name__": name}
            for key, (module, name) in functions.items()
        },
        "time_domain_source_model": None,
        "sampling_frequency": data.sampling_frequency,
        "duration": data.duration,
        "start_time": data.start_time,
        "time_reference": "geocent",
        "reference_frame": "sky",
        "time_marginalization": False,
        "phase_marginalization": False,
        "distance_marginalization": False,
        "calibration_marginalization": bool(run.summary.get("calibration")),
        "relative_binning": True,
    }
