"""What the bases of adapters do for all of them."""

from __future__ import annotations

import pytest
from support.descriptions import describe

from codecbench.adapters.kinds import adapter
from codecbench.errors import UsageError


@pytest.mark.parametrize("task", ["classification", "ctc", "regression", "segmentation"])
def test_a_task_that_takes_nothing_behind_it_says_so(task: str) -> None:
    module, argument = adapter("task", f"{task}:more")
    with pytest.raises(UsageError, match=rf"^--task {task}:more: {task} takes nothing behind it$"):
        module.open_task(argument, describe(task=f"{task}:more"))
