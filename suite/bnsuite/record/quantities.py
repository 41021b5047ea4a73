"""The numbers of records, within what can have been measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

#: From a picosecond to a few months: what lies outside is no measurement.
Seconds = Annotated[float, Field(gt=1e-12, lt=1e7)]
#: What 64 bits hold, and what stays finite when it is squared or divided: beyond them nothing was measured.
Whole = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
Count = Annotated[Whole, Field(ge=0)]
Bytes = Count
Number = Annotated[float, Field(gt=-1e100, lt=1e100)]
Share = Annotated[float, Field(ge=0, le=1)]
