"""A plugin of tox: the runner `shared`, for environments that live in one folder.

tox builds an environment anew when it was built under another name. Here the names differ only in the commands, and
each rebuilding would install torch again, so the name that is kept beside the environment is the same for all.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from tox.plugin import impl
from tox.tox_env.api import ToxEnv
from tox.tox_env.info import Info
from tox.tox_env.python.virtual_env.runner import VirtualEnvRunner
from tox.tox_env.register import ToxEnvRegister


class SharedInfo(Info):
    """What is known of the folder, under one name whichever environment asks."""

    def compare(
        self, value: Any, section: str, sub_section: str | None = None
    ) -> AbstractContextManager[tuple[bool, Any]]:
        """Compare with what is kept. Changed dependencies or another Python still rebuild the folder."""
        if section == ToxEnv.__name__:
            value = {**value, "name": "shared"}
        return super().compare(value, section, sub_section)


class SharedRunner(VirtualEnvRunner):
    """A virtual environment that several tox environments run in, one after the other."""

    @staticmethod
    def id() -> str:
        """The value of `runner` in tox.ini."""
        return "shared"

    @property
    def cache(self) -> Info:
        """What is known of the folder."""
        return SharedInfo(self.env_dir)


@impl
def tox_register_tox_env(register: ToxEnvRegister) -> None:
    """Register the runner."""
    register.add_run_env(SharedRunner)
