"""A run with a student's client. It is expected to verify the server: in the server's place mallory gets nothing."""

from collections.abc import Iterator

from lab.catalogue.leaks import INTERCEPTION, LIVE_RELAY, Leak
from lab.events.run import Run
from lab.events.types import CertificateCaptured, CodeLoaded, LoginFailed

IN_ITS_PLACE = (INTERCEPTION, LIVE_RELAY)
"""The leaks in which a client meets mallory instead of the server."""
BY_WAY_OF_MALLORY = "by way of mallory"
"""What alice's logins there are noted with."""


def students_client(run: Run) -> str:
    """The name of the file with the client; empty where alice uses the lab's own."""
    return next((loaded.file for loaded in run.all(CodeLoaded) if loaded.what == "client"), "")


def yields_nothing(run: Run, leak: Leak) -> bool:
    """Whether a leak is one that the run's client must prevent."""
    return leak in IN_ITS_PLACE and bool(students_client(run))


def careless(run: Run) -> Iterator[str]:
    """Where the student's client did not verify the server, a sentence each."""
    file = students_client(run)
    for leak in IN_ITS_PLACE if file else ():
        shown = sorted({one.tls for one in run.all(CertificateCaptured) if one.leak == leak.id})
        if shown:
            versions = " and ".join(f"TLS {version}" for version in shown)
            yield f"{file} showed alice's certificate to mallory through the leak {leak.id}, in {versions}"


def met_mallory(run: Run) -> bool:
    """Whether the client turned mallory down at least once: otherwise it says nothing that she got nothing."""
    return any(one.gateway.endswith(BY_WAY_OF_MALLORY) for one in run.all(LoginFailed))
