"""The workloads of a user's own, by the ids of their cases."""

from __future__ import annotations

import re

_ID = re.compile(r"(?:numerics/|behaviour/)?workload/([^/]+)/")


def workload_of(case: str) -> str | None:
    """Returns the workload that a case is of, such as "model" of "numerics/workload/model/float64"; None for others."""
    found = _ID.match(case)
    return found[1] if found else None
