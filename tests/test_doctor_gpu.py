"""The checks of the GPU: NVML's answers by the real binding and worker, against the library that plays a driver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import nvml_stub
from bnsuite.cases.gpu_errors import explained
from bnsuite.doctor import gpu, kernel
from bnsuite.doctor.host import DoctorRequest, Host, TorchPackage, cuda_of, torch_package
from bnsuite.launch.process.messages import GpuAnswer, KernelAnswer
from bnsuite.launch.queries import ask_gpu, ask_kernel
from bnsuite.measure.nvml.tally import THROTTLING
from bnsuite.record.host import HostCheck
from fake_host import fake_host, look, shown

#: Long enough for a busy machine to start Python.
LIMIT_S = 120.0
CUDA = DoctorRequest(device="cuda")
CARD = {
    "sys/bus/pci/devices/0000:3b:00.0/vendor": "0x10de\n",
    "sys/bus/pci/devices/0000:3b:00.0/class": "0x030200\n",
}

Ask = Callable[..., GpuAnswer]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of the library that plays a driver, by how it is compiled."""
    return {build: str(nvml_stub.compiled(tmp_path_factory.mktemp("nvml"), build)) for build in ("", "OLD")}


@pytest.fixture
def ask(libraries: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks a real worker about a GPU that a library plays."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)

    def of(plays: str, index: int = 0, build: str = "") -> GpuAnswer:
        monkeypatch.setenv("LD_LIBRARY_PATH", libraries[build])
        monkeypatch.setenv("NVML_STUB", plays)
        return ask_gpu(index, LIMIT_S)

    return of


def checked(answer: GpuAnswer, host: Host) -> dict[str, HostCheck]:
    return look(gpu.SUBJECT, host, CUDA, gpu=lambda _: answer)


def test_a_gpu_that_is_idle_and_set_up_is_fine(ask: Ask, tmp_path: Path) -> None:
    """Persistent, with locked clocks, without errors, processes, slices or MPS."""
    found = checked(ask("roomy"), fake_host(tmp_path))
    assert {name: shown(one) for name, one in found.items() if name != "gpu-cuda"} == {
        "gpu-driver": "ok: driver 580.65.06, NVIDIA Stub 1",
        "gpu-compute-mode": "ok: several processes may use the GPU",
        "gpu-memory": "ok: 80.0 GiB of 80.0 GiB of its memory free",
        "gpu-persistence": "ok: persistence mode is on",
        "gpu-clocks": "ok: SM clock held: 1980 MHz now, up to 1980 MHz",
        "gpu-throttling": "ok: clocks not held down",
        "gpu-ecc": "ok: ECC errors since the driver was loaded: 2 corrected, 0 uncorrected",
        "gpu-remapped-rows": "ok: remapped rows: 1 correctable, 0 uncorrectable",
        "gpu-processes": "ok: no other process on the GPU",
        "gpu-mig": "ok: MIG is off",
        "gpu-mps": "ok: no MPS",
    }


@pytest.mark.parametrize(
    ("plays", "name", "said"),
    [
        ("volatile", "gpu-persistence", "disturbs: persistence mode is off"),
        ("idle", "gpu-clocks", "disturbs: SM clock not locked: 345 MHz now, up to 1980 MHz"),
        (
            "thermal foreign",
            "gpu-clocks",
            "unknown: could not look: the GPU is in use, and shows its locked clocks only",
        ),
        (
            "thermal",
            "gpu-throttling",
            "disturbs: clocks held down by hw_slowdown, sw_thermal_slowdown, hw_thermal_slowdown at 92 °C",
        ),
        ("throttled", "gpu-throttling", "disturbs: clocks held down by hw_power_brake_slowdown at 45 °C"),
        ("ecc", "gpu-ecc", "disturbs: ECC errors since the driver was loaded: 5 corrected, 1 uncorrected"),
        ("pending", "gpu-remapped-rows", "disturbs: remapped rows: 1 correctable, 0 uncorrectable, a remap is pending"),
        ("pages", "gpu-remapped-rows", "disturbs: remapped rows: 1 correctable, 0 uncorrectable, a remap is pending"),
        ("broken", "gpu-remapped-rows", "disturbs: remapped rows: 1 correctable, 1 uncorrectable, a remap failed"),
        ("foreign", "gpu-processes", "disturbs: 1 other process on the GPU (process 900002)"),
        ("more", "gpu-processes", "disturbs: 2 other processes on the GPU (process 900002, 900003)"),
        ("mig", "gpu-mig", "ok: MIG is on with 1 slice"),
        ("slices", "gpu-driver", "disturbs: driver 580.65.06, 1 GPU: GPU-1234 has 2 MIG slices: name one in CUDA"),
        ("mps", "gpu-mps", "disturbs: MPS shares the GPU, 2 clients seen"),
        ("prohibited", "gpu-driver", "disturbs: NVIDIA Stub 1 is in a compute mode that allows no process"),
        ("exclusive", "gpu-compute-mode", "disturbs: one process has the GPU for itself"),
        ("", "gpu-memory", "disturbs: 700 B of 1000 B of its memory free"),
        ("no-driver", "gpu-driver", "disturbs: NVML: Driver Not Loaded"),
        ("taken", "gpu-driver", "disturbs: NVML: Unknown Error"),
        ("no-driver", "gpu-ecc", "not-applicable: needs a GPU that answers"),
        (
            "no-gpu",
            "gpu-driver",
            "disturbs: driver 580.65.06, 0 GPUs: there is no GPU 0 among the 0 that CUDA is shown",
        ),
        ("lost", "gpu-driver", "disturbs: driver 580.65.06, 1 GPU: NVML: GPU is lost; it has fallen off the bus"),
        ("unknown", "gpu-driver", "disturbs: driver 580.65.06, 1 GPU: NVML: Unknown Error; in a container: its host"),
        ("xorg", "gpu-processes", "ok: no other process on the GPU, but for 1 window system"),
        ("xorg foreign", "gpu-processes", "disturbs: 1 other process on the GPU (process 900002)"),
        ("unsupported", "gpu-ecc", "not-applicable: the driver does not say"),
        ("unsupported", "gpu-processes", "not-applicable: the driver does not say"),
        ("no-permission", "gpu-persistence", "not-applicable: the driver does not say"),
    ],
)
def test_what_a_driver_says_is_judged(ask: Ask, tmp_path: Path, plays: str, name: str, said: str) -> None:
    """Each state of a GPU, by the calls that a driver answers."""
    assert shown(checked(ask(plays), fake_host(tmp_path))[name]).startswith(said)


@pytest.mark.parametrize(
    ("plays", "fix"), [("lost", "reset-gpu"), ("unknown", "restart-container"), ("slices", "name-gpu")]
)
def test_a_gpu_that_says_nothing_has_a_fix_of_its_own(ask: Ask, tmp_path: Path, plays: str, fix: str) -> None:
    """Lost, taken from its container, or not named."""
    assert checked(ask(plays), fake_host(tmp_path))["gpu-driver"].fix == fix


def test_an_old_driver_leaves_gaps(ask: Ask, tmp_path: Path) -> None:
    """Functions that it lacks are no fault of the GPU."""
    found = checked(ask("", build="OLD"), fake_host(tmp_path))
    assert shown(found["gpu-mig"]) == "not-applicable: the driver does not say"
    assert shown(found["gpu-remapped-rows"]) == "ok: remapped rows: 0 correctable, 0 uncorrectable"


def test_the_gpu_that_is_asked_for_is_looked_at(ask: Ask) -> None:
    """A process on the first GPU is no matter for the second."""
    first, second = (ask("two foreign", index).gpu for index in (0, 1))
    assert first is not None
    assert second is not None
    assert (first.processes, second.processes) == ((900002,), ())


def test_a_machine_without_a_gpu_is_not_sick(tmp_path: Path) -> None:
    """Nothing is asked, unless a GPU was asked for; where the CPU was, none is looked at."""
    without, card = fake_host(tmp_path / "none"), fake_host(tmp_path / "card", CARD)
    assert {one.state.value for one in look(gpu.SUBJECT, without).values()} == {"not-applicable"}
    assert {one.state.value for one in look(gpu.SUBJECT, card, DoctorRequest(device="cpu")).values()} == {
        "not-applicable"
    }
    asked = look(gpu.SUBJECT, without, CUDA)["gpu-driver"]
    assert (shown(asked), asked.fix) == ("disturbs: NVML: NVML Shared Library Not Found", "no-gpu")


def test_a_card_without_a_driver_disturbs(tmp_path: Path) -> None:
    """A GPU on the bus or a device file says that there should be one; a sound card of NVIDIA's does not."""
    sound = {f"sys/bus/pci/devices/a/{name}": text for name, text in (("vendor", "0x10de"), ("class", "0x040300"))}
    assert gpu.signs_of_gpu(fake_host(tmp_path / "sound", sound)) == []
    found = look(gpu.SUBJECT, fake_host(tmp_path / "card", CARD))["gpu-driver"]
    assert found.fix == "install-driver"
    assert shown(found) == "disturbs: NVML: NVML Shared Library Not Found (PCI 0000:3b:00.0)"
    assert look(gpu.SUBJECT, fake_host(tmp_path / "file", {"dev/nvidia0": ""}))["gpu-driver"].fix == "install-driver"
    mismatch = GpuAnswer(
        driver=None, cuda=None, count=None, gpu=None, trouble="NVML: RM has detected an NVML/RM version mismatch."
    )
    loaded = {**CARD, "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu"}
    found = look(gpu.SUBJECT, fake_host(tmp_path / "old", loaded), gpu=lambda _: mismatch)["gpu-driver"]
    assert found.fix == "reload-driver"
    assert "module 550.54.14 is loaded" in shown(found)


@pytest.mark.parametrize(
    ("driver", "torch", "environ", "fix"),
    [
        ("13.0", "13.0", {}, None),
        ("13.0", "12.8", {}, None),
        ("12.4", "12.8", {}, None),  # minor versions are compatible
        ("12.4", "13.0", {}, "newer-driver"),
        ("12.4", "12.8", {"CUDA_VERSION": "13.0.1"}, "newer-driver"),
        ("13.0", "13.0", {"CUDA_VERSION": "12.8.0"}, None),
        ("13.0", "13.0", {"CUDA_VERSION": "12.8.0", "LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}, "image-libraries"),
        ("13.0", None, {}, "cuda-wheel"),
        ("13.0", "13.0", {"CUDA_VERSION": "\x1b[31mno version"}, None),
    ],
)
def test_the_driver_must_offer_what_torch_was_built_with(
    ask: Ask, tmp_path: Path, *, driver: str, torch: str | None, environ: dict[str, str], fix: str | None
) -> None:
    """Within a major version any minor one will do; the image's own CUDA counts as well."""
    answer = ask("").model_copy(update={"cuda": driver})
    package = TorchPackage("2.14.1", torch)
    host = replace(fake_host(tmp_path), torch=lambda: package, environ=environ)
    assert checked(answer, host)["gpu-cuda"].fix == fix


def test_the_torch_of_this_interpreter_is_known_without_importing_it() -> None:
    """Its version file says what torch says."""
    import torch

    package = torch_package()
    assert package is not None
    assert torch.__version__.startswith(package.version.partition("+")[0])
    assert package.cuda == torch.version.cuda
    assert cuda_of("cuda: Optional[str] = None\n") is None
    assert cuda_of("__all__ = ['cuda']\ncuda = '11.8'\n") == "11.8"


def test_a_container_without_its_devices_is_to_be_restarted(ask: Ask, tmp_path: Path) -> None:
    """NVML says "Unknown Error" where the host took the GPUs away."""
    assert checked(ask("taken"), fake_host(tmp_path, CARD))["gpu-driver"].fix == "restart-container"


def test_a_kernel_is_run_where_a_gpu_is_to_be_measured(tmp_path: Path) -> None:
    """By a real worker, here on the CPU; a machine without a GPU is asked for none."""
    host, card = fake_host(tmp_path / "none"), fake_host(tmp_path / "card", CARD)
    assert shown(look(kernel.SUBJECT, host)["gpu-kernel"]) == "not-applicable: no NVIDIA GPU here, and none asked for"
    answer = ask_kernel("cpu", 60.0)
    assert (answer.device, answer.right, answer.error) == ("cpu", True, None)
    found = look(kernel.SUBJECT, card, kernel=lambda device: answer)["gpu-kernel"]
    assert shown(found).startswith("ok: first result on cpu after ")


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors", "torch-for-gpu"),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "allow-compute"),
        ("CUDA error: out of memory", "free-gpu-memory"),
        ("CUDA driver version is insufficient for CUDA runtime version", "newer-driver"),
        ("Error 802: system not yet initialized", "fabric-manager"),
        ("CUDA error: unknown error", "reset-gpu"),
        ("something else", "look-at-gpu"),
    ],
)
def test_a_kernel_that_fails_has_its_fix(tmp_path: Path, said: str, fix: str) -> None:
    """The errors of CUDA in one line, each with what to do."""
    line, code, _ = explained(RuntimeError(said))
    answer = KernelAnswer(device="cuda:0", right=None, first_s=None, again_s=None, error=line, fix=code)
    found = look(kernel.SUBJECT, fake_host(tmp_path, CARD), kernel=lambda device: answer)["gpu-kernel"]
    assert (found.fix, shown(found)) == (fix, f"disturbs: {said.splitlines()[0]}")


def test_a_wrong_result_disturbs(tmp_path: Path) -> None:
    """A GPU that computes a wrong sum is not measured on."""
    answer = KernelAnswer(device="cuda:0", right=False, first_s=1.0, again_s=0.1, error=None, fix=None)
    found = look(kernel.SUBJECT, fake_host(tmp_path, CARD), kernel=lambda device: answer)["gpu-kernel"]
    assert shown(found) == "disturbs: cuda:0 computed a wrong sum"


def test_a_server_of_mps_is_known_by_its_pipe(ask: Ask, tmp_path: Path) -> None:
    """Where it lies by default, or where the variable says."""
    answer = ask("")
    assert shown(checked(answer, fake_host(tmp_path / "a", {"tmp/nvidia-mps/control": ""}))["gpu-mps"]).startswith(
        "disturbs: MPS shares the GPU"
    )
    host = fake_host(tmp_path / "b", {"run/mps/control": ""})
    named = replace(host, environ={"CUDA_MPS_PIPE_DIRECTORY": "/run/mps"})
    assert checked(answer, named)["gpu-mps"].state.value == "disturbs"
    assert checked(answer, host)["gpu-mps"].state.value == "ok"


def test_throttling_is_what_the_watch_calls_so() -> None:
    """Both halves name the same reasons."""
    assert gpu.THROTTLING == THROTTLING
