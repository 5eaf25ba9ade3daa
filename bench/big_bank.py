"""Make a bank of any size for benchmarks, without generating or copying waveforms.

The blocks of an existing bank are linked again and again, so that a bank of 2^17
waveforms (6 GB of them at 378 bins) takes the disk space of the original; what reads it
sees as many blocks and indices as in a real one. For timing and memory alone: repeated
waveforms make its evidence meaningless.

    python bench/big_bank.py SOURCE FOLDER 131072
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from dotpe_exec.banks.format import CONFIG_NAME, TABLE_NAME, open_bank
from dotpe_exec.banks.waveforms import KINDS, block_name


def make_big_bank(
    source: Path, folder: Path, n_waveforms: int, first_block: int = 0
) -> Path:
    """Link the full blocks of the bank ``source`` into a bank of ``n_waveforms``.

    Parameters
    ----------
    source, folder : Path
        A bank, and where the new one goes.
    n_waveforms : int
    first_block : int
        Of the source, to begin with.

    Raises
    ------
    ValueError
        The source has no full block, or its block size does not divide ``n_waveforms``.
    """
    bank = open_bank(source)
    blocksize = bank.config.blocksize
    n_full = bank.n_waveforms // blocksize
    if n_full == 0 or n_waveforms % blocksize:
        raise ValueError(
            f"{source} has {n_full} full blocks of {blocksize}, expected at least one "
            f"and a number of waveforms that is a multiple of {blocksize}"
        )
    (folder / "waveforms").mkdir(parents=True)
    n_blocks = n_waveforms // blocksize
    taken = [(first_block + k) % n_full for k in range(n_blocks)]
    for k, block in enumerate(taken):
        for kind in KINDS:
            link = folder / block_name(kind, k)
            link.symlink_to((Path(bank.folder) / block_name(kind, block)).resolve())
    rows = np.concatenate([np.arange(blocksize) + block * blocksize for block in taken])
    table = bank.table().iloc[rows].reset_index(drop=True)
    table.to_feather(folder / TABLE_NAME)
    config = json.loads((Path(source) / CONFIG_NAME).read_text(encoding="utf-8"))
    config["bank_size"] = n_waveforms
    (folder / CONFIG_NAME).write_text(json.dumps(config), encoding="utf-8")
    return folder


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a bank")
    parser.add_argument("folder", type=Path, help="where the new one goes")
    parser.add_argument("n_waveforms", type=int)
    arguments = parser.parse_args()
    print(make_big_bank(arguments.source, arguments.folder, arguments.n_waveforms))


if __name__ == "__main__":
    main()
