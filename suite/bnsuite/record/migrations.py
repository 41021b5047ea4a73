"""Migrations of ``run.json``: each turns the plain JSON of one schema version into that of the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnsuite.record.renames import with_kind

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


def one_gpu_record(environment: dict[str, Any]) -> dict[str, Any]:
    """An environment of schema 3, which has two records of NVML's facts, with the full one alone."""
    gpu = environment["gpu"]
    if gpu is None:
        return environment
    short, full = gpu["nvml"], gpu.get("details")
    if full is None and short is not None:
        pcie = ("pcie_generation", "pcie_generation_max", "pcie_width", "pcie_width_max")
        unknown = ("cuda", "ecc", *pcie, "sm_clock_mhz_max", "memory_clock_mhz_max")
        known = {"driver": gpu["driver"], "mig_slice": short["uuid"].startswith("MIG-")}
        full = {**dict.fromkeys(unknown), **known, **short}
    return {**environment, "gpu": {**without(gpu, "details"), "nvml": full}}


def name_options(run: dict[str, Any]) -> dict[str, Any]:
    """From 3 to 4: ids, options, isolation and the GPU's facts had other names, and every run was a plain one."""
    isolation = {**without(run["quiet"], "not_done"), "not_applied": run["quiet"].get("not_done", [])}
    return {
        **without(run, "asked", "quiet"),
        "schema": 4,
        "options": run["asked"],
        "isolation": isolation,
        "environment": one_gpu_record(run["environment"]),
        "cases": [{**one, "case": with_kind(one["case"])} for one in run["cases"]],
    }
