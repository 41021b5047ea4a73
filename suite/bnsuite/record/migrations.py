"""Turns the plain JSON of a run of an older schema into that of the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnsuite.record.renames import with_kind


def _tell_needs(run: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: every case there was needed nothing but torch and what scikit-learn carries."""
    needs = {"cuda_only": False, "lacks": [], "to_download": False}
    return {
        **run,
        "schema": 2,
        "cases": [{**one, "case": {**one["case"], **needs}} for one in run["cases"]],
    }


def _know_of_checks(run: dict[str, Any]) -> dict[str, Any]:
    """From 2 to 3: there were neither checks, relations nor implementations but torch's."""
    none: dict[str, Any] = {"rule": None, "threads": [], "bounds": {}, "limit_s": None}
    return {
        **run,
        "schema": 3,
        "asked": {**run["asked"], "implementation": None},
        "cases": [{**one, "case": {**one["case"], **none}} for one in run["cases"]],
    }


def _label_cases(run: dict[str, Any]) -> dict[str, Any]:
    """From 3 to 4: ids of checks and ratios were others, and said everything that labels say now."""
    return {**run, "schema": 4, "cases": [{**one, "case": with_kind(one["case"])} for one in run["cases"]]}


#: By the schema that each one starts from.
RUN: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _tell_needs, 2: _know_of_checks, 3: _label_cases}
