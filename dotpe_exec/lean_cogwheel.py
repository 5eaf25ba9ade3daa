"""Importing cogwheel without what only its pictures, downloads and samplers need.

On the way to a likelihood cogwheel's modules import astropy (for a table of redshifts that
is computed at once), pyplot, gwpy and IPython, and SciPy's statistics and signal
processing: more than half of the time that all their imports take, and nothing that a run
uses. The modules listed here get, under the names that they import, stand-ins that import
the real thing when it is first used. Nobody else sees them: ``sys.modules`` holds real
modules alone, so that an ``import`` elsewhere, in any thread, does what it always does.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

# What each module of cogwheel imports and need not have before it is used.
_DEFERRED = {
    "cogwheel.utils": {"IPython"},
    "cogwheel.data": {"matplotlib.pyplot", "gwpy.timeseries", "gwosc", "scipy.signal"},
    "cogwheel.likelihood.likelihood": {"matplotlib.pyplot", "scipy.stats"},
    "cogwheel.likelihood.marginalization.base": {"scipy.signal", "scipy.stats"},
    "cogwheel.likelihood.marginalization.lookup_table": {
        "cogwheel.cosmology",
        "scipy.stats",
    },
    "cogwheel.likelihood.marginalization.skydict": {"scipy.signal", "scipy.stats.qmc"},
    "cogwheel.likelihood.reference_waveform_finder": {"scipy.stats.qmc"},
    "cogwheel.gw_prior.extrinsic": {"cogwheel.cosmology"},
}

_lock = threading.Lock()
_importing = threading.local()


def lean_cogwheel() -> None:
    """Let cogwheel's modules import what they need, and the rest when it is used.

    Call it before the first import of cogwheel; later, it changes nothing. Modules that
    are loaded already stay as they are.
    """
    with _lock:
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            # It stays: taking a finder out would confuse imports in other threads.
            sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the list where they are, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _DEFERRED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        # Source alone: a loader of another kind may not run what it is given.
        if spec is None or type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return spec
        spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs a module whose ``import`` hands out stand-ins for what can wait."""

    def exec_module(self, module: ModuleType) -> None:
        own_import = _import_for(_DEFERRED[module.__name__])
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": own_import}
        _importing.depth = _depth() + 1
        try:
            super().exec_module(module)
        finally:
            _importing.depth -= 1


def _depth() -> int:
    """Return how many modules of the list this thread is running at this moment."""
    return getattr(_importing, "depth", 0)


def _import_for(deferred: set[str]) -> Callable[..., Any]:
    """Return a module's own ``__import__``."""

    def import_(
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        names = [name] if level == 0 else []
        if level == 0 and fromlist:
            names += [f"{name}.{each}" for each in fromlist]
        late = [each for each in names if each in deferred]
        if not late:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        return _standin(late[0], name, tuple(fromlist or ()))

    return import_


def _standin(late: str, name: str, fromlist: tuple[str, ...]) -> Any:
    """Return what ``import`` shall give: a package, a module, or a holder of names."""
    if late == "IPython":
        return SimpleNamespace(get_ipython=_get_ipython)
    if late == "gwpy.timeseries":
        return _Gwpy("gwpy")
    if late == "matplotlib.pyplot":
        # ``import a.b as c`` looks for b in what it is given for a.
        return SimpleNamespace(pyplot=_Pyplot(late))
    if not fromlist and late.startswith("scipy."):
        return importlib.import_module("scipy")  # which imports its parts itself when used
    if not fromlist:
        return _Module(late)
    if name == late:
        return SimpleNamespace(**{each: _function(late, each) for each in fromlist})
    last = late.rpartition(".")[2]
    return SimpleNamespace(
        **{
            each: (_Stats if late == "scipy.stats" else _Module)(late)
            if each == last
            else getattr(importlib.import_module(name), each)
            for each in fromlist
        }
    )


def _get_ipython() -> Any:
    """IPython's function: in a process that has not loaded IPython there is no shell."""
    ipython = sys.modules.get("IPython")
    return ipython and ipython.get_ipython()


def _function(module: str, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    call.__name__ = name
    return call


class _Module(ModuleType):
    """Imports the module of its name when an attribute is used."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") and attribute.endswith("__"):
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self.__name__), attribute)


class _Stats(_Module):
    """SciPy's statistics, of which every likelihood uses one function."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "chi":
            return SimpleNamespace(isf=_chi_isf)
        return super().__getattr__(attribute)


def _chi_isf(q: float, df: float) -> float:
    """Return what ``scipy.stats.chi.isf`` does."""
    from scipy.special import gammainccinv

    return float((2 * gammainccinv(0.5 * df, q)) ** 0.5)


class _Pyplot(_Module):
    """Pyplot, whose settings need no repair as long as gwpy has not changed them."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "rcdefaults" and _depth():
            return lambda: None
        return super().__getattr__(attribute)


class _Gwpy(_Module):
    """gwpy, which changes settings of matplotlib when it is imported: kept from that."""

    def __getattr__(self, attribute: str) -> Any:
        if _depth():
            if attribute == "plot":  # cogwheel's repair of what gwpy does
                axes = SimpleNamespace(register_projection=lambda _: None, _Axes=None)
                return SimpleNamespace(axes=axes)
            if attribute == "timeseries":  # in an annotation
                return SimpleNamespace(TimeSeries="gwpy.timeseries.TimeSeries")
        import_gwpy()
        return super().__getattr__(attribute)


def import_gwpy() -> None:
    """Import ``gwpy.timeseries``, with matplotlib's settings and axes as they were."""
    if "gwpy.timeseries" in sys.modules:
        return
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.projections import register_projection

    with mpl.rc_context():
        importlib.import_module("gwpy.timeseries")
    register_projection(Axes)
