"""Checks of the processor: cores, load, stolen time, frequency, and where the given cores lie."""

from __future__ import annotations

from dataclasses import dataclass

from bnsuite.doctor.host import CannotLookError, DoctorRequest, Host, finite, numbers
from bnsuite.doctor.result import Result, Subject, disturbs, fine, judged, not_applicable
from bnsuite.launch.process.isolation import timed_cores

CPU = "sys/devices/system/cpu"
#: A share of stolen time that shows in times: while looking, and on average since the boot.
MAX_STEAL, MAX_STEAL_SINCE_BOOT = 0.02, 0.01
#: A core that works more than this while nothing is measured is not free.
MAX_BUSY = 0.25
#: The share of the last ten seconds in which some task waited for a core (pressure stall information).
MAX_PRESSURE = 0.05
#: The columns of /proc/stat; guest time is part of user time.
USER, IDLE, IOWAIT, STEAL, COLUMNS = 0, 3, 4, 7, 8


@dataclass(frozen=True)
class CpuFacts:
    """The host, and the ticks of each core and of all ("cpu") at two moments."""

    host: Host
    request: DoctorRequest
    before: dict[str, list[int]]
    after: dict[str, list[int]]

    @property
    def timed(self) -> list[int]:
        """The cores that a measurement would time on: the last ones given, or all if none is left beside them."""
        given = list(self.host.cores)
        return timed_cores(self.request.threads, given) or given

    def spent(self, name: str) -> list[int]:
        """Returns the ticks that a line of /proc/stat gained, by column; CannotLookError if there were none."""
        if name not in self.before or name not in self.after:
            raise CannotLookError(f"/proc/stat has no line {name}")
        gained = [max(0, new - old) for old, new in zip(self.before[name], self.after[name], strict=False)]
        if not sum(gained):
            raise CannotLookError(f"the line {name} of /proc/stat does not count")
        return gained


def ticks(text: str) -> dict[str, list[int]]:
    """Returns the ticks in /proc/stat, by line and column; kernels before 2.6.11 count no stolen ones."""
    lines = (line.split() for line in text.splitlines() if line.startswith("cpu"))
    return {name: [*map(int, values[:COLUMNS]), *[0] * (COLUMNS - len(values))] for name, *values in lines}


def probe(host: Host, request: DoctorRequest) -> CpuFacts:
    """Looks at the processor's counters, twice."""
    before = ticks(host.text("proc/stat") or "")
    host.wait(host.window_s)
    return CpuFacts(host, request, before, ticks(host.text("proc/stat") or ""))


def online(host: Host) -> int:
    """Returns the number of cores that are switched on."""
    return len(numbers(host.text(f"{CPU}/online") or "")) or len(host.cores)


def cores(facts: CpuFacts) -> Result:
    """A measurement needs a core for each timed thread, and one for the process that coordinates it."""
    given, needed = len(facts.host.cores), facts.request.threads + 1
    return judged("more-cores", disturbed=given < needed, given=given, online=online(facts.host), needed=needed)


def load(facts: CpuFacts) -> Result:
    """The load of the last minute must leave a core free."""
    average, there = finite(facts.host.required("proc/loadavg").split()[0]), online(facts.host)
    limit = max(there - facts.request.threads, 0.5)
    return judged("end-other-work", disturbed=average > limit, load=average, cores=there)


def pressure(facts: CpuFacts) -> Result:
    """No task may have to wait for a core."""
    text = facts.host.text("proc/pressure/cpu")
    if text is None:
        return not_applicable("not-in-kernel")
    line = next((line for line in text.splitlines() if line.startswith("some ")), "")
    shares = dict(word.partition("=")[::2] for word in line.split()[1:])
    if "avg10" not in shares:
        raise CannotLookError("/proc/pressure/cpu has no avg10")
    share = finite(shares["avg10"]) / 100
    return judged("end-other-work", disturbed=share > MAX_PRESSURE, share=share)


def core_free(facts: CpuFacts) -> Result:
    """The cores that are timed on must be idle as long as nothing is measured."""
    shares = {}
    for core in facts.timed:
        spent = facts.spent(f"cpu{core}")
        shares[core] = 1 - (spent[IDLE] + spent[IOWAIT]) / sum(spent)
    core = max(shares, key=lambda one: shares[one])
    return judged("end-other-work", disturbed=shares[core] > MAX_BUSY, core=core, busy=round(shares[core], 3))


def steal(facts: CpuFacts) -> Result:
    """A hypervisor must not give the cores to other machines."""
    spent, ever = facts.spent("cpu"), facts.after["cpu"]
    share, since_boot = spent[STEAL] / sum(spent), ever[STEAL] / max(1, sum(ever))
    disturbed = (share > MAX_STEAL and spent[STEAL] > 1) or since_boot > MAX_STEAL_SINCE_BOOT
    return judged("dedicated-host", disturbed=disturbed, share=round(share, 4), since_boot=round(since_boot, 4))


def governor(facts: CpuFacts) -> Result:
    """The frequency must not wait for load to come."""
    paths = [f"{CPU}/cpu{core}/cpufreq/scaling_governor" for core in facts.host.cores]
    found = {text.strip() for path in paths if (text := facts.host.text(path)) is not None}
    if not found:
        return not_applicable("set-by-host")
    return judged("performance-governor", disturbed=found != {"performance"}, governors=sorted(found))


def turbo(facts: CpuFacts) -> Result:
    """With turbo the frequency depends on heat and on the other cores."""
    for path, on, fix in (
        (f"{CPU}/intel_pstate/no_turbo", "0", "no-turbo-intel"),
        (f"{CPU}/cpufreq/boost", "1", "no-turbo-boost"),
        (f"{CPU}/cpu{facts.timed[-1]}/cpufreq/boost", "1", "no-turbo-core"),
    ):
        text = facts.host.text(path)
        if text is not None:
            return judged(fix, disturbed=text.strip() == on, turbo=text.strip() == on)
    return not_applicable("set-by-host")


def siblings(facts: CpuFacts) -> Result:
    """The coordinating process must find a core that does not share its units with a timed one."""
    timed = facts.timed
    shared: set[int] = set()
    for core in timed:
        text = facts.host.text(f"{CPU}/cpu{core}/topology/thread_siblings_list")
        shared |= set(numbers(text)) if text is not None else set()
    others = set(facts.host.cores) - set(timed)
    if not shared - set(timed):
        return not_applicable("no-siblings") if not shared else fine(cores=timed)
    disturbed = bool(others) and others <= shared
    return judged("other-core", disturbed=disturbed, cores=timed, siblings=sorted(shared - set(timed)))


def numa(facts: CpuFacts) -> Result:
    """The given cores must share their memory."""
    nodes = facts.host.names("sys/devices/system/node", "node[0-9]*")
    if len(nodes) < 2:
        return not_applicable("one-node")
    given = set(facts.host.cores)
    spanned = [
        int(node.rpartition("node")[2])
        for node in nodes
        if given & set(numbers(facts.host.text(f"{node}/cpulist") or ""))
    ]
    return judged("one-node", disturbed=len(spanned) > 1, nodes=len(nodes), spanned=sorted(spanned))


def virtual_machine(facts: CpuFacts) -> Result:
    """A virtual machine is as good as the share of the host it is given, which `steal` shows."""
    flags = next(
        (line for line in (facts.host.text("proc/cpuinfo") or "").splitlines() if line.startswith("flags")), ""
    )
    vendor, product = (
        (facts.host.text(f"sys/class/dmi/id/{name}") or "").strip() for name in ("sys_vendor", "product_name")
    )
    kind = (facts.host.text("sys/hypervisor/type") or "").strip()
    if not kind and "hypervisor" not in flags.split():
        return not_applicable("no-hypervisor")
    return fine(hypervisor=kind or f"{vendor} {product}".strip() or "unnamed")


def huge_pages(facts: CpuFacts) -> Result:
    """Large tensors of `ab` are backed by huge pages, where the kernel gives them to whoever asks."""
    text = facts.host.text("sys/kernel/mm/transparent_hugepage/enabled")
    if text is None:
        return not_applicable("not-in-kernel")
    chosen = text.partition("[")[2].partition("]")[0]
    if not chosen:
        raise CannotLookError("/sys/kernel/mm/transparent_hugepage/enabled names no choice")
    return disturbs("madvise", setting=chosen) if chosen == "never" else fine(setting=chosen)


SUBJECT = Subject(
    "cpu",
    probe,
    {
        "cores": cores,
        "load": load,
        "cpu-pressure": pressure,
        "core-free": core_free,
        "steal": steal,
        "governor": governor,
        "turbo": turbo,
        "smt": siblings,
        "numa": numa,
        "virtual-machine": virtual_machine,
        "huge-pages": huge_pages,
    },
)
