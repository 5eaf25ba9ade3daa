"""How the work is cut up and spread: configuration, defaults, cache per machine.

Batch sizes (``i_batch``, ``e_blocksize``) fix the arithmetic and so, to rounding, the
result; everything else here only changes how fast it comes.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import functools
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ._version import __version__
from .atomic import write_json
from .cache_folder import user_cache_folder
from .errors import DotpeExecError, InputError, RunDirectoryError
from .machine import check_memory_gb, machine_signature, usable_cores
from .validation import positive_integer

logger = logging.getLogger(__name__)

DEFAULT_BLOCKSIZE = 512
_CACHE_FORMAT = 1
_ignored: contextvars.ContextVar[bool] = contextvars.ContextVar("ignored", default=False)


@dataclass(frozen=True)
class MulticoreConfig:
    """How to spread a run over processes; None leaves a value to be decided.

    Parameters
    ----------
    n_procs : int, optional
        Number of worker processes.
    i_batch : int, optional
        Waveforms per batch of the incoherent phase.
    batches_per_task : int, optional
        Batches that travel to a worker together; by default as many as take about a
        quarter of a second.
    pairs_per_task : int, optional
        Same for the (waveform batch, extrinsic block) pairs of the coherent phase.
    e_blocksize : int, optional
        Extrinsic samples per block of the coherent phase.
    i_tile, e_tile : int, optional
        Waveforms and extrinsic samples that the coherent kernel holds at a time.
    max_memory_gb : float, optional
        Memory that all processes of the run may use together [GB].

    Raises
    ------
    InputError
        A value is not a positive number.
    """

    n_procs: int | None = None
    i_batch: int | None = None
    batches_per_task: int | None = None
    pairs_per_task: int | None = None
    e_blocksize: int | None = None
    i_tile: int | None = None
    e_tile: int | None = None
    max_memory_gb: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "max_memory_gb":
                value = check_memory_gb(item.name, value)
            elif value is not None:
                value = positive_integer(item.name, value)
            object.__setattr__(self, item.name, value)

    def to_dict(self) -> dict[str, Any]:
        """Return the values as a dictionary, those not set as None."""
        return asdict(self)

    @classmethod
    def from_dict(cls, dic: Mapping[str, Any]) -> MulticoreConfig:
        """Return the configuration of such a dictionary; missing values are not set.

        Raises
        ------
        InputError
            It is not a dictionary, has unknown keys, or a value cannot be used.
        """
        if not isinstance(dic, Mapping):
            raise InputError(
                f"multicore_config is a {type(dic).__name__}, expected a MulticoreConfig "
                "or a dictionary"
            )
        known = [item.name for item in fields(cls)]
        if unknown := sorted(str(key) for key in dic if key not in known):
            raise InputError(
                f"multicore_config has no {', '.join(unknown)}, expected some of "
                f"{', '.join(known)}"
            )
        return cls(**dic)


@dataclass(frozen=True)
class ResolvedConfig:
    """A configuration with everything decided that must be known before a run.

    What is still None is decided while running, without an effect on the result. For the
    other parameters see :class:`MulticoreConfig`.

    Parameters
    ----------
    i_blocksize : int
        Waveforms per batch of the coherent phase.
    sources : dict
        Where each value comes from: ``keyword``, ``multicore_config``, ``blocksize``,
        ``cache`` or ``default``.
    """

    n_procs: int
    i_batch: int
    i_blocksize: int
    e_blocksize: int
    batches_per_task: int | None = None
    pairs_per_task: int | None = None
    i_tile: int | None = None
    e_tile: int | None = None
    max_memory_gb: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def sizes(self) -> dict[str, int]:
        """Return what fixes the arithmetic, to be recorded in the run directory."""
        return {
            "i_batch": self.i_batch,
            "i_blocksize": self.i_blocksize,
            "e_blocksize": self.e_blocksize,
        }

    def with_sizes(self, sizes: Mapping[str, int]) -> ResolvedConfig:
        """Return the same configuration with such sizes, as a run directory records."""
        return replace(
            self,
            i_batch=sizes["i_batch"],
            i_blocksize=sizes["i_blocksize"],
            e_blocksize=sizes["e_blocksize"],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the values and their sources."""
        return asdict(self)


def resolve_config(
    *,
    multicore_config: MulticoreConfig | Mapping[str, Any] | None = None,
    cached: MulticoreConfig | None = None,
    single_detector_blocksize: int = DEFAULT_BLOCKSIZE,
    blocksize: int = DEFAULT_BLOCKSIZE,
    **keywords: Any,
) -> ResolvedConfig:
    """Decide on a configuration.

    A keyword wins over ``multicore_config``, that over the cached configuration, that
    over the default. The defaults: all usable cores; ``single_detector_blocksize``
    waveforms per incoherent batch and ``blocksize`` extrinsic samples per block. A block
    size other than its default was asked for, and wins over the cached configuration.

    Parameters
    ----------
    multicore_config : MulticoreConfig or dict, optional
    cached : MulticoreConfig, optional
        From :func:`load_cached_config`.
    single_detector_blocksize, blocksize : int
        Arguments of the run.
    **keywords
        Fields of :class:`MulticoreConfig` given as arguments of the run; None means not
        given.

    Raises
    ------
    InputError
    """
    if multicore_config is None:
        given = MulticoreConfig()
    elif isinstance(multicore_config, MulticoreConfig):
        given = multicore_config
    else:
        given = MulticoreConfig.from_dict(multicore_config)
    blocks = {
        name: size
        for name, size in (
            ("i_batch", single_detector_blocksize),
            ("e_blocksize", blocksize),
        )
        if size != DEFAULT_BLOCKSIZE
    }
    layers = [
        ("keyword", MulticoreConfig.from_dict(keywords)),
        ("multicore_config", given),
        ("blocksize", MulticoreConfig.from_dict(blocks)),
        ("cache", cached or MulticoreConfig()),
        (
            "default",
            MulticoreConfig(i_batch=DEFAULT_BLOCKSIZE, e_blocksize=DEFAULT_BLOCKSIZE),
        ),
    ]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for item in fields(MulticoreConfig):
        for source, layer in layers:
            value = getattr(layer, item.name)
            if value is not None:
                values[item.name], sources[item.name] = value, source
                break
    if "n_procs" not in values:
        values["n_procs"], sources["n_procs"] = usable_cores(), "default"
    values["i_blocksize"] = positive_integer("blocksize", blocksize)
    return ResolvedConfig(**values, sources=sources)


# The cache


def get_shared_config_cache_path() -> Path:
    """Return where this machine's configuration is kept.

    ``multicore_config_<signature>.json`` in the user's cache directory: on Linux
    ``$XDG_CACHE_HOME/dotpe``, by default ``~/.cache/dotpe``. The file may not exist.
    """
    folder = user_cache_folder()
    return folder / f"multicore_config_{machine_signature()}.json"


def save_config(
    config: MulticoreConfig,
    *,
    tuned_on: str | None = None,
    verdict: str | None = None,
    path: str | os.PathLike | None = None,
) -> Path | None:
    """Keep a configuration for the next runs on this machine.

    Parameters
    ----------
    config : MulticoreConfig
    tuned_on : str, optional
        The data with which it was found, for the reader of the file.
    verdict : str, optional
        How sure that is, for the same reader.
    path : path, optional
        Default: :func:`get_shared_config_cache_path`.

    Returns
    -------
    pathlib.Path or None
        The file; None, after a warning, where it cannot be written.
    """
    target = Path(path) if path is not None else get_shared_config_cache_path()
    content = {
        "format": _CACHE_FORMAT,
        "config": config.to_dict(),
        "version": __version__,
        "kernels": kernels_digest(),
        "tuned_on": tuned_on,
        "verdict": verdict,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec="seconds"
        ),
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, content)
    except (OSError, RunDirectoryError) as error:
        logger.warning("the configuration is not kept for later runs: %s", error)
        return None
    return target


def load_cached_config(path: str | os.PathLike | None = None) -> MulticoreConfig | None:
    """Return the configuration kept for this machine, None if there is none to use.

    One that is damaged, or was tuned with other kernels, is not used; both are said in a
    log message and neither is an error.
    """
    if path is None and _ignored.get():
        return None
    target = Path(path) if path is not None else get_shared_config_cache_path()
    try:
        text = target.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        logger.warning("the cached configuration %s is not used: %s", target, error)
        return None
    try:
        content = json.loads(text)
        if content["format"] != _CACHE_FORMAT:
            raise InputError(f"its format is {content['format']!r}, not {_CACHE_FORMAT}")
        if content["version"] != __version__ or content["kernels"] != kernels_digest():
            logger.info(
                "the cached configuration %s was tuned with other kernels (version %s) and "
                "is not used; `dotpe-exec autotune` renews it",
                target,
                content["version"],
            )
            return None
        return MulticoreConfig.from_dict(content["config"])
    except (DotpeExecError, KeyError, TypeError, ValueError, RecursionError) as error:
        logger.warning(
            "the cached configuration %s is damaged and not used: %r", target, error
        )
        return None


@contextlib.contextmanager
def without_cached_config() -> Iterator[None]:
    """Let runs in this context know nothing of how this machine was tuned."""
    token = _ignored.set(True)
    try:
        yield
    finally:
        _ignored.reset(token)


@functools.lru_cache(maxsize=1)
def kernels_digest() -> str:
    """Return a hash of the kernels' sources: what a tuned configuration belongs to."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted((Path(__file__).parent / "kernels").glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
