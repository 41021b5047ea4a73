"""A Docker image as an environment: each worker runs in a container that is cut off from everything."""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsuite.launch.environments.bundle import inner_half, make_readable
from bnsuite.launch.environments.container import Container
from bnsuite.launch.environments.engine import ENVIRONMENT, engine_errors, labels, refuses_gpus, remove, sweep
from bnsuite.launch.environments.environment import Environment, Notify, WorkerProcess
from bnsuite.launch.process import isolation
from bnsuite.launch.process.options import WorkerOptions
from bnsuite.record.functions import ROLES
from bnsuite.record.image import ImageInfo
from bnsuite.record.schema import EnvironmentInfo

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.errors import APIError
    from docker.types import DeviceRequest, Mount

#: The mount points of our folders in a container.
INNER, STAGE, USERS = "/bnsuite/inner", "/bnsuite/stage", "/bnsuite/implementation"
#: The folders of files of cases, of workloads and of functions are mounted below these.
CASES, WORKLOADS, FUNCTIONS = "/bnsuite/cases", "/bnsuite/workloads", "/bnsuite/functions"

#: Finds the Python that has torch, and has it supervise a worker; one without torch says so itself.
FIND_PYTHON = """
for python in python python3; do
  "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' >/dev/null 2>&1 &&
    exec "$python" -m bnsuite.measure.supervisor
done
for python in python python3; do
  command -v "$python" >/dev/null && exec "$python" -m bnsuite.measure.supervisor
done
echo "there is neither python nor python3 on the image's PATH" >&2
exit 127
"""

#: A container that takes more of the machine's memory is ended before the coordinator is.
MEMORY_SHARE = 0.8
TMP_BYTES = 4 << 30
SHM_BYTES = 1 << 30
MAX_PROCESSES = 4096

#: Variables that choose among GPUs, which have to mean the same inside.
PASSED_ON = ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES")

#: Labels of an image that name the one it was built on, by OCI's annotations.
BASE_NAME, BASE_DIGEST = (f"org.opencontainers.image.base.{name}" for name in ("name", "digest"))
#: The name by which CDI describes all of NVIDIA's GPUs together.
ALL_GPUS = "nvidia.com/gpu=all"

_NOBODY = 65534


class Image(Environment):
    """An image that this machine's Docker engine has.

    Its entrypoint is not run. Its ENV counts, except for the settings that isolate a measured process.
    """

    devices_apart = True

    def __init__(self, name: str, image: str) -> None:
        super().__init__(name)
        self._image, self._id = image, secrets.token_hex(8)
        self._info: ImageInfo | None = None
        #: The way in which the engine gave it the GPUs; None before that, and where there are none to give.
        self._gpus: str | None = None
        self._client: DockerClient | None = None
        self._found = ""
        self._path: list[str] = []
        self._tunables: str | None = None
        self._cores = isolation.cores()

    def prepare(self, notify: Notify = lambda _: None) -> None:  # noqa: ARG002  # it takes no time
        """Makes sure that the engine answers and has the image, for its own kind of processor."""
        import docker
        from docker.errors import ImageNotFound

        with engine_errors(self.name):
            client = self._client = self._client or docker.from_env()
            sweep(client)
            try:
                found = client.images.get(self._image)
            except ImageNotFound:
                raise self.unavailable(
                    f"the Docker engine has no image {self._image}; docker pull {self._image}"
                ) from None
            engine = client.version()
        made_for, runs = (
            f"{one.get('Os')}/{one.get(key)}" for one, key in ((found.attrs, "Architecture"), (engine, "Arch"))
        )
        if made_for != runs:
            raise self.unavailable(f"is made for {made_for}, and this machine runs {runs}; name one made for it")
        self._found = found.id or self._image
        self._info = _image_info(self._image, found.attrs)
        set_there = dict(one.split("=", 1) for one in found.attrs["Config"].get("Env") or [] if "=" in one)
        self._path = list(filter(None, [set_there.get("PYTHONPATH")]))
        self._tunables = set_there.get("GLIBC_TUNABLES")

    def start(self, options: WorkerOptions, token: str) -> WorkerProcess:
        """Returns a worker in a container of this image."""
        if self._client is None:
            self.prepare()
        with engine_errors(self.name):
            return self._start(options, token)

    def _start(self, options: WorkerOptions, token: str) -> Container:
        """Returns a container that has the GPUs in the first way in which the engine gives them.

        Raises the refusal that tells most, or any other error of the engine.
        """
        from docker.errors import APIError

        client = self._client
        assert client is not None
        log = options.scratch / f"{options.label}.txt"
        ways = _gpu_requests(options.device)
        refused: APIError | None = None
        for way in [self._gpus] if self._gpus in ways else ways:
            settings = {**self._settings(options, token), "device_requests": ways[way]}
            try:
                container = Container(client, settings, log, token)
            except APIError as error:
                if not ways[way] or not refuses_gpus(error):
                    raise
                refused = _telling(refused, error)
            else:
                self._gpus = way
                return container
        assert refused is not None
        raise refused

    def described(self, info: EnvironmentInfo) -> EnvironmentInfo:
        """Returns `info` with the image, as the engine and its labels tell of it, and the way to the GPUs."""
        if self._info is None:
            return info
        inside = info.image
        known = {
            "base": self._info.base or (inside.base if inside else None),
            "base_digest": self._info.base_digest or (inside.base_digest if inside else None),
            "gpus": self._gpus if info.gpu is not None else None,
        }
        return info.model_copy(update={"image": self._info.model_copy(update=known)})

    def close(self) -> None:
        """Removes its containers that still run, and closes the connection to the engine."""
        if self._client is None:
            return
        try:
            left = self._client.api.containers(all=True, filters={"label": f"{ENVIRONMENT}={self._id}"})
        except Exception:  # noqa: BLE001  # the engine may be gone, and then so are its containers
            left = []
        for container in left:
            remove(self._client, container["Id"])
        self._client.close()
        self._client = None

    def _settings(self, options: WorkerOptions, token: str) -> dict[str, Any]:
        from docker.types import LogConfig

        limit = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE)
        user = f"{os.getuid()}:{os.getgid()}"
        options.stage.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:  # nothing judged is run as root
            user = f"{_NOBODY}:{_NOBODY}"
            make_readable(options.stage)
        on_gpu = None not in _gpu_requests(options.device)
        users = [
            _implementation(options),
            _files(options.cases, CASES, "BNSUITE_CASES"),
            _files(options.workloads, WORKLOADS, "BNSUITE_WORKLOADS"),
            _functions(options),
        ]
        imported = [folder for _, _, folders in users for folder in folders]
        python_path = os.pathsep.join([INNER, *imported, *self._path])
        return {
            "image": self._found,
            "name": f"bnsuite-{re.sub('[^a-zA-Z0-9_.-]', '-', options.label)}-{secrets.token_hex(4)}",
            "entrypoint": ["sh", "-c", FIND_PYTHON],
            "command": [],
            "environment": {
                **self._variables(options, token),
                **{name: value for _, variables, _ in users for name, value in variables.items()},
                "PYTHONPATH": python_path,
            },
            "working_dir": "/tmp",  # noqa: S108  # the container's own
            "mounts": [
                _mount(inner_half(options.scratch), INNER),
                _mount(options.stage, STAGE),
                *(mount for mounts, _, _ in users for mount in mounts),
            ],
            "labels": labels(self._id),
            "user": user,
            # spoken to by stdin and stdout alone; stdin ends when the coordinator does
            "stdin_open": True,
            "detach": False,
            "network_mode": "none",
            "log_config": LogConfig(type="none"),
            # nothing to write to but memory, no rights, no more than its share
            "read_only": True,
            "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={TMP_BYTES}"},  # noqa: S108  # compiled code is loaded
            "shm_size": SHM_BYTES,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "pids_limit": MAX_PROCESSES,
            "mem_limit": limit,
            "memswap_limit": limit,
            "cpuset_cpus": ",".join(map(str, self._cores if on_gpu else _own_cores(options) or self._cores)),
            # a check of health would run beside what is timed
            "healthcheck": {"test": ["NONE"]},
            "auto_remove": True,
        }

    def _variables(self, options: WorkerOptions, token: str) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            **isolation.variables(options.threads),
            **(isolation.huge_pages(self._tunables) if options.huge_pages else {}),
            **isolation.settled_cores(options.cores),
            **isolation.ranks(options),
            "BNSUITE_HEAPS": json.dumps(isolation.heaps()),
            "BNSUITE_STAGE": STAGE,
            "BNSUITE_TOKEN": token,
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/tmp",  # noqa: S108  # the container's own
            "TMPDIR": "/tmp",  # noqa: S108  # likewise
            # compilers name their caches after the user, who has no entry in the image's passwd
            "USER": "bnsuite",
            "LOGNAME": "bnsuite",
        }


def _own_cores(options: WorkerOptions) -> list[int]:
    """Returns the cores of a container on a CPU: its own, and those of the ranks that it may start; none for all.

    On a GPU the process takes its cores by itself: the sensors are read beside them.
    """
    ranks = options.rank_cores if options.times else ()
    return sorted({*options.cores, *ranks})


#: Mounts and variables of a user's files, and the folders among them that Python imports from.
UsersFiles = tuple[list["Mount"], dict[str, str], list[str]]


def _implementation(options: WorkerOptions) -> UsersFiles:
    """Returns those of the user's layer: its file's folder, or the current one for a module."""
    if options.implementation is None:
        return [], {}, []
    place, _, factory = options.implementation.rpartition(":")
    if place.endswith(".py"):
        file = Path(place)
        variables = {"BNSUITE_IMPL": f"{USERS}/{file.name}:{factory}", **isolation.supports(options)}
        return [_mount(file.parent, USERS)], variables, []
    variables = {"BNSUITE_IMPL": options.implementation, **isolation.supports(options)}
    here = isolation.current_folder()
    top = here / place.split(".")[0]
    if not top.is_dir() and not top.with_name(f"{top.name}.py").is_file():
        return [], variables, []
    return [_mount(here, USERS)], variables, [USERS]


def _functions(options: WorkerOptions) -> UsersFiles:
    """Returns those of the user's functions: the folder of each file, or the current one for modules."""
    mounts, variables, path = [], {}, []
    for role, named in options.functions.items():
        place, _, function = named.rpartition(":")
        there = f"{FUNCTIONS}/{role}"
        file, here = Path(place), isolation.current_folder()
        if place.endswith(".py"):
            variables[ROLES[role].variable] = f"{there}/{file.name}:{function}"
            mounts.append(_mount(file.parent, there))
            continue
        variables[ROLES[role].variable] = named
        top = here / place.split(".")[0]
        if top.is_dir() or top.with_name(f"{top.name}.py").is_file():
            mounts.append(_mount(here, there))
            path.append(there)
    return mounts, variables, path


def _files(named: tuple[str, ...], place: str, variable: str) -> UsersFiles:
    """Returns those of files that are `named` in a variable: the folder of each, imported from if it is the current."""
    folders: dict[Path, str] = {}
    entries = []
    for entry in named:
        path, _, name = entry.partition(".py:")
        file = Path(path if path.endswith(".py") else f"{path}.py")
        there = folders.setdefault(file.parent, f"{place}/{len(folders)}")
        entries.append(f"{there}/{file.name}" + (f":{name}" if name else ""))
    mounts = [_mount(folder, there) for folder, there in folders.items()]
    here = isolation.current_folder().resolve()
    imported = [there for folder, there in folders.items() if folder.resolve() == here]
    return mounts, {variable: os.pathsep.join(entries)} if entries else {}, imported


def _mount(folder: Path, there: str) -> Mount:
    from docker.types import Mount

    return Mount(there, str(folder.resolve()), type="bind", read_only=True)


def _gpu_requests(device: str) -> dict[str | None, list[DeviceRequest]]:
    """Returns the ways to ask for all GPUs of this machine, so that their numbers stay; "auto" needs a driver for one.

    "runtime" is what ``docker run --gpus all`` asks for. Engines whose toolkit is in its CDI mode may refuse that, and
    take the name of a description.
    """
    from docker.types import DeviceRequest

    driver = any(Path(one).exists() for one in ("/dev/nvidiactl", "/dev/dxg"))
    if device == "cpu" or (device == "auto" and not driver):
        return {None: []}
    return {
        "runtime": [DeviceRequest(count=-1, capabilities=[["gpu", "compute", "utility"]])],
        "cdi": [DeviceRequest(driver="cdi", device_ids=[ALL_GPUS])],
    }


def _telling(first: APIError | None, last: APIError) -> APIError:
    """Returns the refusal that tells more: the last, unless the engine only says that it does not know that way."""
    return last if first is None or "could not select device driver" not in str(last.explanation) else first


def _image_info(name: str, attributes: dict[str, Any]) -> ImageInfo:
    """Returns the engine's account of an image. A digest that neither it nor a label tells is None."""
    found = attributes["Config"].get("Labels") or {}
    return ImageInfo(
        name=name,
        id=attributes.get("Id"),
        digests=tuple(sorted(attributes.get("RepoDigests") or ())),
        base=found.get(BASE_NAME) or None,
        base_digest=found.get(BASE_DIGEST) or None,
    )
