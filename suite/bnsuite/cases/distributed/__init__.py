"""Family ``distributed``: one step of several processes, ranks, that train one network, timed by rank 0."""

from bnsuite.cases.distributed.case import CASES, RATIOS, DistributedCase

__all__ = ["CASES", "RATIOS", "DistributedCase"]
