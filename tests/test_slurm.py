"""The Slurm script by a real `sbatch`: a controller, one node and munge, started in a folder of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bnsuite.record import store
from conftest import ROOT
from consumers import program

SCRIPT = ROOT / "deploy" / "slurm" / "nightly.sbatch"
PACKAGES = "Debian's packages slurm-wlm and munge"

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES State=UP
"""


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class Cluster:
    """A running cluster of one node."""

    folder: Path

    def call(self, *command: str, **variables: str) -> str:
        """The output of one of Slurm's commands, which must end with 0."""
        done = subprocess.run(
            command,
            env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def field(self, job: str, name: str) -> str:
        """One field of a job."""
        said = self.call("scontrol", "show", "job", job)
        return next(word.partition("=")[2] for word in said.split() if word.startswith(f"{name}="))

    def wait(self, job: str, *states: str, within_s: float) -> None:
        """Waits until a job is in one of the states."""
        end = time.monotonic() + within_s
        while self.field(job, "JobState") not in states:
            assert time.monotonic() < end, self.call("scontrol", "show", "job", job) + self.logs()
            time.sleep(0.5)

    def logs(self) -> str:
        """The last lines of the daemons and of the jobs."""
        files = [*self.folder.glob("*.log"), *self.folder.glob("*.out")]
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-2000:]}" for path in files)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Starts munge, the controller and the node, and ends them."""
    programs = [program(name, PACKAGES) for name in ("munged", "slurmctld", "slurmd")]
    for name in ("sbatch", "scontrol", "scancel"):
        program(name, PACKAGES)
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path must be short
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(
        CONFIG.format(
            folder=folder,
            host=host,
            user=Path(f"/proc/{os.getpid()}").owner(),
            cores=os.cpu_count(),
            controller_port=free_port(),
            node_port=free_port(),
        )
    )
    # A GPU for the scheduler; the script asks for one, and the job leaves it alone.
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File=/dev/null\n")
    munged, slurmctld, slurmd = programs
    commands = [
        [
            *(munged, "--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket"),
            *(f"--pid-file={folder}/munge.pid", f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munge.log"),
        ],
        [slurmctld, "-D", "-i", "-f", f"{folder}/slurm.conf"],
        [slurmd, "-D", "-f", f"{folder}/slurm.conf", "-N", host],
    ]
    daemons = []
    cluster = Cluster(folder)
    try:
        for command in commands:
            with (folder / f"{Path(command[0]).name}.log").open("ab") as log:
                daemons.append(
                    subprocess.Popen(
                        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                    )
                )
            time.sleep(1)
        end = time.monotonic() + 60
        while "idle" not in (state := _state(cluster)):
            assert time.monotonic() < end, state + cluster.logs()
            time.sleep(0.5)
        yield cluster
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in reversed(daemons):
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _state(cluster: Cluster) -> str:
    """What `sinfo` says of the node, or its error."""
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"],
        env={**os.environ, "SLURM_CONF": str(cluster.folder / "slurm.conf")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr


@pytest.fixture
def command(cluster: Cluster) -> str:
    """The real command as one executable file."""
    path = cluster.folder / "bnsuite"
    path.write_text(f'#!/bin/bash\nexec {sys.executable} -m bnsuite "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.slow
def test_a_job_measures_and_ends_with_the_status(cluster: Cluster, command: str) -> None:
    """The job has the node and its GPU to itself, leaves a finished run, and ends with the status of bnsuite."""
    nights = cluster.folder / "nights"
    job = cluster.call(
        *(
            "sbatch",
            "--parsable",
            str(SCRIPT),
            "--device",
            "cpu",
            "--profile",
            "quick",
            "-k",
            "numerics/degenerate/one-value",
        ),
        BNSUITE=command,
        BNSUITE_NIGHTS=str(nights),
        BNSUITE_BASELINES=str(ROOT / "baselines"),
    ).strip()
    cluster.wait(job, "COMPLETED", "FAILED", within_s=240)
    printed = (cluster.folder / f"bnsuite-{job}.out").read_text()
    assert cluster.field(job, "ExitCode") == "0:0", printed
    assert "gres:gpu" in cluster.field(job, "TresPerNode")
    assert cluster.field(job, "OverSubscribe") == "NO"
    (night,) = nights.iterdir()
    assert night.name.endswith(f"-{job}")
    assert store.load_run(night).finished
    assert "exit status 0" in printed


@pytest.mark.slow
def test_a_job_whose_time_is_up_leaves_what_it_measured(cluster: Cluster, command: str) -> None:
    """The signal that Slurm sends before the end reaches bnsuite: results are written, and the status is 3."""
    nights = cluster.folder / "stopped"
    job = cluster.call(
        *("sbatch", "--parsable", str(SCRIPT), "--device", "cpu", "--profile", "full", "-k", "op/batch_norm"),
        BNSUITE=command,
        BNSUITE_NIGHTS=str(nights),
    ).strip()
    end = time.monotonic() + 120
    while not list(nights.glob("*/run.json")):
        assert time.monotonic() < end, cluster.logs()
        time.sleep(0.5)
    cluster.call("scancel", "--batch", "--signal=TERM", job)
    cluster.wait(job, "FAILED", "COMPLETED", "CANCELLED", within_s=120)
    assert cluster.field(job, "ExitCode") == "3:0", cluster.logs()
    (night,) = nights.iterdir()
    assert not store.load_run(night).finished
    assert "not measured as asked" in (cluster.folder / f"bnsuite-{job}.out").read_text()
