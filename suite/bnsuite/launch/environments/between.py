"""The environments of a search: those that were named one by one, or all between two of one kind."""

from __future__ import annotations

from collections.abc import Sequence

from bnsuite.launch.environments import image_tags, package_index
from bnsuite.launch.environments.parse import parse
from bnsuite.launch.environments.release import Release
from bnsuite.record.errors import InputError
from bnsuite.record.package_index import PackageIndex

ONE_BY_ONE = "name the environments one by one, the oldest first: bnsuite bisect A B C ..."


def named(environments: Sequence[str], index: PackageIndex | None = None) -> tuple[str, ...]:
    """Returns the environments of a list, once those that take no time to look at are known to be there.

    Releases of torch are made when their turn comes. Raises InputError for fewer than two, for one that is named twice,
    and for what is no environment.
    """
    if len(environments) < 2:
        raise InputError(f"bisect {' '.join(environments)}: one environment is too few; {ONE_BY_ONE}")
    for place, name in enumerate(environments):
        if name in environments[:place]:
            raise InputError(f"bisect: {name} is named twice; name each environment once, the oldest first")
    for environment in (parse(name, index) for name in environments):
        if not isinstance(environment, Release):
            try:
                environment.prepare()
            finally:
                environment.close()
    return tuple(environments)


def require_ends(good: str, bad: str, index: PackageIndex | None = None) -> None:
    """Raise InputError unless these are two releases of torch, or two images; nothing is asked for that."""
    if len({_kind("--good", good), _kind("--bad", bad)}) > 1:
        raise InputError(f"--good {good} and --bad {bad}: nothing is between two kinds of environment; {ONE_BY_ONE}")
    for option, text in (("--good", good), ("--bad", bad)):
        if not text.startswith(image_tags.KIND):
            parse(f"torch=={package_index.named(option, text)}", index)


def between(good: str, bad: str, index: PackageIndex | None = None) -> tuple[str, ...]:
    """Returns the environments from `good` to `bad`, both included, the oldest first.

    They are releases of torch on the package index, or images of one repository on this machine. Pre-releases count
    if `index` says so, or if an end is one. Raises InputError if the others can't be listed, or `good` is the newer.
    """
    if good.startswith(image_tags.KIND):
        return image_tags.between(good, bad)
    ends = [package_index.named(option, text) for option, text in (("--good", good), ("--bad", bad))]
    asked = index or PackageIndex()
    listed = asked.model_copy(update={"pre": asked.pre or any(map(package_index.is_pre_release, ends))})
    return tuple(f"torch=={version}" for version in package_index.between(package_index.releases(listed), *ends))


def _kind(option: str, text: str) -> str:
    for kind, prefix in (("docker", image_tags.KIND), ("torch", "torch==")):
        if text.startswith(prefix):
            return kind
    raise InputError(f"{option} {text}: is neither torch==X.Y.Z nor docker:REPOSITORY:TAG; {ONE_BY_ONE}")
