"""The report as one HTML file: it opens offline, reads without a script, and carries no text of others as markup."""

from __future__ import annotations

from bnsuite.report.html.page import text

__all__ = ["text"]
