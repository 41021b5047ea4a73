"""The walls of the house: who may import whom, and where each outside package lives."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGE = ROOT / "suite" / "bnsuite"

#: What each part may import of the others. The two halves share nothing but the version in ``bnsuite``.
MAY_IMPORT = {
    "cases": set(),
    "measure": {"cases"},
    "record": set(),
    "judge": {"record"},
    "report": {"judge", "record"},
    "launch": {"record"},
    "articles": {"judge", "record", "report"},
    "experiments": {"launch", "judge", "record"},
    "doctor": {"launch", "record"},
    "cli": {"experiments", "launch", "record", "judge", "report", "articles", "doctor"},
    "__main__.py": {"cli"},
    "__init__.py": set(),
}

#: The one home of each outside package.
HOMES = {
    "torch": {"cases", "measure"},
    "torchvision": {
        "cases/data/images.py",
        "cases/networks/vision.py",
        "cases/checks/behaviour/saved_tensors.py",
        "cases/checks/behaviour/frozen.py",
    },
    "onnx": {"cases/checks/behaviour/export/onnx.py"},
    "onnxruntime": {"cases/checks/behaviour/export/onnx.py"},
    "keras": {"cases/train/twin.py"},
    "sklearn": {"cases/data/sets.py"},
    "numpy": {"cases/data", "articles/figures"},
    "matplotlib": {"articles/figures"},
    "PIL": {"articles/figures"},
    "pynvml": {"measure/nvml/binding.py"},
    "pytest": {"measure/plugin.py", "measure/items"},
    "pytest_benchmark": {"measure/items"},
    "pydantic": {"record", "judge", "launch"},
    "scipy": {"judge/statistics.py"},
    "tabulate": {"report/tabular.py"},
    "rich": {"report/progress.py"},
    "jinja2": {"report/html/page.py"},
    "markupsafe": {"report/html/page.py", "report/html/svg.py"},
    "docker": {"launch"},
    "packaging": {"launch/environments"},
    "click": {"cli"},
    "tomllib": {"cli/config.py"},
    "tomli": {"cli/config.py"},
    "argparse": set(),
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The full names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    """A file imports only the parts that its own part may know of."""
    part = path.relative_to(PACKAGE).parts[0]
    others = {name.split(".")[1] for name in imported(path) if name.startswith("bnsuite.") and name.count(".") > 0}
    others -= {part, "__version__"}
    assert others <= MAY_IMPORT[part]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_outside_packages_live_in_one_place(path: Path) -> None:
    """Nothing outside the standard library is imported but in its home."""
    where = path.relative_to(PACKAGE).as_posix()
    for name in imported(path):
        top = name.split(".")[0]
        if top in {"bnsuite", "typing_extensions"} or (top in sys.stdlib_module_names and top not in HOMES):
            continue
        assert any(where == home or where.startswith(f"{home}/") for home in HOMES[top]), f"{name} in {where}"


def test_only_the_command_line_prints() -> None:
    """No module below cli/ writes to the terminal by itself.

    A stream it is handed is another matter, and so is the pipe between a check and the child process it has started.
    """
    for path in MODULES:
        if (PACKAGE / "cases" / "checks") in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                to_a_stream = any(keyword.arg == "file" for keyword in node.keywords)
                assert path.parent.name == "cli" or to_a_stream, path


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["check", "nowhere"], ["show", "nowhere"], ["doctor"]])
def test_the_fast_verbs_load_neither_torch_nor_scipy_stats(arguments: list[str]) -> None:
    """What a person waits for at a prompt loads nothing heavy."""
    code = (
        "import sys; from bnsuite.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'scipy.stats', 'sklearn', 'numpy.testing', 'pytest'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_worker_starts_without_torch_and_without_anything_installed(tmp_path: Path) -> None:
    """Listing the cases needs the standard library only: the worker is mounted into images that hold nothing else."""
    code = (
        "import sys, runpy\n"
        "sys.path.insert(0, sys.argv.pop(1))\n"
        "runpy.run_module('bnsuite.measure.worker', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT / "suite")],
        input='{"do": "catalogue", "profile": "quick"}\n',
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert '"op/batch_norm1d/fwd-train/f32/nc/64x128"' in done.stdout
