"""What is installed from the project is whole: the command works from any folder, with nothing of the checkout."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lab

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the project's wheel has, without its dependencies, which this environment has anyway."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "lab", "attacker", "victim_client", "victim_server"):
        (source / name).symlink_to(ROOT / name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(folder / "site"), str(source)]
    subprocess.run([*pip, *options], check=True, timeout=120)
    return folder / "site"


def run(installed: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The installed command, as its script starts it; the checkout is not on the path."""
    start = "import sys; from lab.__main__ import main; assert 'site' in main.__code__.co_filename; main()"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", start, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_an_installed_command_runs_the_lab_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert "So why isn't the certificate enough?" in done.stdout
    packed = run(installed, tmp_path, "report", "-o", "x.html")
    assert packed.returncode == 0, packed.stderr
    assert (tmp_path / "x.html").read_text().startswith("<!doctype html>")
    assert run(installed, tmp_path, "--version").stdout == f"certreplay {lab.__version__}\n"


def test_every_module_and_data_file_is_installed(installed: Path) -> None:
    for package in ("lab", "attacker", "victim_client", "victim_server"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in (".py", ".typed", ".txt", ".html", ".css", ".js", ".md"):
                assert (installed / path.relative_to(ROOT)).is_file(), path


def test_the_parts_lists_are_together_what_the_command_needs() -> None:
    groups = PROJECT["dependency-groups"].values()
    listed = {one for group in groups for one in group if isinstance(one, str)}
    assert listed == set(PROJECT["project"]["dependencies"])


CONSTRAINTS = {"mitmproxy": "attacker/mitmproxy-constraints.txt", "student": "requirements/hub-constraints.txt"}
"""What has others than the rest."""


def pins(file: str) -> dict[str, str]:
    """The versions in a list of pinned packages, by the names that an index knows them by."""
    lines = (ROOT / file).read_text().splitlines()
    found = (re.match(r"([\w.-]+)==([\w.]+)", line) for line in lines if not re.search('python_version < "3.12"', line))
    return {re.sub("[-_.]+", "-", one[1]).lower(): one[2] for one in found if one}


@pytest.mark.parametrize("image", ["victim-client", "victim-server", "attacker", "lab", "mitmproxy", "student"])
def test_an_image_takes_the_versions_that_the_tests_run_with_each_file_by_its_hash(image: str) -> None:
    known = pins(CONSTRAINTS.get(image, "constraints.txt"))
    pinned = pins(f"requirements/{image}.txt")
    elsewhere = {
        "colorama",
        "mitmproxy-macos",
        "mitmproxy-windows",
        "pydivert",
        "appnope",
        "pywinpty",
    }  # for systems that no image has
    assert pinned.items() - known.items() <= {(name, pinned[name]) for name in elsewhere & pinned.keys()}
    listed = (ROOT / f"requirements/{image}.txt").read_text()
    entries = re.split(r"\n(?=\w)", listed.strip())
    assert len(entries) == len(pinned)
    assert all("--hash=sha256:" in entry for entry in entries)
    if image not in CONSTRAINTS:
        groups = PROJECT["dependency-groups"][image]
        assert {re.sub("[^a-z0-9].*", "", one).lower() for one in groups if isinstance(one, str)} <= pinned.keys()
