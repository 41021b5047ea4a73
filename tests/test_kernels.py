"""What a step launches: the profiler's events, hand-made for a GPU and recorded on a CPU, and the pass that looks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from bnsuite.cases import Case, Step, catalogue
from bnsuite.launch.plan import run_options
from bnsuite.launch.process.messages import KernelsAnswer
from bnsuite.launch.progress import ProgressCounter
from bnsuite.launch.session import Session
from bnsuite.measure import devices, kernels, worker
from bnsuite.measure.devices import profiled
from bnsuite.measure.devices.cuda import Cuda
from bnsuite.measure.devices.profiled import Event, ProfilerUnavailableError, Role
from bnsuite.record.schema import Run, Status
from fake_device import FakeDevice

LAYER = "op/batch_norm1d/fwd+bwd/f32/nc/64x128"
CPU = devices.get("cpu")

#: A training forward pass through cuDNN as Kineto lists it: operators and CUDA's calls on the host, kernels and the
#: copy of a named range on the device. Names are those of public traces.
CUDNN = "void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float, int, 512, true, 1, true>(cudnnTensorStruct, float const*)"
ADD = (
    "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctorOnSelf_add<long>, std::array<char*, "
    "2ul> >(int, at::native::CUDAFunctorOnSelf_add<long>, std::array<char*, 2ul>)"
)
ON_A_GPU = [
    Event("aten::add_", 0, 10),
    Event("cudaLaunchKernel", 5, 9),
    Event("aten::batch_norm", 20, 90),
    Event("aten::_batch_norm_impl_index", 21, 89),
    Event("aten::cudnn_batch_norm", 22, 88),
    Event("cudaLaunchKernel", 60, 70),
    Event(CUDNN, 80, 95, on_device=True),
    Event(ADD, 12, 15, on_device=True),
    Event("Optimizer.step#SGD.step", 11, 99, on_device=True, annotation=True),
    Event("Memset (Device)", 96, 97, on_device=True),
    Event("Memcpy DtoD (Device -> Device)", 97, 98, on_device=True),
    Event("Memcpy DtoD (Device -> Device)", 98, 99, on_device=True),
]


def test_kernels_of_a_gpu_are_what_ran_on_it_in_its_order() -> None:
    """Copies and fills count, as often as they ran; calls of the host and named ranges over the device do not."""
    found = profiled.kernels(ON_A_GPU)
    assert list(found.items()) == [
        ("vectorized_elementwise_kernel<4,CUDAFunctorOnSelf_add<long>,array<char*,2ul> >", 1),
        ("cudnn::bn_fw_tr_1C11_kernel_NCHW<float,float,int,512,true,1,true>", 1),
        ("Memset (Device)", 1),
        ("Memcpy DtoD (Device -> Device)", 2),
    ]


FLOOR = (
    "void at::native::vectorized_elementwise_kernel<4, at::native::BUnaryFunctor<int, int, int, "
    "at::native::binary_internal::div_floor_kernel_cuda(at::TensorIteratorBase&)::{lambda()#1}::operator()() "
    "const::{lambda()#3}::operator()() const::{lambda(int, int)#1}>, std::array<char*, 2ul> >(int)"
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("triton_poi_fused__native_batch_norm_legit_2", "triton_poi_fused__native_batch_norm_legit_14"),
        ("triton__0d1d2de", "triton__0d1d2d3de"),
        (FLOOR, FLOOR.replace("#3", "#4")),
        ("cudnn_generated_norm_fwd_4f2a9c11d0", "cudnn_generated_norm_fwd_77b0c2a41e"),
        (
            "void _GLOBAL__N__5c2e79b6_16_Normalization_cu_0b2d9c56_1234::mine(float*)",
            "void _GLOBAL__N__0ba811c7_16_Normalization_cu_11111c56_77::mine(float*)",
        ),
        ("void at::native::(anonymous namespace)::mine<float>(float*, int)", "mine<float>"),
        ("mine(float const*) [clone .kd]", "mine"),
    ],
)
def test_what_differs_from_build_to_build_is_no_part_of_a_name(one: str, other: str) -> None:
    """Numbers of generated kernels, digests, lambdas, anonymous namespaces and arguments."""
    assert profiled.kernel_name(one) == profiled.kernel_name(other)
    assert profiled.kernel_name(profiled.kernel_name(one)) == profiled.kernel_name(one)


def test_names_stay_apart_that_mean_different_work() -> None:
    """Template arguments tell a sum from a product, and long names differ though they begin alike."""
    long = "mine<" + "int, " * 60
    names = [ADD, ADD.replace("_add", "_mul"), f"{long}float>(int)", f"{long}double>(int)", "triton_poi_fused_add_0"]
    found = {profiled.kernel_name(one) for one in names}
    assert len(found) == len(names)
    assert max(map(len, found)) <= profiled.MAX_NAME


@pytest.mark.parametrize(
    ("backend", "events"),
    [
        ("cudnn", ON_A_GPU),
        ("cudnn", [Event(CUDNN, 0, 1, on_device=True)]),
        ("cudnn", [Event("void cudnn::batchnorm_fwtr_nhwc_semiPersist<__half, int>(int)", 0, 1, on_device=True)]),
        ("native", [Event("void at::native::batch_norm_collect_statistics_kernel<int>(x)", 0, 1, on_device=True)]),
        ("compiled", [Event("triton_red_fused__native_batch_norm_legit_functional_0", 0, 1, on_device=True)]),
        ("miopen", [Event("aten::miopen_batch_norm", 0, 1)]),
        ("native", [Event("aten::_native_batch_norm_legit", 0, 1)]),
        ("native", [Event("aten::_batch_norm_with_update", 0, 1)]),
        ("cudnn", [Event("aten::_batch_norm_with_update", 0, 9), Event("aten::cudnn_batch_norm", 1, 8)]),
        ("cudnn+native", [Event("aten::cudnn_batch_norm", 0, 1), Event("aten::native_batch_norm_backward", 2, 3)]),
        (None, [Event("aten::batch_norm", 0, 1), Event("aten::mul", 2, 3)]),
    ],
)
def test_the_backend_of_batch_norm_is_seen(backend: str | None, events: list[Event]) -> None:
    """By operators where there are any, else by kernels: a replayed graph calls no operator."""
    assert profiled.batch_norm_backend(events) == backend


def test_operators_count_where_the_work_is_done() -> None:
    """What has code of its own counts, what calls others only where none of those counts; threads are kept apart."""
    roles = {"wrapper": Role.WRAPPER, "worker": Role.WORKER, "view": Role.IDLE}
    events = [
        Event("wrapper", 0, 100),
        Event("wrapper", 1, 50),
        Event("worker", 2, 40),
        Event("view", 3, 4),
        Event("worker", 5, 30),
        Event("NativeBatchNormBackward0", 60, 70),
        Event("wrapper", 200, 300),
        Event("view", 201, 202),
        Event("worker", 210, 220, thread=1),
        Event("worker", 0, 9, on_device=True),
    ]
    assert profiled.operators(events, roles.get) == {"worker": 3, "wrapper": 1}


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("aten::addmm", Role.WORKER),
        ("aten::native_batch_norm", Role.WORKER),
        ("aten::convolution_backward", Role.WORKER),
        ("aten::batch_norm", Role.WRAPPER),
        ("aten::copy_", Role.WRAPPER),
        ("aten::expand", Role.IDLE),
        ("aten::reshape", Role.IDLE),
        ("aten::as_strided_", Role.IDLE),
        ("aten::empty_like", Role.IDLE),
        ("aten::no_such_operator", None),
        ("autograd::engine::evaluate_function: AddBackward0", None),
        ("## Call CompiledFxGraph f4nx2 ##", Role.WORKER),
    ],
)
def test_torch_tells_the_role_of_its_operators(name: str, role: Role | None) -> None:
    """By its dispatcher and schemas: no list of operators is kept here."""
    assert profiled.role_in_torch(name) is role


def test_a_step_launches_the_same_with_one_thread_and_with_two() -> None:
    """The list is that of the operators, and not of how they divide their work."""
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(kernels.record(catalogue.case(LAYER), CPU))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]
    assert (found[0].of, found[0].batch_norm) == ("operators", "native")
    assert found[0].launched["native_batch_norm_backward"] == 1


class _Scripted(Case):
    """A case whose step notes the names that are given, one list a step."""

    family: ClassVar[str] = "scripted"
    gates = ("kernels",)
    id = "scripted/x"
    nbytes = None

    def script(self, device: FakeDevice, steps: list[str]) -> _Scripted:
        object.__setattr__(self, "_play", lambda: device.log.extend(steps.pop(0)))
        return self

    def build(self, device: str, seed: int = 0) -> Step:
        step: Step = self._play  # type: ignore[attr-defined]
        return step


def test_the_first_steps_do_not_count_and_two_must_agree() -> None:
    """An optimizer makes its state in its first step, and the first batch of an epoch shuffles the data."""
    device = FakeDevice()
    found = kernels.record(_Scripted().script(device, ["xxxx", "yyy", "abb", "c", "abb"]), device)
    assert found.launched == {"a": 1, "b": 2}
    with pytest.raises(ProfilerUnavailableError, match="no two of 4 steps launch the same kernels"):
        kernels.record(_Scripted().script(device, ["", "", "a", "ab", "abc", "b"]), device)


def test_a_gpu_whose_kernels_go_unseen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CUPTI the profiler lists operators alone: the case is left out with one line, and that is no failure."""
    gpu = Cuda("cuda:0")
    monkeypatch.setattr(gpu, "wait", lambda: None)
    with (
        pytest.warns(UserWarning, match="CUDA is not available"),
        pytest.raises(ProfilerUnavailableError, match="the profiler saw no kernel: CUPTI is not available") as caught,
    ):
        gpu.launched(lambda: torch.ones(2).add_(1))
    assert "\n" not in str(caught.value)


def test_what_the_profiler_raises_is_told_from_what_a_step_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profiler that can't start leaves the case out; a failure of the step stays what it was."""

    def broken() -> None:
        raise RuntimeError("of the step")

    with pytest.raises(RuntimeError, match="of the step"):
        profiled.events_of(broken)
    assert profiled.operators(profiled.events_of(lambda: None), profiled.role_in_torch) == {}

    def refused(*_: object) -> None:
        raise RuntimeError("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES")

    monkeypatch.setattr("torch.autograd.profiler._prepare_profiler", refused)
    answer = KernelsAnswer.model_validate(worker.ANSWERS["kernels"]({"case": LAYER, "device": "cpu"}))
    assert answer.kernels is None
    assert str(answer.skipped).startswith("torch's profiler can't record here: ")


IMPLEMENTATIONS = '''
import torch

class OneMore(torch.nn.Module):
    """Batch norm of torch, with the sign changed."""
    def __init__(self, *arguments, **options):
        super().__init__()
        self.layer = torch.nn.BatchNorm1d(*arguments, **options)
    def forward(self, x):
        return -self.layer(x)

class Broken(torch.nn.Module):
    def __init__(self, *arguments, **options):
        super().__init__()
    def forward(self, x):
        import os
        os._exit(3)
'''


@pytest.fixture(scope="module")
def look_at(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str | None], Run]:
    """Looks at the kernels of one layer in a session of its own, with an implementation of IMPLEMENTATIONS."""
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "one.py").write_text(IMPLEMENTATIONS)

    def look(implementation: str | None) -> Run:
        options = run_options(
            device="cpu",
            profile="quick",
            select=LAYER,
            threads=1,
            timeout_s=300.0,
            implementation=implementation and f"{folder / 'one.py'}:{implementation}",
        )
        with Session(options, Path(folder) / str(implementation), ProgressCounter(lambda _: None)) as session:
            prepared = session.prepare()
            prepared.begin()
            prepared.look_at_kernels()
            prepared.end()
        return prepared.run

    return look


def test_a_layer_that_does_more_is_seen_in_its_own_process(look_at: Callable[[str | None], Run]) -> None:
    """A change of sign more, forward and backward, in what a session records; nothing else changes."""
    plain, more = (look_at(one).cases[0] for one in (None, "OneMore"))
    assert plain.kernels is not None
    assert more.kernels is not None
    assert plain.outcomes["kernels"].status is more.outcomes["kernels"].status is Status.MEASURED
    assert more.kernels.launched == {**plain.kernels.launched, "neg": 2}
    assert plain.outcomes["timing"].status is Status.PENDING


def test_a_case_that_ends_its_process_is_left_out_of_this_gate_alone(look_at: Callable[[str | None], Run]) -> None:
    """The times are tried all the same, and say what is wrong with it."""
    outcomes = look_at("Broken").cases[0].outcomes
    assert outcomes["kernels"].status is Status.SKIPPED
    assert outcomes["timing"].status is Status.PENDING
