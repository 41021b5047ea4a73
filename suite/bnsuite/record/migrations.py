"""Migrations of ``run.json``: each turns the plain JSON of one schema version into that of the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Migration = Callable[[dict[str, Any]], dict[str, Any]]


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    """Returns a record without some of its fields: they have another name in the next version."""
    return {name: value for name, value in record.items() if name not in names}


def tell_needs(run: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: every case there was needed nothing but torch and what scikit-learn carries."""
    needs = {"cuda_only": False, "lacks": [], "to_download": False}
    return {
        **run,
        "schema": 2,
        "cases": [{**one, "case": {**one["case"], **needs}} for one in run["cases"]],
    }


def know_of_checks(run: dict[str, Any]) -> dict[str, Any]:
    """From 2 to 3: there were neither checks, relations nor implementations but torch's."""
    none: dict[str, Any] = {"rule": None, "threads": [], "bounds": {}, "limit_s": None}
    return {
        **run,
        "schema": 3,
        "asked": {**run["asked"], "implementation": None},
        "cases": [{**one, "case": {**one["case"], **none}} for one in run["cases"]],
    }


def name_options(run: dict[str, Any]) -> dict[str, Any]:
    """From 3 to 4: what a run was asked for and how it was isolated had other names; all were plain runs."""
    isolation = {**without(run["quiet"], "not_done"), "not_applied": run["quiet"].get("not_done", [])}
    return {
        **without(run, "asked", "quiet"),
        "schema": 4,
        "options": run["asked"],
        "isolation": isolation,
    }
