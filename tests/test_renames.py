"""Ids of earlier versions, and the kinds and labels they imply."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnsuite.cases import all_cases
from bnsuite.record import pins
from bnsuite.record.lines import CheckLine
from bnsuite.record.renames import PREFIXES, current_id, is_retired, old_id, with_kind
from bnsuite.record.select import matcher
from bnsuite.record.store import parse
from conftest import ROOT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("numerics/ref/batch_norm2d/train/eps", "numerics/reference/batch_norm2d/train/eps"),
        ("behaviour/m-step/*/train/*", "behaviour/peak-memory/*/train/*"),
        ("behaviour/compile/inductor/kin2d/large", "behaviour/compile/inductor/other-norms-2d/large"),
        ("relation/kin-vs-batch-norm/group_norm/fwd", "ratio/other-norm-vs-batch-norm/group_norm/fwd"),
        ("relation/layouts/batch_norm2d", "ratio/layouts/batch_norm2d"),
        ("op/batch_norm1d/fwd-train/f32/nc/64x128", "op/batch_norm1d/fwd-train/f32/nc/64x128"),
    ],
)
def test_an_old_id_has_one_current_spelling(old: str, new: str) -> None:
    """Both directions agree, and a current id is its own."""
    assert current_id(old) == current_id(new) == new
    assert old_id(new) == old


def test_every_prefix_leads_to_cases() -> None:
    """No line of the table is left over from cases that are gone."""
    names = [case.id for case in all_cases()]
    assert [new for _, new in PREFIXES if not any(name.startswith(new) for name in names)] == []
    assert all(current_id(old_id(name)) == name for name in names)


def test_old_cases_get_the_labels_that_the_catalogue_gives() -> None:
    """A run of before is read as if it had been measured today."""
    for case in all_cases():
        if "distributed/" in case.id:  # they came later
            continue
        today = json.loads(json.dumps(case.describe()))
        old = {key: value for key, value in today.items() if key not in {"kind", "labels", "gpu_only"}}
        old |= {"id": old_id(case.id), "cuda_only": case.gpu_only}
        old["family"] = "relation" if case.family == "ratio" else case.family
        assert with_kind(old) == today


def test_a_selection_matches_ids_by_their_old_spelling_too() -> None:
    """A word of -k that named a family before names it still."""
    match = matcher("relation/layouts or (numerics/ref and eps)")
    assert match("ratio/layouts/batch_norm2d/fwd-train/f32/nchw/32x256x14x14")
    assert match("numerics/reference/batch_norm2d/train/eps")
    assert not match("numerics/ranges/batch_norm2d/train/eps")


def test_baselines_of_before_are_read(tmp_path: Path) -> None:
    """A line of a check and a pin of schema 1 count for today's cases."""
    line = '{"schema":1,"id":"numerics/ref/x","version":1,"profiles":["full"],"torch":"2.14.1","observed":{"y":1.0}}'
    assert parse(CheckLine, line, tmp_path / "cpu.jsonl").id == "numerics/reference/x"
    pin = {"case": "behaviour/ddp/*", "what": "*", "device": "any", "torch": "", "value": "x", "reason": "ten letters"}
    (tmp_path / "pins.json").write_text(json.dumps({"schema": 1, "pins": [pin]}))
    assert [one.case for one in pins.read(tmp_path)] == ["behaviour/data-parallel/*"]


def test_committed_baselines_are_of_todays_cases() -> None:
    """None of their ids is an old one."""
    names = {case.id for case in all_cases()}
    for path in sorted((ROOT / "baselines" / "checks").glob("*.jsonl")):
        found = {json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()}
        assert found <= names


def test_no_case_of_today_is_retired() -> None:
    """A pattern that is too wide would hide a case that is lost."""
    assert [case.id for case in all_cases() if is_retired(case.id)] == []
    assert is_retired("numerics/running-statistics/update_bn")
