"""The errors that users and plugin authors see."""

from __future__ import annotations

import re
from enum import StrEnum


class FailureCode(StrEnum):
    """The kind of a fault in a codec. Code decides by this value, never by the text of an error."""

    RAISED = "raised"
    """The codec raised an exception."""
    UNSUITED = "unsuited"
    """The codec's fit raised UnsuitedModelError."""
    NO_MEMORY = "no_memory"
    NOT_BYTES = "not_bytes"
    WRONG_COUNT = "wrong_count"
    """A batch method returned more or fewer results than it got items."""
    CHANGED_INPUT = "changed_input"
    WRONG_TENSOR = "wrong_tensor"
    NOT_FINITE = "not_finite"
    NOT_REPEATED = "not_repeated"
    """A new instance gave other bytes, or another tensor, for the same sample."""


class CodecbenchError(Exception):
    """The base of all errors that the user can fix. The text is one line: what is wrong and what to do.

    `frames` are lines of a plugin's own code, of an error that crossed from another process; see `locations.frames_of`.
    """

    frames: tuple[str, ...] = ()


class UsageError(CodecbenchError):
    """A name, an option or a configuration that does not fit. The command line ends with status 2."""


class PluginError(CodecbenchError):
    """A plugin that cannot be loaded or breaks the contract."""


class DataError(CodecbenchError):
    """A dataset, weight file or record that is missing, damaged or of another version."""


class UnsuitedModelError(CodecbenchError):
    """Raised by a codec's `fit` for a model that this point is not made for. Its cell is skipped with this reason."""


class PayloadError(CodecbenchError):
    """A payload that does not decode. Whatever exception a codec's decode raises becomes this one."""

    def __init__(self, *args: object, code: FailureCode = FailureCode.RAISED) -> None:
        super().__init__(*args)
        self.code = code


class WorkerError(CodecbenchError):
    """A failure in a worker process. The text is one line."""


class CodecFailure(WorkerError):
    """The codec raised, or returned something that the contract does not allow. The worker keeps running."""

    def __init__(self, *args: object, code: FailureCode = FailureCode.RAISED) -> None:
        super().__init__(*args)
        self.code = code


class WorkerTimeout(WorkerError):
    """The worker did not answer in time and was killed."""


class WorkerDied(WorkerError):
    """The worker process ended by itself: it crashed or ran out of memory."""


def one_line(error: BaseException | None) -> str:
    """Return the type and text of an error in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def without_folders(text: str) -> str:
    """Return the text with folders removed from absolute paths: records must not name folders of one machine."""
    return _FOLDERS.sub("", text)


_FOLDERS = re.compile(r"""(?<![^\s'"(\[=,:])/(?:[^\s'"/]+/)+""")
"""The folders of an absolute path, at the start of a word or after a quote, a bracket or a colon."""


def shown(value: object) -> str:
    """Return a value in one short line, with its type if that is not Python's own."""
    text = " ".join(repr(value).split())[:80]
    kind = type(value)
    return text if kind.__module__ == "builtins" else f"{text} ({kind.__module__}.{kind.__name__})"
