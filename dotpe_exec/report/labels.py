"""How quantities and runs are called and coloured in all pictures and tables."""

from __future__ import annotations

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of runs and of detectors: told apart by colour-blind readers too (Okabe and Ito)."""

LABELS = {
    "mchirp": r"$\mathcal{M}$ ($M_\odot$)",
    "q": r"$q$",
    "chieff": r"$\chi_\mathrm{eff}$",
    "d_luminosity": r"$d_L$ (Mpc)",
    "iota": r"$\iota$ (rad)",
    "ra": r"$\alpha$ (rad)",
    "dec": r"$\delta$ (rad)",
    "a_1": r"$a_1$",
    "a_2": r"$a_2$",
    "chi_p": r"$\chi_\mathrm{p}$",
    "theta_jn": r"$\theta_{JN}$ (rad)",
    "mass_1_source": r"$m_1$ ($M_\odot$, source)",
    "mass_2_source": r"$m_2$ ($M_\odot$, source)",
}
"""Axis labels by column."""
