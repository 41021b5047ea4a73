"""The timed steps of several ranks: what a step does, that nothing is left of them, and what too few cores say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bnsuite.cases import catalogue
from bnsuite.cases.distributed import CASES, ranks
from bnsuite.cases.distributed.case import PARAMETERS, STATISTICS, DistributedCase
from bnsuite.cases.distributed.programs import Rank, batch, network
from bnsuite.cases.distributed.synchronised import SynchronisedBatchNorm
from bnsuite.judge.gates import judge
from bnsuite.judge.reason import ReasonCode
from bnsuite.judge.verdict import ExitStatus, Verdict
from bnsuite.launch.room import Room
from bnsuite.measure.timed_case import alone
from bnsuite.record.reference import Reference
from bnsuite.record.schema import CaseResult, Outcome, PlannedCase, Status
from bnsuite.report import scaling
from bnsuite.report.reasons import words
from bnsuite.report.summary import last_line
from conftest import Command, make_run, result, timing
from scaling import page

BY_ID = {case.id: case for case in CASES}
DDP = BY_ID["distributed/ddp/cnn/ranks=2"]


@pytest.fixture(autouse=True)
def _shared_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks may share cores: a test needs their numbers, and takes no time."""
    monkeypatch.setenv(ranks.SHARED_VARIABLE, "1")


@pytest.fixture(autouse=True, scope="module")
def _ended_in_the_end() -> Iterator[None]:
    """The tests share the ranks, since their start takes seconds; none waits long for a rank that is lost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "COLLECTIVE_S", 30.0)
        yield
        ranks.close()


def parameters_of(step: Any) -> list[torch.Tensor]:
    """The parameters that a step on rank 0 trains, found through its closure."""
    own = step._own._step if isinstance(step, ranks.RankStep) else step
    cells = dict(zip(own.__code__.co_freevars, own.__closure__, strict=True))
    trained = cells["trained"].cell_contents
    return [parameter.detach().clone() for parameter in trained.parameters()]


def by_one_process(case: DistributedCase, steps: int) -> list[torch.Tensor]:
    """The parameters after the same training in one process: each rank's gradients, averaged."""
    torch.manual_seed(0)
    together = case.program.endswith("composition")
    nets = [network(case.subject, "")]
    nets += [network(case.subject, "") for _ in range(case.ranks - 1)]
    for other in nets[1:]:
        other.load_state_dict(nets[0].state_dict())
    data = [batch(case.subject, Rank(number, case.ranks, "cpu", 0)) for number in range(case.ranks)]
    for _ in range(steps):
        if together:  # statistics of all examples, and the average of losses of equal batches
            images, labels = (torch.cat(parts) for parts in zip(*data, strict=True))
            grads = torch.autograd.grad(
                nn.functional.cross_entropy(nets[0](images), labels), list(nets[0].parameters())
            )
        else:
            by_rank = [
                torch.autograd.grad(nn.functional.cross_entropy(net(x), y), list(net.parameters()))
                for net, (x, y) in zip(nets, data, strict=True)
            ]
            grads = tuple(sum(parts[1:], parts[0]) / len(parts) for parts in zip(*by_rank, strict=True))
        with torch.no_grad():
            for net in nets:
                for parameter, grad in zip(net.parameters(), grads, strict=True):
                    parameter.sub_(0.01 * grad)
    return [parameter.detach() for parameter in nets[0].parameters()]


@pytest.mark.parametrize("name", ["distributed/ddp/cnn/ranks=2", "distributed/ddp+sync-composition/cnn/ranks=2"])
def test_ranks_train_as_one_process_would(name: str) -> None:
    """After three steps rank 0 has the parameters of a process that goes through the examples of both."""
    case = BY_ID[name]
    step = case.build("cpu")
    for _ in range(3):
        assert step() is None
    for seen, truth in zip(parameters_of(step), by_one_process(case, 3), strict=True):
        torch.testing.assert_close(seen, truth, rtol=1e-3, atol=1e-5)


def test_controls_are_the_exchange_of_the_same_ranks() -> None:
    """The control of a step is an all-reduce that ranks take part in; the plain network and the exchange have none."""
    step = DDP.build("cpu")
    (name, control), *more = DDP.controls(step).items()
    assert (name, more) == ("all-reduce", [])
    assert control() is None
    exchange = BY_ID["distributed/all-reduce/statistics/ranks=2"]
    assert exchange.controls(exchange.build("cpu")) == {}
    plain = BY_ID["distributed/plain/cnn/ranks=1"]
    assert plain.controls(plain.build("cpu")) == {}
    assert ranks._Kept.group is not None  # the ranks serve one case after the other
    assert ranks._Kept.group.ranks == 2


def test_payloads_are_those_of_the_networks() -> None:
    """The declared number of an all-reduce's numbers is that of the gradients, or of a layer's sums."""
    assert PARAMETERS["cnn"] == sum(parameter.numel() for parameter in network("cnn", "").parameters())
    assert STATISTICS == 2 * 256 + 1
    if pytest.importorskip("torchvision"):
        assert PARAMETERS["resnet18"] == sum(parameter.numel() for parameter in network("resnet18", "").parameters())


def test_a_rank_that_dies_is_named() -> None:
    """The step raises at once, in words that name the rank; the next case has ranks of its own."""
    step = DDP.build("cpu")
    group = ranks._Kept.group
    assert group is not None
    group._others[0].kill()
    group._others[0].wait()
    with pytest.raises(ranks.RanksError, match="rank 1 ended by SIGKILL"):
        step()
    again = DDP.build("cpu")
    assert again() is None
    assert ranks._Kept.group is not group


def test_a_case_of_one_rank_is_timed_without_the_others() -> None:
    """The ranks of the case before are ended, and so is the group; a case of several keeps them."""
    DDP.build("cpu")
    group = ranks._Kept.group
    assert group is not None
    alone(DDP)
    assert not group.ended
    alone(BY_ID["distributed/plain/cnn/ranks=1"])
    assert group.ended
    assert not torch.distributed.is_initialized()
    assert all(other.returncode is not None for other in group._others)


def test_too_few_cores_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks do not share cores unless that is asked for."""
    monkeypatch.delenv(ranks.SHARED_VARIABLE)
    ranks.close()
    monkeypatch.setenv(ranks.CORES_VARIABLE, str(min(os.sched_getaffinity(0))))
    with pytest.raises(ranks.RanksError, match="needs 2 cores, one per rank; 1 are given"):
        DDP.build("cpu")


def test_a_rank_that_cannot_be_started_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranks before it have an owner, who ends them."""
    groups: list[ranks.Group] = []
    command = ranks.Group._command

    def of_the_first(self: ranks.Group, rank: int, core: int) -> list[str]:
        groups.append(self)
        return command(self, rank, core) if rank == 1 else ["/nowhere/python"]

    ranks.close()
    monkeypatch.setattr(ranks.Group, "_command", of_the_first)
    with pytest.raises(FileNotFoundError):
        BY_ID["distributed/all-reduce/statistics/ranks=4"].build("cpu")
    assert [other.returncode for other in groups[0]._others] == [-signal.SIGKILL]


def test_nothing_is_left_of_a_killed_process() -> None:
    """The ranks of a process that is killed end with it, whatever they wait for."""
    program = (
        "from bnsuite.cases.distributed import CASES, ranks\n"
        f"step = next(one for one in CASES if one.id == {DDP.id!r}).build('cpu')\n"
        "print(*(other.pid for other in ranks._Kept.group._others), flush=True)\n"
        "while True:\n    step()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    (other,) = map(int, process.stdout.readline().split())
    assert Path(f"/proc/{other}").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 60
    while _runs(other) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _runs(other)


def _runs(pid: int) -> bool:
    """True while there is such a process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_without_a_group_it_is_torchs_layer() -> None:
    """One process that has no group computes plain batch norm, in training too."""
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(SynchronisedBatchNorm(3)(x), nn.BatchNorm1d(3)(x))


def test_more_ranks_than_cores_are_left_out(tmp_path: Path) -> None:
    """Where nothing else was chosen, the one line has the need and the option that does without."""
    core = str(min(os.sched_getaffinity(0)))
    program = f"import os; os.sched_setaffinity(0, {{{core}}}); from bnsuite.cli.command import main; import sys; "
    program += "sys.exit(main(['--device', 'cpu', '--profile', 'full', '-k', 'all-reduce/statistics', '--out', 'o']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert (
        "the 3 cases chosen need 2 or more cores, one per rank, and there is 1 for ranks; `bnsuite run "
        "--oversubscribe`, by which ranks share cores, measures them"
    ) in done.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(("given", "timed"), [(1, 0), (2, 1), (4, 1), (4, 3), (4, 4), (8, 2)])
def test_a_plan_and_the_ranks_count_cores_alike(given: int, timed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plan has room for gets its cores, and one rank more does not."""
    monkeypatch.delenv(ranks.SHARED_VARIABLE)
    monkeypatch.setenv(ranks.CORES_VARIABLE, ",".join(map(str, range(given))))
    own = set(range(given)[-timed:] if 0 < timed < given else range(given))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: own)
    room = Room.of(make_run().environment, given, timed if timed < given else 0, shared=False)
    assert room.by_cores is not None
    assert len(set(ranks._cores(room.by_cores))) == room.by_cores - 1
    with pytest.raises(ranks.RanksError):
        ranks._cores(room.by_cores + 1)


def test_ranks_share_cores_but_no_gpu() -> None:
    """--oversubscribe lifts the limit of cores alone; a GPU too few is said as such."""
    gpu = type("Gpu", (), {"count": 1})()
    info = make_run().environment.model_copy(update={"gpu": gpu})
    two = PlannedCase.model_validate({**DDP.describe(), "gates": ("timing",)}, strict=False)
    assert Room.of(make_run().environment, 1, 0, shared=True).has(two)
    room = Room.of(info, 8, 2, shared=True)
    assert not room.has(two)
    assert room.why_none(1, [two]) == (
        "the 1 case chosen needs 2 GPUs, one per rank, and there is 1; choose cases of fewer ranks"
    )


def test_the_last_line_says_what_is_lacking() -> None:
    """A GPU, cores, or either, by what was left out; on a GPU more of them."""
    run = make_run(result("op/a", timings=(timing(1e-3),)))

    def said(left_out: int, of_ranks: int, device: str = "cpu") -> str:
        update = {"left_out": left_out, "left_out_ranks": of_ranks, "device": device}
        return last_line(run.model_copy(update=update), [], ExitStatus.FINE)

    assert "(6 more need a GPU)," in said(6, 0)
    assert "(6 more need a GPU or more cores)," in said(6, 2)
    assert "(6 more need more cores)," in said(6, 6)
    assert "(6 more need more GPUs or cores)," in said(6, 6, "cuda:0")
    assert "more need" not in said(0, 0)


def test_a_figure_without_a_bound_is_fine_on_a_cpu() -> None:
    """No CPU can be calibrated, so that no verdict would ever come."""
    ratio = result(f"ratio/scaling/{DDP.id}", timings=(timing(14.1e-3),) * 3)
    partner = {"controls_s": {"partner": (10e-3,) * 3}}
    ratio = ratio.model_copy(update={"timings": tuple(one.model_copy(update=partner) for one in ratio.timings)})
    (one,) = judge(make_run(ratio), Reference(name="baselines/"))
    assert (one.verdict, one.reason.code) == (Verdict.PASS, ReasonCode.RATIO_WITHOUT_BOUND)
    assert words(one) == "takes 1.41 times as long; a figure, no bound is set"


def test_torchrun_is_refused(bnsuite: Command) -> None:
    """Several copies that measure beside one another would measure one another."""
    done = bnsuite("--device", "cpu", TORCHELASTIC_RUN_ID="none")
    assert (done.status, done.out) == (2, "")
    assert "started by torchrun: bnsuite starts its ranks itself" in done.err


def timed(case: DistributedCase, step_s: float, all_reduce_s: float | None = None) -> CaseResult:
    """A case with three launches."""
    planned = PlannedCase.model_validate({**case.describe(), "gates": ("timing",)}, strict=False)
    more = {} if all_reduce_s is None else {"all-reduce": (all_reduce_s,)}
    launch = timing(step_s)
    launch = launch.model_copy(update={"controls_s": {**launch.controls_s, **more}})
    return CaseResult(case=planned, outcomes={"timing": Outcome(status=Status.MEASURED)}, timings=(launch,) * 3)


def test_the_report_has_efficiency_and_bus_bandwidth() -> None:
    """By hand: 2 ranks that take 12 ms against 9 are 75 % efficient; 1 MB/s x 2 (2 - 1) / 2 is 1 MB/s of bus."""
    plain, exchange = BY_ID["distributed/plain/cnn/ranks=1"], BY_ID["distributed/all-reduce/statistics/ranks=2"]
    ratio = result(f"ratio/scaling/{DDP.id}", timings=(timing(12e-3),) * 3)
    ratio = ratio.model_copy(
        update={
            "timings": tuple(one.model_copy(update={"controls_s": {"partner": (9e-3,) * 3}}) for one in ratio.timings)
        }
    )
    run = make_run(timed(plain, 9e-3), timed(DDP, 12e-3, 1e-3), timed(exchange, 4 * STATISTICS / 1e6), ratio)
    made = scaling.section(run)
    assert made is not None
    steps, exchanges = made.tables
    assert [row[6][:4] for row in steps.rows] == ["1", "0.75"]
    assert exchanges.rows[0][-1] == "0.001 GB/s"
    assert scaling.bandwidth(1 << 20, 8, 1e-3) == "1.84 GB/s"
    assert scaling.section(make_run(result("op/a", timings=(timing(1e-3),)))) is None
    assert "0.75" in page([run])


def test_the_ratio_of_scaling_has_no_bound() -> None:
    """What nobody has calibrated alarms nobody."""
    case = catalogue.case("ratio/scaling/distributed/ddp/cnn/ranks=2")
    assert case.describe()["bounds"] == {}
    assert case.ranks == 2
