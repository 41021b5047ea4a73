"""Family ``distributed``: one step of several processes, ranks, that train one network, timed by rank 0."""

import sys

from bnsuite.cases.distributed.case import CASES, RATIOS, DistributedCase

__all__ = ["CASES", "RATIOS", "DistributedCase", "end_ranks"]


def end_ranks() -> None:
    """Ends the ranks that an earlier case of this process has started, if one has; imports nothing."""
    ranks = sys.modules.get(f"{__name__}.ranks")
    if ranks is not None:
        ranks.close()
