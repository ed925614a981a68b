"""What the folder of each part of a run may hold: which events, and which files. No part is believed beyond its own.

`mallory`'s parts write what they like into their folders. They can lie about what they did themselves, and the judge
compares that with what the victims report. What only the lab or a victim knows is not theirs to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lab.catalogue.cast import (
    ATTACKER,
    AUTHORITY,
    CAREFUL_CLIENT,
    CARELESS_CLIENT,
    CONTROL,
    INTERCEPTOR,
    LAB,
    TRIPLE_HANDSHAKE,
    VICTIM_CLIENT,
    VICTIM_SERVER,
)
from lab.catalogue.leaks import ARCHIVE, DATABASE, INTERCEPTION, LEAKS, LIVE_RELAY, LOG, REQUESTS, ROGUE_SERVER, Leak
from lab.events.types import (
    AccountOpened,
    BundleIssued,
    CaptureSearched,
    CertificateCaptured,
    ClientAuthenticated,
    ClientRefused,
    CodeLoaded,
    Event,
    FileSearched,
    GatewayListening,
    HandshakeDecrypted,
    HandshakeSeen,
    Intercepted,
    KeyFound,
    LeakSought,
    LoggedIn,
    LoginDecrypted,
    LoginFailed,
    MoneyMoved,
    MoveTried,
    PartStopped,
    PasswordFound,
    PositionLeft,
    PositionTaken,
    ProofRelayed,
    ProofRenegotiated,
    RunStarted,
    TransferRefused,
    Trouble,
    UnknownEvent,
    WentOn,
)

CAPTURE_FILE = "capture.pcapng"
RECENT_FILES = ("recent-1.pcapng", "recent-2.pcapng")
"""What the attacker hears once no verdict rests on it any more: the newest packets only, in files that take turns."""
INTERCEPTION_FILE = "interception.pcapng"
ONWARD_FILE = "interception-onward.pcapng"
"""The packets between mitmproxy and the real servers."""
KEY_LOG_FILE = "keys.log"
STOLEN = "stolen"
"""The folder in an attacker's own in which she keeps what she took, a PEM file for each certificate."""

NO_LEAK = ""
"""What a control has in place of a leak."""


@dataclass(frozen=True)
class PartFolder:
    """What one folder may hold.

    `says` are its types of events, besides those that every part may report. Events about a leak are about one of
    `leaks`. `files` are the names of its files, besides `events.jsonl`; with `steals` it also has the folder `stolen`.
    """

    says: tuple[type, ...]
    leaks: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    steals: bool = False

    def may_say(self, event: Event) -> bool:
        """Whether an event is one that this folder may hold."""
        if isinstance(event, _BY_EVERY_PART):
            return True
        if isinstance(event, _ABOUT_A_LEAK) and event.leak not in self.leaks:
            return False
        return isinstance(event, self.says)


_BY_EVERY_PART = (Trouble, PartStopped, UnknownEvent)
_ABOUT_A_LEAK = (LeakSought, CertificateCaptured, MoveTried, KeyFound, PasswordFound)


def _of_mallory(*leaks: Leak, says: tuple[type, ...] = (), files: tuple[str, ...] = ()) -> PartFolder:
    return PartFolder(
        (LeakSought, PositionTaken, PositionLeft, CertificateCaptured, MoveTried, KeyFound, PasswordFound, *says),
        tuple(leak.id for leak in leaks),
        files,
        steals=True,
    )


_INTERCEPTED = (Intercepted, WentOn)
_INTERCEPTION_FILES = (INTERCEPTION_FILE, ONWARD_FILE)
_CLIENT = PartFolder((LoggedIn, LoginFailed), files=(KEY_LOG_FILE,))

PART_FOLDERS: Mapping[str, PartFolder] = {
    LAB: PartFolder(
        (
            RunStarted,
            CodeLoaded,
            BundleIssued,
            MoveTried,
            CaptureSearched,
            FileSearched,
            HandshakeDecrypted,
            LoginDecrypted,
        ),
        (NO_LEAK,),
    ),
    AUTHORITY: PartFolder((RunStarted, BundleIssued)),
    CONTROL: PartFolder((MoveTried, CaptureSearched), (NO_LEAK,)),
    VICTIM_SERVER: PartFolder(
        (GatewayListening, ClientAuthenticated, ClientRefused, AccountOpened, MoneyMoved, TransferRefused),
        files=(KEY_LOG_FILE, CAPTURE_FILE),
    ),
    VICTIM_CLIENT: _CLIENT,
    CAREFUL_CLIENT: _CLIENT,
    CARELESS_CLIENT: _CLIENT,
    f"{CARELESS_CLIENT}-rsa": _CLIENT,
    "shop-client": _CLIENT,
    "relayed-client": _CLIENT,
    "own-key-client": _CLIENT,
    ATTACKER: _of_mallory(
        *LEAKS,
        says=(HandshakeSeen, ProofRelayed, *_INTERCEPTED),
        files=(CAPTURE_FILE, *RECENT_FILES, *_INTERCEPTION_FILES),
    ),
    INTERCEPTOR: _of_mallory(INTERCEPTION, says=_INTERCEPTED, files=_INTERCEPTION_FILES),
    "rogue-server": _of_mallory(ROGUE_SERVER),
    "live-relay": _of_mallory(LIVE_RELAY, says=(ProofRelayed,)),
    "leaked-backup": _of_mallory(DATABASE, LOG, REQUESTS),
    "leaked-archive": _of_mallory(ARCHIVE),
    TRIPLE_HANDSHAKE: PartFolder((ProofRenegotiated,)),
}
"""By the folder's name, which is the part's. In an embedded run the attacker carries out every leak, and the lab is the
authority and the control as well."""
PLANNERS = (AUTHORITY, LAB)
"""The parts that say what a run sets out to do; one of them does, before any other part starts."""
NOTHING = PartFolder(())
"""What a folder of another name may hold."""
