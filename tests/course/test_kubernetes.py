"""The manifest for Kubernetes is valid, and its pod keeps to Pod Security's profile `restricted`."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCS = Path(__file__).parents[2] / "docs" / "kubernetes"
VERSIONS = ("1.30", "1.35")


def validate(manifest: Path, version: str) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name("kubernetes-validate")
    call = [str(program), "--strict", "--kubernetes-version", version, str(manifest)]
    return subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)


def pod() -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [one for one in yaml.safe_load_all((DOCS / "pod.yaml").read_text()) if one["kind"] == "Pod"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifest_of_a_student_is_valid(tmp_path: Path, version: str) -> None:
    manifest = tmp_path / "pod.yaml"
    manifest.write_text((DOCS / "pod.yaml").read_text().replace("STUDENT", "s07"))
    done = validate(manifest, version)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest.write_text(manifest.read_text().replace("runAsNonRoot: true", "runAsNonRoot: perhaps"))
    assert validate(manifest, version).returncode != 0


def test_the_pod_is_restricted() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    spec = pod()["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] != 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert all(set(volume) - {"name"} == {"emptyDir"} for volume in spec["volumes"])
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_values_for_a_hub_say_the_same() -> None:
    values = yaml.safe_load((DOCS / "z2jh-values.yaml").read_text())
    student, spec = values["singleuser"], pod()["spec"]
    assert (student["uid"], student["fsGid"]) == (
        spec["securityContext"]["runAsUser"],
        spec["securityContext"]["fsGroup"],
    )
    assert student["allowPrivilegeEscalation"] is False
    assert student["cloudMetadata"]["blockWithIptables"] is False
    assert student["storage"]["homeMountPath"] == spec["containers"][0]["volumeMounts"][0]["mountPath"]
    assert values["cull"]["timeout"] >= 900
