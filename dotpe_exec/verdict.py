"""How far a run's answer can be trusted: one verdict, made of its summary's numbers.

Everything that shows a verdict (terminal, report, exports) takes it from here. Nothing
else than the summary enters, so that it is the same on every machine and can be made of
an older run's summary too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

RELIABLE, LIMITED, UNUSABLE = "reliable", "limited", "unusable"
_ORDER = (RELIABLE, LIMITED, UNUSABLE)

MIN_LN_EVIDENCE = {LIMITED: 5.0, UNUSABLE: 0.0}
"""ln of the odds of a signal over Gaussian noise (at equal prior odds) that count: below
the first the signal may be noise; below the second, as of noise alone, noise is the more
likely."""
MAX_PARETO_K = 0.7
"""Above, a sum of weights converges too slowly to be trusted (arXiv:1507.02646)."""
MAX_WAVEFORM_SHARE = 0.2
MAX_EDGE_SHARE = 0.01
MAX_EDGE_DENSITY = 0.1
"""Over the largest: where a Gaussian posterior is cut, 2% of it lie beyond."""
N_SIGMAS = 2.0
SMALLEST_Q = 1 / 18
"""Approximants are calibrated no further: no edge of the bank's or the prior's choice."""
MAX_EVIDENCE_ERROR = 0.5
MAX_DISCARDED = {LIMITED: 0.05, UNUSABLE: 0.5}
MAX_BINNING_ERROR = {LIMITED: 0.1, UNUSABLE: 1.0}
MAX_REFERENCE_DEFICIT = 5.0
MAX_PEAK_DEFICIT, MAX_PEAK_DEFICIT_OF_MANY = 10.0, 5.0
"""The second where there are many effective waveforms. In a nearly Gaussian posterior of 15
dimensions half a chi-squared of 15 degrees lies between a sample and the peak, and one in
six is within 5 of it: of a hundred some are, unless the peak was missed."""
MAX_DRIFT = 0.1
MAX_FAILED_PROPOSALS = 0.5
MIN_CALIBRATION_CURVES = 10.0
MIN_P_VALUE = 1e-3
"""Of chi-squared in a detector; one run in a thousand falls below by chance."""

_MANY_WAVEFORMS = 100.0
_MIN_EFFECTIVE = {
    "n_effective_i": (
        {LIMITED: _MANY_WAVEFORMS, UNUSABLE: 10.0},
        "effective waveforms",
        "Masses and spins rest on a few waveforms: take a larger bank, or one that covers "
        "a narrower range around the posterior.",
    ),
    "n_effective_e": (
        {LIMITED: 50.0, UNUSABLE: 10.0},
        "effective extrinsic samples",
        "Sky position, distance and arrival time rest on a few samples: raise n_ext.",
    ),
    "n_effective": (
        {LIMITED: 100.0, UNUSABLE: 10.0},
        "effective samples",
        "Intervals and contours are uncertain: see whether waveforms or extrinsic samples "
        "are scarce, and raise n_phi if neither is.",
    ),
}


_MORE_WAVEFORMS = "raise n_effective and max_waveforms."
"""What helps where waveforms are drawn for the event."""


@dataclass(frozen=True)
class Finding:
    """Something that the reader of a result should know.

    Parameters
    ----------
    key : str
        What it is about; the same in all versions.
    status : str
        What it makes of the run: ``"limited"`` or ``"unusable"``.
    number, threshold : float or None
        What was found, and the bound that it breaks; None where there is no number.
    title : str
        What was found, in words.
    advice : str
        What it means and what to do.
    """

    key: str
    status: str
    number: float | None
    threshold: float | None
    title: str
    advice: str


@dataclass(frozen=True)
class Verdict:
    """A status and what led to it, worst first.

    Parameters
    ----------
    status : str
        ``"reliable"``, ``"limited"`` or ``"unusable"``: the worst of the findings'.
    findings : tuple of Finding
    """

    status: str
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in ``summary_results.json`` as ``diagnostics``."""
        return {"status": self.status, "findings": [asdict(f) for f in self.findings]}

    @property
    def sentence(self) -> str:
        """The status in words."""
        return f"{self.status}: {self.detail}"

    @property
    def detail(self) -> str:
        """What the status means."""
        return {
            RELIABLE: "nothing suspicious was found",
            LIMITED: "read what was found before using numbers",
            UNUSABLE: "these are no measurements",
        }[self.status]


def verdict_of(summary: Mapping[str, Any]) -> Verdict:
    """Return the verdict that a summary holds, or judge one that holds none.

    Parameters
    ----------
    summary : mapping
        Content of ``summary_results.json``, of this package or of the published code.
    """
    recorded = summary.get("diagnostics")
    try:
        findings = tuple(Finding(**finding) for finding in recorded["findings"])  # type: ignore[index]
        if recorded["status"] in _ORDER:  # type: ignore[index]
            return Verdict(recorded["status"], findings)  # type: ignore[index]
    except (TypeError, KeyError):
        pass  # none, or of another version: the numbers are there
    return judge(summary)


def judge(summary: Mapping[str, Any]) -> Verdict:
    """Judge a run by the numbers of its summary; what is not there is not judged."""
    rules = (
        _nothing_found,
        _effective_numbers,
        _waveform_weights,
        _edges,
        _size_limit,
        _evidence,
        _binning,
        _calibration,
        _reference,
        _drift,
        _fit,
        _proposals,
    )
    findings = [finding for rule in rules for finding in rule(summary)]
    findings.sort(key=lambda finding: -_ORDER.index(finding.status))
    status = findings[0].status if findings else RELIABLE
    return Verdict(status, tuple(findings))


def _number(value: Any) -> float | None:
    """Return a finite number, None for anything else (the summary has null for -inf)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _below(value: float, limits: Mapping[str, float]) -> tuple[str, float] | None:
    """Return the worst status whose limit the value does not reach, and that limit."""
    broken = [status for status in (UNUSABLE, LIMITED) if value < limits[status]]
    return (broken[0], limits[broken[0]]) if broken else None


def _above(value: float, limits: Mapping[str, float]) -> tuple[str, float] | None:
    broken = [status for status in (UNUSABLE, LIMITED) if value > limits[status]]
    return (broken[0], limits[broken[0]]) if broken else None


def _nothing_found(summary: Mapping[str, Any]) -> Iterator[Finding]:
    if "ln_evidence" not in summary:
        return
    evidence = _number(summary["ln_evidence"])
    if evidence is None:
        yield Finding(
            "nothing_found", UNUSABLE, None, MIN_LN_EVIDENCE[UNUSABLE],
            "No evidence at all",
            "No combination of waveform, extrinsic sample and phase has any weight: check "
            "the bank's range and its log_prior_weights.",
        )  # fmt: skip
    elif broken := _below(evidence, MIN_LN_EVIDENCE):
        status, limit = broken
        if status == UNUSABLE:
            title = f"No signal was found: ln evidence over noise is {evidence:.1f}"
            advice = (
                "The samples describe noise. Check the data, the time and the bank's range."
            )
        else:
            title = f"The signal may be noise: ln evidence over noise is {evidence:.1f}"
            advice = (
                "The samples describe a signal, if it is one. How likely that is depends "
                f"on the prior odds, of which {math.exp(-evidence):.2g} to 1 would make "
                "noise as likely."
            )
        yield Finding("nothing_found", status, evidence, limit, title, advice)


def _effective_numbers(summary: Mapping[str, Any]) -> Iterator[Finding]:
    for key, (limits, name, advice) in _MIN_EFFECTIVE.items():
        value = _number(summary.get(key))
        if value is not None and (broken := _below(value, limits)):
            if key == "n_effective_i" and summary.get("adaptive"):
                advice = f"Masses and spins rest on a few waveforms: {_MORE_WAVEFORMS}"
            yield Finding(
                key, broken[0], value, broken[1], f"Only {value:.1f} {name}", advice
            )


def _waveform_weights(summary: Mapping[str, Any]) -> Iterator[Finding]:
    narrower = "take a larger or narrower bank."
    more = _MORE_WAVEFORMS if summary.get("adaptive") else narrower
    k = _number(summary.get("pareto_k"))
    if k is not None and k > MAX_PARETO_K:
        yield Finding(
            "pareto_k", LIMITED, k, MAX_PARETO_K,
            f"The waveforms' weights have a heavy tail (Pareto k = {k:.2f})",
            "Waveforms that were not drawn may matter more than those that were, and the "
            f"errors stated are too small: {more}",
        )  # fmt: skip
    share = _number(summary.get("largest_waveform_share"))
    if share is not None and share > MAX_WAVEFORM_SHARE:
        yield Finding(
            "largest_waveform_share", LIMITED, share, MAX_WAVEFORM_SHARE,
            f"One waveform holds {share:.0%} of the weight",
            f"The posterior is narrower than the spacing of the waveforms: {more}",
        )  # fmt: skip


def _edges(summary: Mapping[str, Any]) -> Iterator[Finding]:
    reaching = "a bank or a prior that reaches further shows whether it does."
    wider = {
        "lower_q_edge": "a smaller q_min",
        "lower_mchirp_edge": "a wider mchirp_range",
        "upper_mchirp_edge": "a wider mchirp_range",
    }
    for key, edge in (summary.get("edges") or {}).items():
        share, value = _number(edge.get("share")), _number(edge.get("value"))
        if share is None or value is None:
            continue
        if key == "lower_q_edge" and value <= SMALLEST_Q:
            continue
        name = f"{key.replace('_', ' ')}, {value:.4g}"
        further = reaching
        if "adaptive" in summary and key in wider:
            further = f"{wider[key]} shows whether it does."
        advice = f"The posterior may go on beyond: {further}"
        density = _number(edge.get("density")) or 0.0
        error = _number(edge.get("density_error")) or 0.0
        if share > MAX_EDGE_SHARE:
            yield Finding(
                f"edge_{key}", LIMITED, share, MAX_EDGE_SHARE,
                f"{share:.1%} of the weight lies at the {name}", advice,
            )  # fmt: skip
        elif density - N_SIGMAS * error > MAX_EDGE_DENSITY:
            yield Finding(
                f"edge_{key}", LIMITED, density, MAX_EDGE_DENSITY,
                f"The posterior is {density:.2f} times as dense at the {name}, as where it "
                "is densest", advice,
            )  # fmt: skip


def _size_limit(summary: Mapping[str, Any]) -> Iterator[Finding]:
    if summary.get("size_limit_reached") is True:
        yield Finding(
            "size_limit", LIMITED, None, None, "The size limit was reached",
            "The samples of lowest likelihood were left out: raise size_limit.",
        )  # fmt: skip


def _evidence(summary: Mapping[str, Any]) -> Iterator[Finding]:
    evidence = _number(summary.get("ln_evidence"))
    discarded = _number(summary.get("ln_evidence_discarded"))
    if evidence is not None and discarded is not None:
        share = 1 / (1 + math.exp(min(evidence - discarded, 700.0)))
        if broken := _above(share, MAX_DISCARDED):
            yield Finding(
                "discarded_evidence", broken[0], share, broken[1],
                f"About {share:.0%} of the evidence was discarded",
                "It lies below the threshold of the coherent stage: raise "
                "max_bestfit_lnlike_diff (and size_limit, if that was reached).",
            )  # fmt: skip
    error = _number(summary.get("ln_evidence_error"))
    if error is not None and error > MAX_EVIDENCE_ERROR:
        yield Finding(
            "ln_evidence_error", LIMITED, error, MAX_EVIDENCE_ERROR,
            f"ln evidence is uncertain by {error:.2f}",
            "ln_evidence_error_parts in the summary says whether more waveforms or a "
            "larger n_ext help.",
        )  # fmt: skip


def _binning(summary: Mapping[str, Any]) -> Iterator[Finding]:
    if summary.get("exact_likelihoods"):
        return  # corrected
    mean = _number((summary.get("relative_binning_error") or {}).get("mean"))
    if mean is not None and (broken := _above(mean, MAX_BINNING_ERROR)):
        yield Finding(
            "relative_binning_error", broken[0], mean, broken[1],
            f"Relative binning is wrong by {mean:.2f} in ln likelihood on average",
            "Measured on the full frequency grid: give exact_likelihoods=True, or take "
            "finer bins (a smaller pn_phase_tol).",
        )  # fmt: skip


def _calibration(summary: Mapping[str, Any]) -> Iterator[Finding]:
    calibration = summary.get("calibration") or {}
    count = _number(calibration.get("n_effective_curves"))
    if count is not None and count < MIN_CALIBRATION_CURVES:
        yield Finding(
            "calibration_curves", LIMITED, count, MIN_CALIBRATION_CURVES,
            f"Only {count:.1f} of {calibration.get('n_curves')} calibration curves count",
            "The envelopes are wide for so loud a signal: run without calibration, and "
            "reweight the samples with a larger n_curves.",
        )  # fmt: skip


def _reference(summary: Mapping[str, Any]) -> Iterator[Finding]:
    reference = _number(summary.get("reference_bestfit_lnlike"))
    best = _number(summary.get("bestfit_lnlike_max"))
    if reference is None or best is None:
        return
    if best - reference > MAX_REFERENCE_DEFICIT:
        yield Finding(
            "reference", LIMITED, best - reference, MAX_REFERENCE_DEFICIT,
            f"The best sample fits better than the reference waveform by "
            f"{best - reference:.1f} in ln likelihood",
            "The noise level near the event and the binning rest on that waveform: give a "
            "better mchirp_guess or par_dic_0.",
        )  # fmt: skip
    many = (_number(summary.get("n_effective_i")) or 0.0) >= _MANY_WAVEFORMS
    limit = MAX_PEAK_DEFICIT_OF_MANY if many else MAX_PEAK_DEFICIT
    if reference - best > limit:
        adaptive = summary.get("adaptive") is not None
        yield Finding(
            "misses_peak" if adaptive else "bank_misses_peak", LIMITED,
            reference - best, limit,
            f"No sample comes within {reference - best:.1f} in ln likelihood of the "
            "reference waveform",
            "A part of the posterior may have been missed: compare with another seed."
            if adaptive else
            "The bank is too sparse there, or does not cover the signal: take a larger "
            "bank, or another range.",
        )  # fmt: skip


def _drift(summary: Mapping[str, Any]) -> Iterator[Finding]:
    drifts = summary.get("asd_drift")
    for name, value in drifts.items() if isinstance(drifts, Mapping) else ():
        drift = _number(value)
        if drift is not None and abs(drift - 1) > MAX_DRIFT:
            yield Finding(
                f"asd_drift_{name}", LIMITED, drift, MAX_DRIFT,
                f"The noise of {name} near the event is {drift:.2f} times its average",
                "Likelihoods were corrected for it, but noise that changes so much is "
                "hardly Gaussian: look at the data, or use a shorter stretch for the "
                "power spectrum.",
            )  # fmt: skip


def _fit(summary: Mapping[str, Any]) -> Iterator[Finding]:
    fits = summary.get("goodness_of_fit")
    for name, fit in fits.items() if isinstance(fits, Mapping) else ():
        p_value, value = _number(fit.get("p_value")), _number(fit.get("chi_squared"))
        if p_value is None or value is None or p_value >= MIN_P_VALUE:
            continue
        yield Finding(
            f"goodness_of_fit_{name}", LIMITED, p_value, MIN_P_VALUE,
            f"The data of {name} do not fit the waveform: chi-squared {value:.0f} for "
            f"{fit.get('n_degrees_of_freedom')} degrees of freedom (p = {p_value:.1g})",
            "There may be a glitch near the signal, or the waveform lacks something that "
            "the signal has: look at the spectrogram and at the whitened data.",
        )  # fmt: skip


def _proposals(summary: Mapping[str, Any]) -> Iterator[Finding]:
    made, tried = (
        _number(summary.get("n_proposals")),
        _number(summary.get("n_proposals_tried")),
    )
    if made and tried and tried - made > MAX_FAILED_PROPOSALS * tried:
        yield Finding(
            "proposals", LIMITED, 1 - made / tried, MAX_FAILED_PROPOSALS,
            f"Of {tried:.0f} waveforms, {tried - made:.0f} fit no sky position",
            "Their arrival times in the detectors contradict each other: noise in one "
            "detector may look like a signal. Check the data and the bank's range.",
        )  # fmt: skip
