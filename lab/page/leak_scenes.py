"""The other ways in which a certificate got out, a scene for each."""

from collections.abc import Iterator

from lab.catalogue.gateways import Gateway
from lab.catalogue.leaks import Leak
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.document import Inline, spans
from lab.events.types import (
    CertificateCaptured,
    KeyFound,
)
from lab.page.model import (
    Chip,
    GatewayBox,
    LeakPicture,
    Moment,
    Opened,
    Scene,
)
from lab.page.networks import checks
from lab.page.teaching import Teaching, Tell
from lab.story import leaks

_PLACES = {
    "interception": "an interceptor in the bank's place",
    "live-relay": "mallory, a server to Alice",
    "rogue-server": "a shop that Alice uses",
    "database": "the bank's list of certificates",
    "log": "a gateway's access log",
    "archive": "the bank's copies of the bundles",
    "requests": "the bank's copies of requests",
}
"""Where each leak happens, in a few words."""


def leak_scene(name: str) -> Tell:
    def tell(given: Teaching) -> Scene | None:
        leak = next((one for one in given.judged.leaks if one.id == name), None)
        blocks = leaks.tell_leak(given.judged, leak) if leak else None
        if leak is None or blocks is None:
            return None
        _, *act = blocks
        drawn = LeakPicture(
            _PLACES.get(name, leak.title), tuple(_loot(given, leak)), tuple(_openings(given, leak)), tuple(act)
        )
        return Scene(f"leak-{name}", f"{leak.title}.", (Moment(f"{leak.how[0].upper()}{leak.how[1:]}."),), drawn)

    return tell


def _loot(given: Teaching, leak: Leak) -> Iterator[Chip]:
    """What mallory has by a leak."""
    seen = [one for one in given.judged.run.all(CertificateCaptured) if one.leak == leak.id]
    whose = len({one.subject for one in seen})
    yield Chip("certificate", "certificate" if whose < 2 else f"{whose} customers' certificates", "copy")
    proof = any(one.proof for one in seen)
    yield Chip("proof", "a proof", "copy") if proof else Chip("proof", "no proof", "none")
    key = any(one.leak == leak.id for one in given.judged.run.all(KeyFound))
    yield Chip("key", "private key", "copy") if key else Chip("key", "no private key", "none")


def _openings(given: Teaching, leak: Leak) -> Iterator[Opened]:
    """What that opened, gateway by gateway: in the version in which something got in, or else in the first."""
    found: dict[Gateway, Inline] = {}
    for gateway, version in leaks.targets_of(given.judged, leak):
        told = leaks.opened(given.judged, leak, gateway, version)
        if gateway not in found or (_meaning(told) == "accepted" != _meaning(found[gateway])):
            found[gateway] = told
    for gateway, told in found.items():
        result = ACCEPTED if _meaning(told) == "accepted" else REFUSED
        yield Opened(GatewayBox(gateway.id, given.roles.name(gateway), checks(gateway), result), told)


def _meaning(text: Inline) -> str:
    return spans(text)[0].meaning
