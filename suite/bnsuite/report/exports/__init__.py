"""One judged folder in the formats of others: CI services, dashboards, trackers, spreadsheets.

A format is a module with a function ``render(report) -> str``, and a line in ``registry.py``.
"""
