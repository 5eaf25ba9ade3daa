"""The decorator of compiled functions, and how their compiled code is kept on disk.

Numba keeps compiled code in files that it trusts: one that a power cut left empty, or in
which a bit flipped, ends every later process, some without a word. Here each file ends
with a checksum, and one that disagrees is compiled anew. Where there is no folder that
only this user can write, or none at all, functions are compiled in each process. What
one process compiles, others that need it at this moment wait for.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numba
from numba.core import caching, config

try:
    import fcntl
except ImportError:  # another system than a Unix: all compile for themselves
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

REORDER = {"reassoc", "contract", "nsz"}
"""Flags of loops whose sums may be reassociated, so that they run in vector registers; NaN
and infinity keep their meaning."""

CONTRACT = {"contract"}
"""Flags of loops in which products may be fused with sums, and nothing else."""

_DIGEST_SIZE = 16  # bytes
# A process waits so long at most for another that compiles the same, and looks so often.
_MAX_WAIT_S = 60.0
_LOOK_EVERY_S = 0.02

_caches: list[Any] = []  # of each compiled function; None where nothing can be kept


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called, and keep its compiled code.

    Parameters
    ----------
    **options
        Of ``numba.njit``. Division by zero gives infinity or NaN unless ``error_model``
        says otherwise.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = numba.njit(**{"error_model": "numpy", **options})(function)
        cache = None
        try:
            cache = compiled._cache = _KernelCache(function)
            compiled.compile = _releasing(compiled.compile, cache)
        except (RuntimeError, OSError) as error:  # no locator: nowhere to keep it
            logger.debug("compiled code of %s is not kept: %s", function.__name__, error)
        _caches.append(cache)
        return compiled

    return decorate


def is_to_compile() -> bool:
    """Return whether most compiled functions that were imported are yet to be compiled."""
    kept = sum(bool(cache is not None and cache.is_kept()) for cache in _caches)
    return 2 * kept < len(_caches)


def is_kept(compiled: Any, types: tuple[Any, ...]) -> bool:
    """Return whether the compiled code of a function is on disk for these types."""
    cache = compiled._cache
    return isinstance(cache, _KernelCache) and cache.holds(types, compiled.targetctx)


def keeps_compiled_code() -> bool:
    """Return whether what one process compiles is there for the next one."""
    return any(cache is not None for cache in _caches)


def _releasing(compile_: Callable[..., Any], cache: _KernelCache) -> Callable[..., Any]:
    def compile_and_release(types: Any) -> Any:
        try:
            return compile_(types)
        finally:
            cache.release()

    return compile_and_release


def _is_private(folder: str) -> bool:
    """Return whether nobody but this user, and root, can write to a folder."""
    try:
        status = os.stat(folder)  # noqa: PTH116
    except OSError:
        return False
    others = 0o002 if status.st_gid == os.getegid() else 0o022
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & others


def _private(locator_class: Any) -> Any:
    """Return a locator that takes a folder only if it is private to this user."""

    class Private(locator_class):
        @classmethod
        def from_function(cls, py_func: Any, py_file: str) -> Any:
            locator = cls(py_func, py_file) if cls._applies(py_file) else None
            # Without a home, "~" would become the name of a folder here.
            if locator is None or not os.path.isabs(locator.get_cache_path()):  # noqa: PTH117
                return None
            try:
                locator.ensure_cache_path()
            except OSError:
                return None
            return locator if _is_private(locator.get_cache_path()) else None

        @staticmethod
        def _applies(py_file: str) -> bool:
            if locator_class is caching.UserProvidedCacheLocator:
                return bool(getattr(config, "CACHE_DIR", None))  # set by its module's code
            return os.path.exists(py_file)  # noqa: PTH110

    return Private


class _Impl(caching.CompileResultCacheImpl):
    _locator_classes: ClassVar[list[Any]] = [  # type: ignore[misc]
        _private(caching.UserProvidedCacheLocator),
        _private(caching.InTreeCacheLocator),
        _private(caching.UserWideCacheLocator),
    ]


class _CheckedFile(caching.IndexDataCacheFile):
    """Files of compiled code that end with a checksum."""

    def save(self, key: Any, data: Any) -> None:
        try:
            super().save(key, data)
        except OSError as error:  # a full disk: the next process compiles again
            logger.debug("compiled code is not kept: %s", error)

    def _load_index(self) -> dict[Any, str]:
        try:
            content = io.BytesIO(_read(self._index_path))
        except OSError:
            return {}
        if pickle.load(content) != self._version:
            return {}
        stamp, overloads = pickle.load(content)
        return overloads if stamp == self._source_stamp else {}

    def _load_data(self, name: str) -> Any:
        return pickle.loads(_read(self._data_path(name)))  # an OSError is a miss

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + _digest(content.getvalue()))


class _KernelCache(caching.FunctionCache):
    _impl_class = _Impl

    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        self._cache_file = _CheckedFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

        self._claim: int | None = None  # descriptor of the file that is locked

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return compiled code; None if this process is to compile it."""
        found = super().load_overload(sig, target_context)
        if found is None and self._claim is None:
            self._claim = _locked(self._claim_path)
            if self._claim is not None:  # it may have been compiled meanwhile
                found = super().load_overload(sig, target_context)
        return found

    def release(self) -> None:
        """Let others go on that wait for what was compiled, or could not be."""
        descriptor, self._claim = self._claim, None
        if descriptor is None:
            return
        # Before it is unlocked: no file stays, and who waits for it finds the code.
        with contextlib.suppress(OSError):
            os.unlink(self._claim_path)  # noqa: PTH108
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may have it open, too
        os.close(descriptor)

    @property
    def _claim_path(self) -> str:
        return f"{self._cache_file._index_path}.lock"

    def is_kept(self) -> bool:
        """Return whether there is compiled code of this very source."""
        return bool(self._cache_file._load_index())

    def holds(self, types: tuple[Any, ...], target_context: Any) -> bool:
        """Return whether there is compiled code of this very source for these types."""
        key = self._index_key(types, target_context.codegen())
        return key in self._cache_file._load_index()


def _locked(path: str) -> int | None:
    """Return the descriptor of a file when nobody else has it locked; None at trouble."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # a full disk, or a folder that is gone
        return None
    deadline = time.monotonic() + _MAX_WAIT_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_EVERY_S)
        except OSError:  # a file system without locks
            break
        else:
            return descriptor
    os.close(descriptor)
    return None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()


def _read(path: str) -> bytes:
    """Return what a file holds before its checksum, or raise OSError."""
    with open(path, "rb") as file:  # noqa: PTH123
        data = file.read()
    content, digest = data[:-_DIGEST_SIZE], data[-_DIGEST_SIZE:]
    if _digest(content) != digest:
        raise OSError(f"{path} is damaged, or was not written by this package")
    return content
