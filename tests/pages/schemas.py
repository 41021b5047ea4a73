"""The JSON Schema of each file, made from the pydantic models."""

from __future__ import annotations

import json
from typing import Any

from bnsuite.record.schema import Versioned

#: Fields of files that nothing reads, and that their models therefore do not have.
UNREAD = {"Finding": {"summary": {"type": "string", "description": "The reason in words; nothing reads it."}}}


def name(file: str) -> str:
    """Returns the name of the schema of a file, such as ``run.schema.json`` for ``run.json``."""
    return f"{file.rpartition('.')[0].replace('/', '-').lower()}.schema.json"


def text(file: str, model: type[Versioned]) -> str:
    """Returns the schema of a file, or of a line of it, as JSON."""
    made: dict[str, Any] = model.model_json_schema(by_alias=True)
    made["properties"]["schema"] = {"const": model.SCHEMA, "description": "The version of the schema."}
    for record, fields in UNREAD.items():
        if record in made.get("$defs", {}):
            made["$defs"][record]["properties"] |= fields
    each = "each line of " if file.endswith(".jsonl") else ""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"{each}{file}"}
    return json.dumps({**made, **head}, indent=1, ensure_ascii=False) + "\n"
