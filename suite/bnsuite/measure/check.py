"""One check run in this process, or in a child of it that may die: its observations, or why there are none."""

from __future__ import annotations

from bnsuite.cases import CheckCase, CheckNotApplicableError, Observation, Subject, gpu_errors, implementation, skips
from bnsuite.measure import check_child
from bnsuite.measure.devices import Device

Outcome = tuple[list[Observation], str | None]


def run_on(case: CheckCase, device: Device) -> tuple[Outcome, str | None]:
    """Returns the outcome of a check on a device, and why this process must make no other one after it, or None.

    An error that the device reports late belongs to this check: it is raised, unless the check has found a fault.
    """
    gpu_errors.forget()
    device.exact()
    outcome = run(case, device.name)
    try:
        return outcome, device.unfit()
    except Exception as error:
        if not any(map(_is_wrong, outcome[0])):
            raise
        return outcome, gpu_errors.one_line(error)


def run(case: CheckCase, device: str) -> Outcome:
    """Returns the observations of a check, from a child process if the check may end its process, as :func:`look`."""
    return look(case, device) if case.child_s is None else check_child.look(case, device, case.child_s)


def look(case: CheckCase, device: str) -> Outcome:
    """Returns the observations of a check, or why it is skipped; raises what it raises otherwise.

    Under an implementation, a check that seems to find a fault is run once more to see if it used a kind of input that
    the implementation does not support.
    """
    try:
        skips.begin(case, device)
        seen = list(case.observe(Subject(device)))
    except CheckNotApplicableError as reason:
        return [], str(reason)
    except Exception as error:  # noqa: BLE001  # raised again, unless the check is skipped
        return _after(error, case, device)
    if implementation.MADE.undeclared:  # the check took the refusal for an answer
        return [], implementation.MADE.undeclared[0]
    if not seen and implementation.named() is not None:
        return [], "the implementation has nothing that this check looks at"
    if implementation.named() is None or not _is_suspect(seen, device):
        return seen, None
    return _again(case, device) or (seen, None)


def _after(error: Exception, case: CheckCase, device: str) -> Outcome:
    """Returns the outcome of a check that raised, if it is skipped or has seen a fault before; else raises again."""
    if implementation.named() is None:
        raise error
    if isinstance(error, NotImplementedError):
        return [], skips.reason(error, case, device)
    found = _again(case, device)
    if found is None:
        raise error
    return found


def _again(case: CheckCase, device: str) -> Outcome | None:
    """Returns the outcome of a check that uses what is not supported: faults seen before that count."""
    before, reason = skips.look_again(case, device)
    if reason is None:
        return None
    return (before, None) if any(map(_is_wrong, before)) else ([], reason)


def _is_wrong(one: Observation) -> bool:
    """Returns True if an observation is wrong whatever was accepted."""
    if one.expected is not None:
        return one.value != one.expected
    return one.limit is not None and (isinstance(one.value, str) or one.value > one.limit)


def _is_suspect(seen: list[Observation], device: str) -> bool:
    """Returns True if an observation is wrong, or can be judged by a baseline alone and not every kind is supported."""
    if any(map(_is_wrong, seen)):
        return True
    return any(one.limit is None and one.expected is None for one in seen) and skips.limited(device)
