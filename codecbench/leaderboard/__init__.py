"""A static site of many results folders, each verified: who carries the tensor in the fewest bytes."""

from codecbench.leaderboard.ranking import Entrant, Ranked, Ranking, rankings
from codecbench.leaderboard.site import write_site

__all__ = ["Entrant", "Ranked", "Ranking", "rankings", "write_site"]
