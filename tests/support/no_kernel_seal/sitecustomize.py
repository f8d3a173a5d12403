"""Python imports this module at its start if its folder is on the path: a kernel without Landlock and seccomp.

Only tests put this folder on the path. What runs so is recorded as sealed by the audit hook alone.
"""

from __future__ import annotations

import errno
import os
from typing import Any, NoReturn

from codecbench.isolation.landlock import KernelCalls


def _missing(*args: Any, **kwargs: Any) -> NoReturn:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


KernelCalls.__call__ = _missing  # type: ignore[method-assign]
KernelCalls.prctl = _missing  # type: ignore[method-assign]
