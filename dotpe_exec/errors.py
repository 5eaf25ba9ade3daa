"""Every exception that this package raises on purpose.

All derive from :class:`DotpeExecError` and from the built-in that fits, so that
``except ValueError`` in existing scripts keeps working. A message is one sentence
that names the file or parameter, what was found and what was expected.
"""


class DotpeExecError(Exception):
    """Base class of the errors of this package."""


class InputError(DotpeExecError, ValueError):
    """A parameter has a value that cannot be used."""


class BankError(DotpeExecError, ValueError):
    """A bank folder, or one of its files, is not what the format demands."""


class EventError(DotpeExecError, ValueError):
    """An event cannot be used: wrong file, missing detectors, bad data."""


class RunDirectoryError(DotpeExecError, ValueError):
    """A run directory cannot be written, belongs to another run, or is damaged."""


class MissingFileError(DotpeExecError, FileNotFoundError):
    """A file or folder that was asked for does not exist."""

    def __init__(self, message: str):
        # FileNotFoundError would print "[Errno ...]" for other argument counts.
        super().__init__(message)


class SelectionError(DotpeExecError, ValueError):
    """No waveform passed the incoherent selection."""


class NonFiniteError(DotpeExecError, ValueError):
    """Waveforms or likelihoods contain NaN or infinity."""


class ExecutorError(DotpeExecError, RuntimeError):
    """The executor cannot do what is asked of it."""


class UnknownExecutorError(ExecutorError, ValueError):
    """The name or object given as ``executor=`` is not one that we know."""


class TaskError(ExecutorError):
    """A task raised an exception; its traceback in the worker is part of the message."""


class WorkerCrashError(ExecutorError):
    """A task killed its worker more often than ``max_retries`` allows."""
