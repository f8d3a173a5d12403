"""codecbench from Python: `codecbench.run(...)` measures, `codecbench.load(DIR)` reads, `Results` shows."""

from codecbench.api.plans import ResultPlan
from codecbench.api.results import Results, load, run
from codecbench.api.tables import ResultTable

__all__ = ["ResultPlan", "ResultTable", "Results", "load", "run"]
