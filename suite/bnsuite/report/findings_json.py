"""``findings.json``: the findings for machines, each with its reason in words for people and jq."""

from __future__ import annotations

import json

from bnsuite.judge.verdict import Judgement
from bnsuite.report.reasons import words


def text(judgement: Judgement) -> str:
    """Returns the file; `summary` beside a `reason` is that reason in words, and is not read."""
    plain = judgement.model_dump(mode="json", by_alias=True)
    for record, finding in zip(plain["findings"], judgement.findings, strict=True):
        record["summary"] = words(finding)
    return json.dumps(plain, indent=1, ensure_ascii=False)
