"""Findings as text; the only place that words reasons and scales units.

Only ``writers`` and ``exports.files`` write files.
"""
