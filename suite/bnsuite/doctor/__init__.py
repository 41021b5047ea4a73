"""Checks of the host: whatever on it disturbs or prevents a measurement. Read-only, and without root."""

from bnsuite.doctor.checks import FAST, SUBJECTS, check_names
from bnsuite.doctor.examine import examine, report, taken
from bnsuite.doctor.host import DoctorRequest, Host

__all__ = ["FAST", "SUBJECTS", "DoctorRequest", "Host", "check_names", "examine", "report", "taken"]
