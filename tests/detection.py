"""Injects every fault of `faults.py` and `norm_faults.py` and prints which gate finds it: `make faults`.

Faults of numerics and behaviour are looked at by the cases meant for them, as `tests/test_faults.py` does; faults of
time and memory are judged by whole runs of the real command, in the full profile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter

import torch
from tabulate import tabulate

import faults
import norm_faults
import test_norm_faults
from test_faults import catches, meant_for

#: What says that a fault was seen.
FOUND = ("REGRESSED", "FAILED")


def by_checks(fault: faults.Fault) -> tuple[int, int]:
    """Returns the number of cases meant for a fault that find it, and the number of all."""
    cases = meant_for(fault)
    return sum(catches(case, fault) for case in cases), len(cases)


def by_a_run(fault: faults.Fault) -> tuple[int, int]:
    """Likewise, by a run of the command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bnsuite", "--device", "cpu", "--profile", "full", "-k", fault.select]
        command += ["--impl", f"{faults.__file__}:{fault.name}", "--json", "--out", f"{folder}/o"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    findings = [one for one in json.loads(done.stdout)["findings"] if one["gate"] == fault.gate]
    return sum(one["verdict"] in FOUND for one in findings), len(findings)


def of_other_norms(fault: norm_faults.NormFault) -> tuple[int, int]:
    """Likewise, by the cases meant for a fault of another norm."""
    cases = test_norm_faults.meant_for(fault)
    return sum(test_norm_faults.catches(case, fault) for case in cases), len(cases)


def main(names: list[str]) -> int:
    torch.set_num_threads(1)
    rows = []
    for fault in faults.FAULTS:
        if names and fault.name not in names:
            continue
        found, of = by_checks(fault) if fault.gate in {"numerics", "behaviour"} else by_a_run(fault)
        rows.append([fault.name, fault.what, fault.family, fault.gate, f"{found} of {of}" if found else "not found"])
        print(f"{fault.name}: {rows[-1][-1]}", file=sys.stderr, flush=True)
    for other in norm_faults.NORM_FAULTS:
        if names and other.id not in names:
            continue
        found, of = of_other_norms(other)
        case = test_norm_faults.meant_for(other)[0]
        rows.append([other.id, other.what, case.group, case.family, f"{found} of {of}" if found else "not found"])
        print(f"{other.id}: {rows[-1][-1]}", file=sys.stderr, flush=True)
    print(tabulate(rows, headers=("fault", "what is wrong", "family", "gate", "cases that find it"), tablefmt="github"))
    missed = sum(row[-1] == "not found" for row in rows)
    families = Counter(row[2] for row in rows)
    print(f"\n{len(rows) - missed} of {len(rows)} found by the gate meant for them, in {len(families)} families")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
