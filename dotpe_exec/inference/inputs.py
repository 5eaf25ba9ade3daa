"""What a run works on: event, banks and candidates, opened and checked before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..banks.format import Bank, bank_folders, check_agreement, open_banks
from ..banks.indices import resolve_indices, resolve_logw
from ..digests import file_digest
from ..events import check_bins_on_grid, load_event
from ..events.calibration import Envelope, event_envelopes
from ..rundir.checksums import refuse_damaged_input
from ..rundir.identity import RunIdentity, event_digest
from ..stages.extrinsic_samples import read_extrinsic_table
from ..stages.incoherent import Candidates
from ..stages.noise_drift import drift_by_detector
from ..stages.reference import check_reference_arguments
from .arguments import RunArguments
from .infer_arguments import InferArguments
from .memory_model import ProblemSize

if TYPE_CHECKING:
    from cogwheel.data import EventData


@dataclass(frozen=True)
class RunInputs:
    """Everything that a run reads, checked.

    Parameters
    ----------
    event : cogwheel.data.EventData
    banks : dict of Bank
        By bank id, in the order given; they agree on everything but their ranges.
    candidates : dict of Candidates
        Waveforms that enter the incoherent selection.
    n_int : dict of int
        N_int,k: waveforms considered before any selection, for the evidence.
    log_prior_weights : dict of (n_waveforms,) float
        ln prior weight of every waveform of a bank.
    envelopes : dict of Envelope
        Calibration uncertainty by detector; detectors without one are exact.
    """

    event: EventData
    banks: dict[str, Bank]
    candidates: dict[str, Candidates]
    n_int: dict[str, int]
    log_prior_weights: dict[str, np.ndarray]
    envelopes: dict[str, Envelope] = field(default_factory=dict)

    @property
    def bank_config(self) -> Any:
        """What all banks have in common: approximant, bins, modes, reference frequency."""
        return next(iter(self.banks.values())).config


def gather_inputs(
    arguments: RunArguments, meanwhile: Callable[[], None] = lambda: None
) -> RunInputs:
    """Open and check all inputs of a run.

    Parameters
    ----------
    arguments : RunArguments
    meanwhile : callable, optional
        Called when the banks are there: what is left begins with a second of imports.

    Raises
    ------
    InputError, BankError, EventError, MissingFileError
        One sentence that names what is wrong where.
    """
    folders = bank_folders(arguments.bank_folder)
    if all(Path(folder).expanduser().is_dir() for folder in folders.values()):
        meanwhile()
    banks = open_banks(folders)
    check_agreement(banks)
    log_prior_weights = resolve_logw(arguments.bank_logw_override, banks)
    indices = resolve_indices(
        banks,
        n_int=arguments.n_int,
        i_int_start=arguments.i_int_start,
        preselected_indices=arguments.preselected_indices,
        load_inds=arguments.load_inds,
        inds_path=arguments.inds_path,
    )
    if arguments.extrinsic_samples is not None:
        read_extrinsic_table(arguments.extrinsic_samples, arguments.n_ext)
        for path in _extrinsic_files(arguments.extrinsic_samples):
            refuse_damaged_input("extrinsic_samples", path)
    bank_config = next(iter(banks.values())).config
    check_reference_arguments(
        bank_config, arguments.par_dic_0, arguments.coherent_posterior_kwargs
    )
    event = load_event(arguments.event)
    check_bins_on_grid(bank_config.fbin, event)
    drift_by_detector(arguments.asd_drift, event.detector_names)  # or refuse it
    return RunInputs(
        event=event,
        banks=banks,
        candidates={
            bank_id: Candidates(banks[bank_id].handle, inds)
            for bank_id, inds in indices.candidates.items()
        },
        n_int=indices.n_int,
        log_prior_weights=log_prior_weights,
        envelopes=gather_envelopes(arguments, event),
    )


def gather_envelopes(
    arguments: RunArguments | InferArguments, event: EventData
) -> dict[str, Envelope]:
    """Read the calibration envelopes that are given, once."""
    if arguments.calibration is None:
        return {}
    return event_envelopes(event, arguments.calibration, arguments.calibration_correction)


def run_identity(arguments: RunArguments, inputs: RunInputs) -> RunIdentity:
    """Return what makes the run this run: content and parameters, not paths."""
    elsewhere = {"event", "bank_folder", "event_dir", "rundir", "n_int", "i_int_start",
                 "load_inds", "inds_path", "preselected_indices", "bank_logw_override",
                 "extrinsic_samples", "calibration",
                 "calibration_correction"}  # fmt: skip
    parameters = {
        name: value for name, value in vars(arguments).items() if name not in elsewhere
    }
    parameters["coherent_posterior_kwargs"] = arguments.record()[
        "coherent_posterior_kwargs"
    ]
    parameters["candidates"] = {b: c.inds for b, c in inputs.candidates.items()}
    parameters["n_int"] = inputs.n_int
    parameters["log_prior_weights"] = inputs.log_prior_weights
    parameters["calibration"] = envelope_digests(inputs.envelopes)
    if arguments.extrinsic_samples is not None:
        files = _extrinsic_files(arguments.extrinsic_samples)
        parameters["extrinsic_samples"] = [
            file_digest(path) if path.is_file() else None for path in files
        ]
    return RunIdentity(
        event_name=inputs.event.eventname,
        event=event_digest(inputs.event),
        banks={bank_id: bank.identity() for bank_id, bank in inputs.banks.items()},
        parameters=parameters,
    )


def envelope_digests(envelopes: Mapping[str, Envelope]) -> dict[str, str] | None:
    """Return what the envelopes contain, with what they are applied to, for identities."""
    return {name: some.digest for name, some in envelopes.items()} or None


def input_files(arguments: RunArguments) -> list[Path]:
    """Return files of this run's input, which overwriting must not remove."""
    given = [arguments.event, arguments.inds_path]
    if arguments.extrinsic_samples is not None:
        given += _extrinsic_files(arguments.extrinsic_samples)
    if isinstance(arguments.inds_path, dict):
        given += arguments.inds_path.values()
    given += (arguments.calibration or {}).values()
    return [Path(path) for path in given if isinstance(path, str | Path)]


def _extrinsic_files(extrinsic_samples: Any) -> list[Path]:
    """Return the table of extrinsic samples and the arrays that may lie beside it."""
    table = Path(extrinsic_samples)
    names = ("response_dpe.npy", "timeshift_dbe.npy")
    return [table, *(table.with_name(name) for name in names)]


def problem_size(arguments: RunArguments, inputs: RunInputs) -> ProblemSize:
    """Return what the memory of this run depends on."""
    return ProblemSize(
        n_m=len(inputs.bank_config.m_arr),
        n_b=len(inputs.bank_config.fbin),
        n_ext=arguments.n_ext,
        n_d=len(inputs.event.detector_names),
        n_phi=arguments.n_phi,
        n_phi_incoherent=arguments.n_phi_incoherent or arguments.n_phi,
        n_t=arguments.n_t,
        n_waveforms=max(len(some.inds) for some in inputs.candidates.values()),
        extrinsic_drawn=arguments.extrinsic_samples is None,
    )
