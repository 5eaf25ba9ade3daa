"""A small bank, and a campaign of injections from its prior, analysed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dotpe_exec.campaign import Analysis, Campaign, Injections, Settings, make

# Refining the reference would take longer than all the rest of an analysis.
SIZES = {"n_ext": 32, "n_phi": 16, "n_t": 32, "refine_reference": False}


@pytest.fixture(scope="session")
def small_bank(make_once) -> Path:
    return make_once("campaign_bank", _build_small_bank) / "bank"


def _build_small_bank(folder: Path) -> None:
    from dotpe_exec.banks.build import build_bank
    from dotpe_exec.events import save_event, simulate_event

    folder.mkdir()
    event = simulate_event("grid", "HL", duration=4.0, fmax=256.0)
    save_event(event, folder / "grid.npz")
    build_bank(
        folder / "bank", bank_size=64, mchirp_range=(28, 34), q_min=0.5,
        event=folder / "grid.npz", pn_phase_tol=0.2, seed=1, executor="serial",
        progress=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def injections() -> Injections:
    return Injections(
        n=3, seed=5, duration=4.0, fmax=256.0, mchirp_range=(28.0, 34.0), q_min=0.5,
        detectors=("HL", "HLV"), snr_range=(12.0, 25.0), d_luminosity_max=3000.0,
    )  # fmt: skip


@pytest.fixture(scope="session")
def settings(small_bank, injections) -> Settings:
    analysis = Analysis("run", {"bank_folder": str(small_bank), **SIZES})
    return Settings("small", seed=2, analysis=analysis, injections=injections)


@pytest.fixture(scope="session")
def analysed(settings, make_once):
    """A campaign that is finished, analysed serially. Do not change it."""

    def analyse(folder: Path) -> None:
        campaign = make(folder, settings, executor="serial", progress=False)
        campaign.run(executor="serial", progress=False)

    return Campaign(make_once("analysed", analyse))
