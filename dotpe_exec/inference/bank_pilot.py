"""A user's banks as what `infer` learns from first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..adaptive.coordinates import PriorCoordinates
from ..adaptive.explorer import N_PILOT, PILOT_SHARE
from ..banks.format import check_agreement, open_banks
from ..errors import InputError
from ..waveforms.parameters import PARAMETERS
from .infer_arguments import InferArguments


@dataclass(frozen=True, eq=False)
class BankPilot:
    """All waveforms of some banks, by their parameters.

    Parameters
    ----------
    parameters_ik : (n, 9) float
        Columns as ``PARAMETERS``.
    log_prior_weights : (n,) float
        Averaged over all banks as if they were one.
    mchirp_range : (float, float)
        Of the prior [solar masses]: given, or what the banks cover.
    identities : dict of str
        Digest of each bank.
    """

    parameters_ik: np.ndarray
    log_prior_weights: np.ndarray
    mchirp_range: tuple[float, float]
    identities: dict[str, str]

    def draw(
        self, coordinates: PriorCoordinates, max_waveforms: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates and ln weights of some, drawn at random.

        Raises
        ------
        InputError
            None lies within the prior.
        """
        z_ik = coordinates.of_parameters(self.parameters_ik)
        inside = np.flatnonzero(np.isfinite(z_ik).all(axis=1))
        if not len(inside):
            raise InputError(
                "bank_folder: none of the waveforms lies within mchirp_range "
                f"{coordinates.mchirp_range} and above q_min {coordinates.q_min:g}"
            )
        n = min(N_PILOT, max(int(PILOT_SHARE * max_waveforms), 1), len(inside))
        chosen = np.sort(rng.permutation(inside)[:n])
        return z_ik[chosen], self.log_prior_weights[chosen]


def bank_pilot(arguments: InferArguments) -> BankPilot:
    """Open the banks and read their tables.

    Raises
    ------
    InputError, MissingFileError, BankError
        They cannot be opened, disagree with each other, or are for another reference
        frequency.
    """
    banks = open_banks(arguments.bank_folder)
    check_agreement(banks)
    tables = {bank_id: bank.table() for bank_id, bank in banks.items()}
    for bank_id, bank in banks.items():
        if bank.config.f_ref != arguments.f_ref:
            raise InputError(
                f"bank_folder: f_ref of {bank_id} is {bank.config.f_ref:g} Hz, expected "
                f"{arguments.f_ref:g} Hz as of this run"
            )
    parameters_ik = np.concatenate(
        [table[list(PARAMETERS)].to_numpy(float) for table in tables.values()]
    )
    n_total = len(parameters_ik)
    weights = np.concatenate(
        [
            table["log_prior_weights"].to_numpy(float) + np.log(n_total / len(table))
            for table in tables.values()
        ]
    )
    mchirp_range = arguments.mchirp_range
    if mchirp_range is None:
        ranges = [bank.config.mchirp_range for bank in banks.values()]
        if any(ends is None for ends in ranges):
            raise InputError(
                "bank_folder: the banks do not say which chirp masses they cover: give "
                "mchirp_range"
            )
        mchirp_range = (
            min(ends[0] for ends in ranges if ends),
            max(ends[1] for ends in ranges if ends),
        )
    return BankPilot(
        parameters_ik,
        weights,
        mchirp_range,
        {bank_id: bank.identity() for bank_id, bank in banks.items()},
    )
