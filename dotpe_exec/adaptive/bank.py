"""The bank that an exploration leaves: table, configuration and, if wanted, waveforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import make_folder_of, write_feather, write_json, write_npy
from ..banks.config import BankConfig
from ..banks.format import CONFIG_NAME, TABLE_NAME
from ..banks.waveforms import KINDS, block_name
from ..waveforms.parameters import PARAMETERS

if TYPE_CHECKING:
    import pandas as pd

BLOCKSIZE = 4096
"""Waveforms per file."""


@dataclass(frozen=True, eq=False)
class AdaptedBank:
    """All waveforms drawn for an event, with their weights.

    Parameters
    ----------
    config : BankConfig
    parameters_ik : (n, 9) float
        Columns as ``PARAMETERS``.
    log_prior_weights : (n,) float
        ln of prior density over the density that they were drawn from.
    """

    config: BankConfig
    parameters_ik: np.ndarray
    log_prior_weights: np.ndarray

    def __len__(self) -> int:
        return len(self.parameters_ik)

    def table(self) -> pd.DataFrame:
        """Return the table of intrinsic parameters and weights, one row per waveform."""
        import pandas as pd

        table = pd.DataFrame(self.parameters_ik, columns=list(PARAMETERS))
        table["log_prior_weights"] = self.log_prior_weights
        return table

    def write(self, folder: Path) -> None:
        """Write table and configuration: with waveforms they are a bank."""
        write_feather(folder / TABLE_NAME, self.table())
        config = self.config
        write_json(
            folder / CONFIG_NAME,
            {
                **config.info,
                "bank_size": len(self),
                "f_ref": config.f_ref,
                "fbin": config.fbin.tolist(),
                "approximant": config.approximant,
                "m_arr": config.m_arr.tolist(),
                "harmonic_modes": [list(mode) for mode in config.harmonic_modes],
                "blocksize": config.blocksize,
            },
        )

    def write_waveforms(
        self, folder: Path, generate: Callable[[str, np.ndarray], tuple[Any, Any]]
    ) -> None:
        """Generate the waveforms, and write them block by block.

        Parameters
        ----------
        folder : path
        generate : callable
            From the name of a phase and parameters to amplitudes and phases.
        """
        make_folder_of(folder / block_name(KINDS[0], 0))
        size = self.config.blocksize
        for k, start in enumerate(range(0, len(self), size)):
            arrays = generate("waveforms", self.parameters_ik[start : start + size])
            for kind, array in zip(KINDS, arrays, strict=True):
                write_npy(folder / block_name(kind, k), array)
