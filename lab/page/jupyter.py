"""Makes the page a tile in JupyterLab: the entry point `jupyter_serverproxy_servers` of jupyter-server-proxy."""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

START_SECONDS = 30


def setup() -> dict[str, Any]:
    """What jupyter-server-proxy starts for a user, and how the tile looks. The runs are in `runs`, in her home."""
    show = [sys.executable, "-m", "lab", "show", "--runs", str(Path.home() / "runs"), "--socket", "{unix_socket}"]
    return {
        "command": show,
        "unix_socket": True,
        "timeout": START_SECONDS,
        "launcher_entry": {"title": "certreplay", "icon_path": str(files("lab.page").joinpath("icon.svg"))},
    }
