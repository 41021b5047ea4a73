"""The images of one repository that this machine's Docker engine has, in the order of their creation."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnsuite.launch.environments.engine import engine_errors
from bnsuite.record.errors import InputError

if TYPE_CHECKING:
    from docker import DockerClient

KIND = "docker:"
#: What the engine lists for an image without a tag, or without a digest.
NONE = "<none>"


@dataclass(frozen=True)
class ListedImage:
    """An image of a repository: its id, the second of its creation, and its first name, by a tag if it has one."""

    id: str
    created: int
    name: str


def between(good: str, bad: str) -> tuple[str, ...]:
    """Returns the images from `good` to `bad`, both included and as they were named, the oldest first.

    Those between are the other images of the repository that were created between these two; of images of one second
    the tags tell, with their numbers compared as numbers. Raises InputError if an end is not there, if both are of two
    repositories or one image, or if `good` is the newer one.
    """
    import docker

    with contextlib.ExitStack() as stack:
        stack.enter_context(engine_errors(good))
        client = docker.from_env()
        stack.callback(client.close)
        ids = [_id(client, option, text) for option, text in (("--good", good), ("--bad", bad))]
        repositories = [_repository(text) for text in (good, bad)]
        listed = client.api.images(name=repositories[0])
    if repositories[0] != repositories[1]:
        raise InputError(
            f"--good {good} and --bad {bad}: are of two repositories; name the images one by one, the oldest first"
        )
    return chosen(in_order(listed, repositories[0]), (good, bad), (ids[0], ids[1]))


def in_order(listed: Sequence[dict[str, Any]], repository: str) -> list[ListedImage]:
    """Returns images as the engine lists them, the oldest first."""
    found = []
    for one in listed:
        tags = [tag for tag in one.get("RepoTags") or () if NONE not in tag and _repository(tag) == repository]
        digests = [name for name in one.get("RepoDigests") or () if NONE not in name]
        # A tag such as "latest" is soon that of another image.
        names = [*sorted(tags, key=lambda tag: (_numberless(tag), _natural(tag))), *sorted(digests), one["Id"]]
        found.append(ListedImage(one["Id"], int(one["Created"]), names[0]))
    return sorted(found, key=lambda image: (image.created, _natural(image.name)))


def chosen(images: Sequence[ListedImage], names: tuple[str, str], ids: tuple[str, str]) -> tuple[str, ...]:
    """Returns the environments from the image with the first id to that with the second, these under their `names`."""
    (good, bad), order = names, [image.id for image in images]
    for option, name, found in zip(("--good", "--bad"), names, ids, strict=True):
        if found not in order:
            raise InputError(
                f"{option} {name}: has no name of a repository; name it as docker:REPOSITORY:TAG or "
                "docker:REPOSITORY@sha256:DIGEST"
            )
    first, last = order.index(ids[0]), order.index(ids[1])
    if first == last:
        raise InputError(f"--good {good} and --bad {bad}: are the same image; name two")
    if first > last:
        raise InputError(
            f"--good {good}: was created after --bad {bad}; name the older one as good, or the images one by one"
        )
    return (good, *(f"{KIND}{image.name}" for image in images[first + 1 : last]), bad)


def _id(client: DockerClient, option: str, text: str) -> str:
    from docker.errors import ImageNotFound

    image = text.removeprefix(KIND)
    try:
        return str(client.images.get(image).id)
    except ImageNotFound:
        raise InputError(f"{option} {text}: the Docker engine has no image {image}; docker pull {image}") from None


def _repository(text: str) -> str:
    """Returns the repository of an image, in the short form in which the engine lists it."""
    from docker.utils import parse_repository_tag

    name, _ = parse_repository_tag(text.removeprefix(KIND))
    name, _ = parse_repository_tag(name)  # of NAME:TAG@DIGEST
    return re.sub(r"^(index\.)?docker\.io/(library/)?", "", name)


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns a key by which 2.9 comes before 2.10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _numberless(tag: str) -> bool:
    return not any(letter.isdecimal() for letter in tag.rpartition(":")[2])
