"""Objects to bytes and back, in parent and workers alike.

``pickle`` does nearly everything, fast. What it cannot do (lambdas, closures), and what it
would do wrongly (functions and classes of ``__main__``, which a worker does not have), is
left to ``cloudpickle``.
"""

from __future__ import annotations

import pickle
from typing import Any

loads = pickle.loads


def dumps(obj: Any) -> bytes:
    """Return the object as bytes that :func:`loads` understands in any process.

    Raises
    ------
    Exception
        Whatever ``cloudpickle`` raises for an object that it cannot pickle either.
    """
    try:
        blob = pickle.dumps(obj, protocol=pickle.HIGHEST_PROTOCOL)
        if b"__main__" not in blob:
            return blob
    except Exception:  # pickle has no common error class: AttributeError, TypeError ...
        pass
    import cloudpickle  # not needed by most runs, and workers start faster without it

    return cloudpickle.dumps(obj, protocol=pickle.HIGHEST_PROTOCOL)
