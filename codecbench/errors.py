"""The errors that users and plugin authors see."""

from __future__ import annotations

import re
from enum import StrEnum


class FailureCode(StrEnum):
    """The kind of a fault in a codec's code, for programs to decide by. An error's text is for people alone."""

    RAISED = "raised"
    """The codec raised an error of its own."""
    NO_MEMORY = "no_memory"
    NOT_BYTES = "not_bytes"
    WRONG_COUNT = "wrong_count"
    """A batch gave another number of results than it was given items."""
    CHANGED_INPUT = "changed_input"
    WRONG_TENSOR = "wrong_tensor"
    NOT_FINITE = "not_finite"


class CodecbenchError(Exception):
    """Base of every error that is the user's to mend. Its text is one line: what was wrong, what to do."""


class UsageError(CodecbenchError):
    """A name, an option or a configuration that does not fit. The command line ends with status 2."""


class PluginError(CodecbenchError):
    """A plugin that cannot be loaded or breaks the contract."""


class DataError(CodecbenchError):
    """A dataset, weight file or record that is missing, damaged or of another version."""


class PayloadError(CodecbenchError):
    """A payload that does not decode. A codec may raise anything; core turns it into this."""

    def __init__(self, *args: object, code: FailureCode = FailureCode.RAISED) -> None:
        super().__init__(*args)
        self.code = code


class WorkerError(CodecbenchError):
    """A failure in a worker process, in one line."""


class CodecFailure(WorkerError):
    """The codec raised, or gave something that the contract does not allow. The worker lives on."""

    def __init__(self, *args: object, code: FailureCode = FailureCode.RAISED) -> None:
        super().__init__(*args)
        self.code = code


class WorkerTimeout(WorkerError):
    """The worker did not answer in time and was killed."""


class WorkerDied(WorkerError):
    """The worker process ended by itself: a crash, or no memory left."""


def one_line(error: BaseException | None) -> str:
    """An error's kind and text in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def without_folders(text: str) -> str:
    """The text with every file named without its folders, for records, which other machines read."""
    return _FOLDERS.sub("", text)


_FOLDERS = re.compile(r"""(?<![^\s'"(\[=,])/(?:[^\s'"/]+/)+""")
"""The folders of an absolute path, at the begin of a word or behind a quote or a bracket."""
