"""The images between two of a repository: their order, what is refused, and a real engine where one answers."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from bnsuite.launch.environments.image_tags import between, chosen, in_order
from bnsuite.record.errors import InputError

#: A repository on a registry with a port; i5 has no tag any more, and i7 no name.
LISTED = [
    {"Id": "i7", "Created": 70, "RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]},
    {"Id": "i3", "Created": 30, "RepoTags": ["host:5000/trainer:latest", "host:5000/trainer:v10"], "RepoDigests": None},
    {"Id": "i2", "Created": 30, "RepoTags": ["host:5000/trainer:v9"], "RepoDigests": []},
    {"Id": "i5", "Created": 50, "RepoTags": None, "RepoDigests": ["host:5000/trainer@sha256:5"]},
    {"Id": "i1", "Created": 10, "RepoTags": ["host:5000/other:v8", "host:5000/trainer:v8"], "RepoDigests": []},
]


def test_images_are_in_the_order_of_their_creation() -> None:
    """In one second that of their tags, with numbers as numbers; each stands there once, by a tag with a number."""
    images = in_order(LISTED, "host:5000/trainer")
    assert [one.id for one in images] == ["i1", "i2", "i3", "i5", "i7"]
    ends = ("docker:host:5000/trainer:v8", "docker:host:5000/trainer@sha256:7")
    assert chosen(images, ends, ("i1", "i7")) == (
        ends[0],
        "docker:host:5000/trainer:v9",
        "docker:host:5000/trainer:v10",
        "docker:host:5000/trainer@sha256:5",
        ends[1],
    )


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (("i3", "i3"), "--good docker:a and --bad docker:b: are the same image; name two"),
        (("i3", "i2"), "--good docker:a: was created after --bad docker:b; name the older one as good, or the images "),
        (("i1", "i9"), "--bad docker:b: has no name of a repository; name it as docker:REPOSITORY:TAG or docker:REPOS"),
    ],
)
def test_ends_that_have_nothing_between_them_are_told(ids: tuple[str, str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        chosen(in_order(LISTED, "host:5000/trainer"), ("docker:a", "docker:b"), ids)
    assert str(caught.value).startswith(said)


def test_an_engine_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(InputError, match=r"^docker:trainer:1: no Docker engine answers; start it ") as caught:
        between("docker:trainer:1", "docker:trainer:2")
    assert "\n" not in str(caught.value)


@pytest.fixture
def repository(client: Any) -> Iterator[str]:
    """A repository of empty images, created on other days than their tags say: 2, 1, 3, 4."""
    name = f"bnsuite-test-{os.getpid()}/trainer"
    for day, tag in enumerate(("2", "1", "3", "4"), start=1):
        made = datetime(2025, 1, day, tzinfo=timezone.utc).isoformat()
        rootfs = {"type": "layers", "diff_ids": []}
        config = {"architecture": "amd64", "os": "linux", "created": made, "config": {}, "rootfs": rootfs}
        manifest = [{"Config": "config.json", "RepoTags": [f"{name}:{tag}"], "Layers": []}]
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            for member, content in (("config.json", config), ("manifest.json", manifest)):
                entry = tarfile.TarInfo(member)
                text = json.dumps(content).encode()
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text))
        client.images.load(file.getvalue())
    yield name
    for tag in ("2", "1", "3", "4"):
        client.images.remove(f"{name}:{tag}", force=True)


def test_a_real_engine_lists_what_is_between(repository: str) -> None:
    """Names of the ends may be short or full; a missing tag and another repository are one-line errors."""
    two, one, three, four = (f"docker:{repository}:{tag}" for tag in ("2", "1", "3", "4"))
    assert between(two, four) == (two, one, three, four)
    assert between(one, three) == (one, three)
    long = f"docker:docker.io/{repository}:1"
    assert between(long, four) == (long, three, four)
    for good, bad, said in (
        (three, one, f"--good {three}: was created after --bad {one}; name the older one as good, or the images one "),
        (two, f"docker:{repository}:5", f"--bad docker:{repository}:5: the Docker engine has no image {repository}:5;"),
    ):
        with pytest.raises(InputError) as caught:
            between(good, bad)
        assert str(caught.value).startswith(said)
