"""The builds underneath torch: its CPU libraries, how it was compiled, and the features of the CPU that it can use.

Two wheels of one release, or two CPUs of one name, may differ in nothing else (pytorch/pytorch#193951).
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: Libraries by the name that torch prints before their version.
NAMES = {
    "Intel(R) oneAPI Math Kernel Library Version": "MKL",
    "Intel(R) Math Kernel Library Version": "MKL",
    "Intel(R) MKL-DNN": "oneDNN",
    "C++ Version": "C++",
}
#: What stands in the record under another name.
RECORDED_ELSEWHERE = ("CPU capability usage",)
#: The name of what fits no form; the text is kept as it is.
OTHER = "other"

#: How torch prints a fact: "name: value", "name 1.2.3 ...", "name is enabled".
_FORMS = tuple(map(re.compile, (r"([^:=]+?):\s+(.+)", r"([^\d]+?) (v?\d.*)", r"(\S+) is (.+)")))
#: Settings of the build, as in "BLAS_INFO=mkl, BUILD_TYPE=Release, ".
_SETTING = re.compile(r",\s*(?=[A-Z][A-Z0-9_]*=)")
#: Folders of the machine that built torch.
_FOLDERS = re.compile(r"(/[^\s/=:,]+)+/")

#: Libraries of threads and of matrices that a process may have loaded, by the name of their file.
_LOADED = re.compile(r"lib(gomp|iomp5|omp|mkl_rt|openblas\w*|blis\w*|armpl\w*|nvpl_blas\w*)\b[^/]*\.so[^/]*$")
#: Folders of packages that bring such a library for themselves alone.
_PRIVATE = re.compile(r"/(numpy|scipy|scikit_learn)\.libs/")
#: Features of a CPU that oneDNN, MKL, OpenBLAS and torch choose their code by, as Linux names them.
_FEATURES = re.compile(r"(avx|amx|sve|sme(?!p))\w*|fma|f16c|asimd\w*|bf16|i8mm|fphp|vsx")


def describe() -> dict[str, Any]:
    """The builds, settings and features, as they stand in ``Environment`` in JSON."""
    import torch

    builds, settings = parse(torch.__config__.show())
    parallel, _ = parse(torch.__config__.parallel_info())
    if backend := parallel.get("ATen parallel backend"):
        builds["parallel backend"] = backend
    builds["inter-op threads"] = str(torch.get_num_interop_threads())
    for name, key in (("BLAS", "BLAS_INFO"), ("LAPACK", "LAPACK_INFO")):
        if key in settings:
            builds[name] = settings[key]
    return {
        "builds": {**builds, **loaded(_mapped())},
        "build_settings": settings,
        "cpu_features": features(_cpuinfo()),
        "cpu_used": used(torch.cpu),
    }


def parse(shown: str) -> tuple[dict[str, str], dict[str, str]]:
    """The libraries, and the settings of the build, of what ``torch.__config__`` prints.

    A line, or a setting, of no known form is kept as text, under "other".
    """
    found: dict[str, str] = {}
    settings: dict[str, str] = {}
    for line in map(_plain, shown.splitlines()):
        if line.startswith("Build settings:"):
            settings = _settings(line.partition(":")[2])
        elif line and not line.endswith(":"):  # a line that ends so is a heading
            _add(found, *_fact(line))
    return found, settings


def _plain(line: str) -> str:
    return " ".join(line.strip().removeprefix("- ").split())


def _fact(line: str) -> tuple[str, str]:
    if compiler := re.fullmatch(r"(?:GCC|clang|MSVC) [\d.]+", line):
        return "compiler", compiler[0]
    for form in _FORMS:
        if fact := form.fullmatch(line):
            name = NAMES.get(fact[1].strip(), fact[1].strip())
            return name, _version(name, fact[2])
    return OTHER, line


def _version(name: str, value: str) -> str:
    """A version in its usual form, such as "2024.2 (20240605)"; any other value as it is."""
    forms = {
        "MKL": (r"([\d.]+)-Product Build (\d+).*", "{} ({})"),
        "oneDNN": (r"v?([\d.]+) \(Git Hash (\w{7})\w*\)", "{} ({})"),
        "OpenMP": (r"(\d+) \(a\.k\.a\. OpenMP ([\d.]+)\)", "{1} ({0})"),
    }
    form, shown = forms.get(name, ("", ""))
    known = re.fullmatch(form, value) if form else None
    return shown.format(*known.groups()) if known else value


def _settings(text: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    for part in _SETTING.split(text):
        name, equals, value = part.strip().rstrip(",").partition("=")
        value = " ".join(_FOLDERS.sub("", value).split())
        if equals:
            _add(settings, name, value)
        elif name:
            _add(settings, OTHER, name)
    return settings


def _add(found: dict[str, str], name: str, value: str) -> None:
    """Adds a fact beside an earlier one of its name."""
    if name not in RECORDED_ELSEWHERE:
        found[name] = f"{found[name]}; {value}" if found.get(name, value) != value else value


def loaded(paths: Iterable[str]) -> dict[str, str]:
    """The OpenMP runtimes and the BLAS among the loaded libraries at `paths`, by the names of their files."""
    runtimes: set[str] = set()
    blas: set[str] = set()
    for path in paths:
        file = _LOADED.search(path)
        if file and not _PRIVATE.search(path):
            (runtimes if "omp" in file[1] else blas).add(f"{file[0]}{_openblas_version(path, file[1])}")
    named = {"OpenMP runtime": runtimes, "BLAS library": blas}
    return {name: ", ".join(sorted(files)) for name, files in named.items() if files}


def _openblas_version(path: str, name: str) -> str:
    """The version of OpenBLAS with the core it chose, as " (OpenBLAS 0.3.29 ...)"; empty where it says none."""
    if not name.startswith("openblas"):
        return ""
    try:
        config = ctypes.CDLL(path).openblas_get_config
    except (OSError, AttributeError):
        return ""
    config.restype = ctypes.c_char_p
    text = config()
    return f" ({' '.join(text.decode(errors='replace').split())})" if text else ""


def _mapped() -> Iterator[str]:
    """Yields the files that this process has in memory; none where the system does not say."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    yield from dict.fromkeys(line[line.index("/") :] for line in lines if "/" in line)


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def features(cpuinfo: str) -> tuple[str, ...] | None:
    """The features of the first core that change what CPU libraries do, sorted; None where the system names none."""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return tuple(sorted({one for one in flags[1].split() if _FEATURES.fullmatch(one)})) if flags else None


def used(cpu: object) -> dict[str, bool]:
    """The features that torch says it can use here, by name."""
    found = {}
    for name in sorted(dir(cpu)):
        asked = re.fullmatch(r"_is_(\w+)_supported", name)
        if asked:
            try:
                answer = getattr(cpu, name)()
            except (RuntimeError, AttributeError):  # a name that this build does not answer to
                continue
            if isinstance(answer, bool):
                found[asked[1]] = answer
    return found
