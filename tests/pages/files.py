"""The page of the files, made from the pydantic models, their docstrings and the comments beside their fields."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from bnsuite.judge.bisect import BisectAnswer
from bnsuite.judge.reason import ReasonCode
from bnsuite.judge.verdict import Judgement
from bnsuite.record.baselines import CurveLine, TimingFile
from bnsuite.record.calibration import Calibration
from bnsuite.record.details import DetailLine
from bnsuite.record.host import HostReport
from bnsuite.record.interleaved import InterleavedTimes
from bnsuite.record.lines import CheckLine, KernelLine, MemoryLine
from bnsuite.record.pins import Pins
from bnsuite.record.schema import Run, Versioned
from bnsuite.record.selftest import Trial
from pages import schemas
from pages.fields import FIELDS
from pages.markdown import code, paragraph, table

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

#: The files of a results folder, then those of a folder of baselines: name, contents and model.
FILES: tuple[tuple[str, str, type[Versioned]], ...] = (
    ("run.json", "every raw sample and curve of a run, and the outcome of every case", Run),
    ("findings.json", "the verdicts of a run or a comparison, with their reasons", Judgement),
    ("interleaved.json", "the times of a comparison, every round of every block", InterleavedTimes),
    ("doctor.json", "the state of the host before the measuring", HostReport),
    ("trainings/NAME.jsonl", "details of a training, one line per seed", DetailLine),
    ("bisect.json", "the answer of a bisection", BisectAnswer),
    ("selftest.jsonl", "the trials of a self-test, one line per trial", Trial),
    ("baselines/timing/MACHINE.json", "accepted times of one kind of machine", TimingFile),
    ("baselines/memory/DEVICE.jsonl", "accepted peaks of memory, one line per case", MemoryLine),
    ("baselines/kernels/DEVICE.jsonl", "what steps were accepted to launch, one line per case", KernelLine),
    ("baselines/checks/DEVICE.jsonl", "accepted observations of checks, one line per case", CheckLine),
    ("baselines/calibration/MODEL.json", "limits that were measured on one model of GPU", Calibration),
    ("baselines/convergence/WORKLOAD.jsonl", "accepted curves, one line per seed", CurveLine),
    ("baselines/pins.json", "known deviations of torch, each with its reason", Pins),
)

HEAD = """# Files

This page is made from the schemas by `make reference`. [Read a report](../how-to/read-a-report.md) describes the files
that are meant to be read by people.

- Times are in seconds and sizes in bytes, unless the name of a field has another unit.
- Every file that is read again has a whole number under `schema`. bnsuite reads the schemas of all earlier
  versions; a file with a newer schema is refused with status 2.
- JSON has no NaN and no infinity. A loss that was not finite is `null`.
- A field that is not described here is an error when the file is read.
- Every file is written under another name and renamed when it is complete.

Beside these files a results folder holds `report.md` and `report.html`, `pytest-benchmark/launch-*.json` (in the format
of pytest-benchmark), `log/*.txt` if something failed, and `figures/`. A folder of a comparison holds the run of each
side in `a/` and `b/`; `confirm/` is the comparison that `--confirm` made.
"""

REASONS = """## Reasons

The reason of a finding is a code and its data. `report.md` and the terminal show the sentence, which `findings.json`
has as `summary`.
"""


def page() -> str:
    """Returns the text of the page."""
    rows = [
        (f"[`{name}`](#{_anchor(name)})", what, f"[{model.SCHEMA}](schemas/{schemas.name(name)})")
        for name, what, model in FILES
    ]
    shared = _shared()
    parts = [HEAD, table(("file", "contents", "JSON Schema"), rows), ""]
    for name, _, model in FILES:
        parts += [f"## `{name}`\n", *_model(model)]
        parts += [
            part for one in records(model) if one not in shared for part in (f"### `{one.__name__}`\n", *_model(one))
        ]
    parts += ["## Records of several files\n"]
    parts += [part for one in shared for part in (f"### `{one.__name__}`\n", *_model(one))]
    codes = [(code(one.value), comment) for one, comment in _codes()]
    return "\n".join([*parts, REASONS, table(("code", "data"), codes), ""])


def _anchor(name: str) -> str:
    return re.sub(r"[^\w-]", "", name.lower())


def _shared() -> list[type[BaseModel]]:
    """Returns the records that more than one file has, in the order of their first use."""
    uses = [one for _, _, model in FILES for one in records(model)]
    return [one for one in dict.fromkeys(uses) if uses.count(one) > 1]


def records(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Returns the records within a record, each once, in the order of its fields."""
    found: dict[type[BaseModel], None] = {}

    def look(one: type[BaseModel]) -> None:
        for field in one.model_fields.values():
            for kind in _models(field.annotation):
                if kind not in found:
                    found[kind] = None
                    look(kind)

    look(model)
    return list(found)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models(argument)]


def _model(model: type[BaseModel]) -> list[str]:
    """Returns the docstring of a record, and the table of its fields."""
    text, _, history = (inspect.getdoc(model) or "").partition("History of the schema:")
    parts = [f"{_json(paragraph(text))}\n"] if text.strip() else []
    if history.strip():
        parts.append(f"History of the schema: {paragraph(history)}\n")
    described = model.model_json_schema(by_alias=True, mode="validation")["properties"]
    own = comments(model)
    rows = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        comment = own.get(name) or FIELDS.get(f"{model.__name__}.{name}") or FIELDS.get(name, "")
        rows.append((code(key), _type(described[key]), _optional(field), comment))
    return [*parts, table(("field", "type", "default", "description"), rows), ""]


def _json(text: str) -> str:
    """Returns the words of the code about a value as they are for its JSON."""
    return re.sub(r"\bNone\b", "`null`", text)


def _optional(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True, validated_data={})
    return code(json.dumps(value.value if isinstance(value, Enum) else value))


def _type(schema: dict[str, Any]) -> str:  # noqa: PLR0911  # one return per kind of type
    """Returns a type of JSON in words, with a link to the record that it is."""
    if "$ref" in schema:
        return _linked(schema["$ref"].rpartition("/")[2])
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(code(str(one)) for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return "array of " + ", ".join(_type(one) for one in schema["prefixItems"])
        return f"array of {_type(schema['items'])}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, dict) else "object"
    return f"{schema.get('type', 'any JSON')}{_bounds(schema)}"


def _linked(name: str) -> str:
    enum = _enums().get(name)
    if name == "JsonValue":
        return "any JSON"
    if enum is None:
        return f"[{code(name)}](#{name.lower()})"
    if enum is ReasonCode:
        return "a [code](#reasons)"
    return ", ".join(code(str(one.value)) for one in enum)


def _enums() -> dict[str, type[Enum]]:
    """Returns the enumerations that fields of the files have, by name."""
    found: dict[str, type[Enum]] = {}

    def look(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            found[annotation.__name__] = annotation
        for argument in get_args(annotation):
            look(argument)

    for _, _, model in FILES:
        for one in (model, *records(model)):
            for field in one.model_fields.values():
                look(field.annotation)
    return found


#: Bounds of JSON Schema that tell a reader something; those that only refuse absurd numbers are left out.
_SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}


def _bounds(schema: dict[str, Any]) -> str:
    shown = [f"{sign} {schema[name]:g}" for name, sign in _SIGNS.items() if abs(schema.get(name, 1e9)) < 1e6]
    pattern = [f"matching {code(schema['pattern'])}"] if "pattern" in schema else []
    return "".join(f" {one}" for one in [" and ".join(shown), *pattern] if one)


def comments(model: type[BaseModel]) -> dict[str, str]:
    """Returns the comments (``#:``) above the fields of a record and of those that it inherits from."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and one is not BaseModel:
            found |= _above(one)
    return found


def _above(kind: type) -> dict[str, str]:
    """Returns the comments above the names that a class defines; one comment belongs to the name below it."""
    source = textwrap.dedent(inspect.getsource(kind))
    lines = source.splitlines()
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for node in tree.body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if not isinstance(target, ast.Name):
            continue
        above = []
        for line in reversed(lines[: node.lineno - 1]):
            if not line.strip().startswith("#:"):
                break
            above.insert(0, line.strip().removeprefix("#:").strip())
        if above:
            found[target.id] = _json(paragraph(" ".join(above)))
    return found


def _codes() -> list[tuple[ReasonCode, str]]:
    """Returns the reasons, each with the data that it has."""
    comments = _above(ReasonCode)
    return [(one, comments.get(one.name, "")) for one in ReasonCode]
