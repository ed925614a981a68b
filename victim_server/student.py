"""Gateways of which a student wrote the check of the proof; all else is the instrument's.

The check runs as a guest, in a process of its own (`lab.guest`): it sees the client's certificate, what the client had
to sign, and what came, and neither the bank's key nor the connection.
"""

from functools import partial
from typing import Any

from lab.guest.host import Guest, Refusal, decision
from lab.guest.kinds import CHECK
from lab.guest.loading import GuestError
from lab.process import BadInput, CannotGoOn
from lab.tls.alerts import AlertDescription
from lab.tls.errors import ProofError
from lab.tls.messages import CertificateVerify
from lab.tls.server import Server
from victim_server import instrument
from victim_server.authentication import Authentication, GatewayFiles


class StudentServer(Server):
    """The instrument's server. Whether a client is refused for its proof is the student's to say; what the instrument
    measured of the proof is reported all the same.

    The part waits for the check, and serves nobody else meanwhile: for SECONDS of `lab.guest.loading` at most. A check
    that takes longer ends the part."""

    def __init__(self, guest: Guest, **how: Any) -> None:
        super().__init__(**how)
        self._guest = guest

    def check_proof(self, answer: CertificateVerify) -> None:
        try:
            super().check_proof(answer)
        except ProofError:
            pass
        try:
            refused = decision(self._guest, self.peer_chain[0], self.challenge, answer)
        except GuestError as error:
            raise CannotGoOn(str(error)) from None
        if refused:
            raise ProofError(_alert(self._guest, refused), refused.why)


def _alert(guest: Guest, refused: Refusal) -> AlertDescription:
    try:
        return AlertDescription[refused.alert.upper()]
    except KeyError:
        known = "decrypt_error, bad_certificate, illegal_parameter"
        raise CannotGoOn(f"{guest.file}: TLS has no alert {refused.alert}; it has {known} and more") from None


def authentication(scheme: str, files: GatewayFiles) -> Authentication:
    """The instrument's servers for a scheme, with the check in the student's file for it."""
    if scheme not in files.student_code:
        raise BadInput(f"{scheme}@student is a student's: give the file that serves it")
    try:
        guest = Guest(files.student_code[scheme], *CHECK)
    except GuestError as error:
        raise BadInput(str(error)) from None
    return instrument.authentication(scheme, files, partial(StudentServer, guest))
