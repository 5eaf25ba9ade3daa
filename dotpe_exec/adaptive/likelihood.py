"""The event's likelihood as the explorer sees it: from coordinates to numbers.

What is behind it are tasks over an executor (:mod:`.tasks`) and extrinsic samples that
move to where the weighted waveforms are.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import atomic_write, make_folder_of
from ..banks.waveforms import BankHandle
from ..executors.phases import PhaseRunner
from ..executors.task import Task
from ..executors.threads import OneThread
from ..kernels.distance import DistanceTable
from ..kernels.incoherent import compile_incoherent, prepare_incoherent
from ..seeds import generator
from ..stages.extrinsic import ExtrinsicSamples, draw_extrinsic_samples
from ..stages.selection import Survivors
from ..waveforms.parameters import PARAMETERS
from .carriers import choose_carriers
from .coordinates import PriorCoordinates
from .kept import KeptProducts
from .placing import Placed, Placing
from .tasks import (
    FinalResult,
    FinalTask,
    LikelihoodTask,
    RoughTask,
    WaveformModel,
    WaveformTask,
    final_likelihoods,
    generate,
    likelihoods,
    rough_likelihoods,
)

if TYPE_CHECKING:
    from ..stages.reference import Reference

BATCH = 64
"""Waveforms per task: some tens of milliseconds."""

N_EXT_EXPLORING = 256
"""Extrinsic samples while exploring."""

FIRST_POOL = 2**14
"""Points among which the first that count are found."""

COUNTING_EXPLORING, COUNTING = 4.0, 8.0
"""Points that are to count in the pool from which extrinsic samples are drawn, for each of
these: while exploring, and at the end."""


@dataclass(frozen=True)
class GeneratedBank:
    """Some waveforms in files, as far as the extrinsic stage looks at a bank."""

    handle: BankHandle


class EventLikelihood:
    """The likelihood of an event's waveforms, marginalised over extrinsic parameters.

    Parameters
    ----------
    runner : PhaseRunner
    coordinates : PriorCoordinates
    reference : Reference
    event_data : cogwheel.data.EventData
    model : WaveformModel
    table : DistanceTable
    n_phi : int
        Orbital phases.
    seed : int
    folder : path
        Where waveforms are kept while extrinsic samples are drawn for them; seen by all
        workers.
    label : str
        Under which results of tasks are kept, and random numbers drawn.

    Attributes
    ----------
    reference_k : (n_dim,) float or None
        Coordinates of the reference waveform; None if the prior excludes it.
    """

    def __init__(
        self,
        runner: PhaseRunner,
        coordinates: PriorCoordinates,
        reference: Reference,
        event_data: Any,
        model: WaveformModel,
        table: DistanceTable,
        *,
        n_phi: int,
        seed: int,
        folder: Path,
        label: str = "",
    ):
        self.runner = runner
        self.coordinates = coordinates
        self.reference = reference
        self.reference_k = _coordinates_of(reference, coordinates)
        self.event_data = event_data
        self.model = model
        self.table = table
        self.n_phi = n_phi
        self.seed = seed
        self.folder = folder
        self.label = label
        self._placing = Placing(reference, event_data, table, runner.store, n_phi)
        self.n_waveforms = 0
        self.n_likelihoods = 0
        self._n_calls = 0
        self._n_placed = 0
        self._placed: Placed | None = None
        self._kept: KeptProducts | None = None

    @property
    def placed(self) -> Placed:
        """The present extrinsic samples."""
        assert self._placed is not None
        return self._placed

    def around(self, reference: Reference, label: str) -> EventLikelihood:
        """Return the likelihood with another reference waveform; it counts on."""
        other = EventLikelihood(
            self.runner,
            self.coordinates,
            reference,
            self.event_data,
            self.model,
            self.table,
            n_phi=self.n_phi,
            seed=self.seed,
            folder=self.folder,
            label=label,
        )
        other.n_waveforms, other.n_likelihoods = self.n_waveforms, self.n_likelihoods
        return other

    # What the explorer calls

    def rough(self, z_ik: np.ndarray) -> np.ndarray:
        """Return single-detector ln likelihoods, summed over detectors, (n,)."""
        with OneThread():
            prepared = prepare_incoherent(self.reference.incoherent, self.n_phi)
            compile_incoherent(prepared)
        handle = self.runner.store.put(prepared)
        lnlike_i = self._map(
            "pilot",
            rough_likelihoods,
            z_ik,
            lambda parameters_ik: RoughTask(self.model, parameters_ik, handle),
        )
        return lnlike_i

    def __call__(self, z_ik: np.ndarray) -> np.ndarray:
        """Return ln likelihoods over the present extrinsic samples, (n,)."""
        placed, kept = self.placed, self._kept
        assert kept is not None
        keep = kept.has_room
        self.n_likelihoods += len(z_ik)
        return self._map(
            "likelihoods",
            likelihoods,
            z_ik,
            lambda parameters_ik: LikelihoodTask(
                self.model, parameters_ik, placed.filter.handle, placed.points, keep=keep
            ),
        )

    def adapt(
        self, z_ik: np.ndarray, lnlike_i: np.ndarray, ln_weight_i: np.ndarray
    ) -> None:
        """Draw extrinsic samples afresh for weighted points.

        Parameters
        ----------
        z_ik : (n, n_dim) float
        lnlike_i : (n,) float
            Their ln likelihoods, as far as known.
        ln_weight_i : (n,) float
            ln of prior over proposal density.
        """
        before = self._placed
        self._placed = self._place(
            z_ik, lnlike_i, ln_weight_i, N_EXT_EXPLORING, COUNTING_EXPLORING
        )
        if before is None or self._placed.filter is not before.filter:
            self._kept = KeptProducts(self._placed.filter.data)

    # What the result is made of

    def final(
        self,
        z_ik: np.ndarray,
        lnlike_i: np.ndarray,
        ln_weight_i: np.ndarray,
        *,
        n_ext: int,
        n_draws: int,
    ) -> tuple[ExtrinsicSamples, FinalResult, float]:
        """Return likelihoods over extrinsic samples drawn afresh, and draws of samples.

        Parameters
        ----------
        z_ik, lnlike_i, ln_weight_i
            As in :meth:`adapt`.
        n_ext : int
            Extrinsic samples.
        n_draws : int
            Draws of extrinsic samples and phases for each waveform.

        Returns
        -------
        samples : ExtrinsicSamples
        result : FinalResult
            Of all waveforms.
        ln_scale : float
            What was taken off ``ln_weight_i`` for the sums in it.
        """
        placed = self._place(z_ik, lnlike_i, ln_weight_i, n_ext, COUNTING)
        store = self.runner.store
        handles = {
            "response_dpe": store.put(placed.samples.response_dpe),
            "expand_dre": store.put(placed.expand_dre),
            "table": store.put(self.table),
        }
        ln_scale = float(np.max(ln_weight_i + lnlike_i))
        rng = self._rng("samples", self._n_placed)
        uniforms_ijx = rng.random((len(z_ik), n_draws, 2))
        parameters_ik = self.coordinates.parameters(z_ik)
        self._n_calls += 1
        tasks = [
            Task(
                f"{self.label}{self._n_calls:03d}/{start // BATCH:06d}",
                FinalTask(
                    LikelihoodTask(
                        self.model,
                        parameters_ik[start : start + BATCH],
                        placed.filter.handle,
                        placed.points,
                    ),
                    ln_weight_i=ln_weight_i[start : start + BATCH] - ln_scale,
                    uniforms_ijx=uniforms_ijx[start : start + BATCH],
                    **handles,
                ),
            )
            for start in range(0, len(z_ik), BATCH)
        ]
        results: dict[str, FinalResult] = {}
        for task, result in self.runner.map(
            "final likelihoods",
            final_likelihoods,
            tasks,
            n_tasks=len(tasks),
            work=lambda payload: len(payload.ln_weight_i),
            unit="waveform",
            refresh=lambda payload: replace(
                payload, likelihood=self._with_products(payload.likelihood)
            ),
        ):
            results[task.key] = result
        self._count(task.payload.likelihood for task in tasks)
        self.n_likelihoods += len(z_ik)
        return placed.samples, _joined([results[task.key] for task in tasks]), ln_scale

    def waveforms(self, phase: str, parameters_ik: np.ndarray) -> tuple:
        """Return amplitudes and phases of all parameters."""
        results = {}
        tasks = self._tasks(
            parameters_ik, lambda some_ik: WaveformTask(self.model, some_ik)
        )
        for task, result in self.runner.map(
            phase,
            generate,
            tasks,
            n_tasks=len(tasks),
            work=lambda payload: len(payload.parameters_ik),
            unit="waveform",
        ):
            results[task.key] = result
        made = [results[task.key] for task in tasks]
        self._count(task.payload for task in tasks)
        return (
            np.concatenate([some.amplitudes_impb for some in made]),
            np.concatenate([some.phases_impb for some in made]),
        )

    # How it is done

    def _rng(self, *path: str | int) -> np.random.Generator:
        return generator(self.seed, "adaptive", self.label, *path)

    def _map(
        self,
        phase: str,
        function: Callable,
        z_ik: np.ndarray,
        make: Callable[[np.ndarray], Any],
    ) -> np.ndarray:
        parameters_ik = self.coordinates.parameters(z_ik)
        tasks = self._tasks(parameters_ik, make)
        self._count(task.payload for task in tasks)
        lnlike_i = np.full(len(z_ik), np.nan)
        for task, result in self.runner.map(
            phase,
            function,
            tasks,
            n_tasks=len(tasks),
            work=lambda payload: len(payload.parameters_ik),
            unit="waveform",
            refresh=self._with_products,
            to_keep=lambda result: replace(result, products=None),
        ):
            start = int(task.key.rsplit("/", 1)[1]) * BATCH
            lnlike_i[start : start + len(result.lnlike_i)] = np.where(
                result.ok_i, result.lnlike_i, np.nan
            )
            kept = self._kept_for(task.payload)
            if kept is not None and task.payload.keep:
                kept.add(task.payload.parameters_ik, result.products)
        return lnlike_i

    def _kept_for(self, payload: Any) -> KeptProducts | None:
        """Return what is kept of products, if a task is about those."""
        if self._placed is None or not isinstance(payload, LikelihoodTask):
            return None
        return self._kept if payload.filter_data is self._placed.filter.handle else None

    def _with_products(self, payload: Any) -> Any:
        """Return the payload with the products of its waveforms, if they are at hand."""
        kept = self._kept_for(payload)
        products = None if kept is None else kept.of(payload.parameters_ik)
        return payload if products is None else replace(payload, products=products)

    def _count(self, payloads: Iterable[Any]) -> None:
        """Count the waveforms that tasks have to generate."""
        for payload in payloads:
            kept = self._kept_for(payload)
            if kept is None or not kept.knows(payload.parameters_ik):
                self.n_waveforms += len(payload.parameters_ik)

    def _tasks(
        self, parameters_ik: np.ndarray, make: Callable[[np.ndarray], Any]
    ) -> list[Task]:
        # Results are kept under these keys, each call's own.
        self._n_calls += 1
        return [
            Task(
                f"{self.label}{self._n_calls:03d}/{start // BATCH:06d}",
                make(parameters_ik[start : start + BATCH]),
            )
            for start in range(0, len(parameters_ik), BATCH)
        ]

    def _place(
        self,
        z_ik: np.ndarray,
        lnlike_i: np.ndarray,
        ln_weight_i: np.ndarray,
        n_ext: int,
        counting: float,
    ) -> Placed:
        """Draw extrinsic samples for waveforms drawn by weight."""
        self._n_placed += 1
        number = self._n_placed
        carriers = choose_carriers(
            z_ik, lnlike_i, ln_weight_i, self.coordinates.mirrors,
            self._rng("carriers", number), self.reference_k,
        )  # fmt: skip
        lnlike_k = carriers.lnlike_k
        bank_id = f"carriers_{self.label}{number}"
        bank = self._write_bank(bank_id, self.coordinates.parameters(carriers.z_kk))
        try:
            samples = draw_extrinsic_samples(
                self.runner,
                {bank_id: bank},  # type: ignore[dict-item]
                {bank_id: Survivors(np.arange(len(lnlike_k)), lnlike_k[None], lnlike_k)},
                self.reference,
                self.event_data,
                n_ext=n_ext,
                n_phi=self.n_phi,
                seed=int(self._rng("place", number).integers(2**31)),
                distance_table=self.table,
                log_prior_weights={bank_id: carriers.ln_weight_k},
                n_int={bank_id: len(z_ik)},
                pool_size=FIRST_POOL,
                n_pool_effective=counting * n_ext,
                parent_temperature=1.0,  # they were drawn by weight already
            )
        finally:
            shutil.rmtree(bank.handle.folder, ignore_errors=True)
        return self._placing.place(samples, self._placed)

    def _write_bank(self, bank_id: str, parameters_ik: np.ndarray) -> GeneratedBank:
        amplitudes_impb, phases_impb = self.waveforms("carriers", parameters_ik)
        handle = BankHandle(
            folder=str(self.folder / bank_id),
            bank_id=bank_id,
            n_waveforms=len(parameters_ik),
            blocksize=len(parameters_ik),
            n_m=amplitudes_impb.shape[1],
            n_b=amplitudes_impb.shape[3],
        )
        for kind, array in (("amplitudes", amplitudes_impb), ("phase", phases_impb)):
            path = handle.block_path(kind, 0)
            make_folder_of(path)
            with atomic_write(path, sync=False) as temporary:
                np.save(temporary, array)
        return GeneratedBank(handle)


def _coordinates_of(
    reference: Reference, coordinates: PriorCoordinates
) -> np.ndarray | None:
    par_dic = reference.par_dic_0
    z_k = coordinates.of_parameters(np.array([[par_dic[name] for name in PARAMETERS]]))[0]
    return z_k if np.isfinite(z_k).all() else None


def _joined(results: list[FinalResult]) -> FinalResult:
    """Return the results of all batches as one, summed in their order."""
    names = ("lnlike_i", "ok_i", "dt_i", "e_ij", "o_ij", "dh_ij", "hh_ij", "bestfit_ij",
             "lnlike_ij")  # fmt: skip
    columns_e = results[0].columns_e.copy()
    for result in results[1:]:
        columns_e += result.columns_e
    return FinalResult(
        columns_e=columns_e,
        squares=sum(result.squares for result in results),
        **{name: np.concatenate([getattr(r, name) for r in results]) for name in names},
    )
