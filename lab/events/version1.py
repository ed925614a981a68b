"""Events of format 1, as the runs of the first version have them: they named schemes where events now name gateways."""

from collections.abc import Mapping
from typing import Any

VERSION = 1

_GATEWAYS: Mapping[str, str] = {
    "mtls": "mtls@openssl",
    "pinned-mtls": "pinned-mtls@openssl",
    "certificate-only": "certificate-only@instrument",
    "pinned-certificate-only": "pinned-certificate-only@instrument",
    "ignored-proof": "ignored-proof@instrument",
    "forwarded-header": "forwarded-header@openssl",
}
"""The implementation that served each scheme then."""
_NAMED_A_SCHEME = ("gateway-listening", "client-authenticated", "client-refused", "logged-in", "login-failed")


def upgraded(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an event of this type as format 2 has them. What is unknown stays as it is."""
    new = dict(fields)
    if kind in _NAMED_A_SCHEME and "scheme" in new:
        new["gateway"] = _gateway(new.pop("scheme"))
    if kind == "run-started" and isinstance(new.get("schemes"), list):
        new["gateways"] = [_gateway(scheme) for scheme in new.pop("schemes")]
    return new


def _gateway(scheme: object) -> object:
    return _GATEWAYS.get(scheme, scheme) if isinstance(scheme, str) else scheme
