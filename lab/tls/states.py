"""The four state machines of a handshake, as data.

Theory of operation: a state says which messages may come next. Two rules move a connection from state to state.

1. A message moves it. `transitions` has one row for each state: every message that it allows, and the state that
   follows. There is no other way to be allowed: any other message ends the handshake with the alert unexpected_message
   (RFC 5246 section 7.2.2, RFC 8446 section 6.2).

2. A fact moves it on at once. Some handshakes leave messages out: RSA key transport has no ServerKeyExchange, a resumed
   session no certificates. `branches` has one row for each state that such a fact passes by: the fact, and the state
   to be in instead. The first fact that holds counts, and the state that it leads to is looked at in the same way.

The handshakes (`client12.py` and its siblings) ask `allow` before they look at a message and `after` once they have
dealt with it; no other code says which message may come. One branch is the subject of the lab: a server set to
`Proof.NOT_CHECKED` doesn't insist on CertificateVerify. No RFC has that branch.

Not in the tables, as they change no state: alerts; application data, which is for established connections; a request
to renegotiate in TLS 1.2, which is declined; a ChangeCipherSpec in TLS 1.3, which is ignored. `connection.py` deals
with those. A machine prints as a table, and `python -m lab.tls.states` prints all four.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum, auto
from typing import Any, TypeAlias

from lab.tls.alerts import AlertDescription
from lab.tls.connection import ChangeCipherSpec
from lab.tls.errors import Abort
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Finished,
    Message,
    NewSessionTicket,
    ServerHello,
    ServerHelloDone,
    ServerKeyExchange,
)
from lab.tls.messages13 import Certificate13, CertificateRequest13, EncryptedExtensions, KeyUpdate, NewSessionTicket13


class State(IntEnum):
    """What a side waits for: the names of RFC 8446 appendix A, and names of the same kind for TLS 1.2.

    SH is ServerHello, EE EncryptedExtensions, CR CertificateRequest, CV CertificateVerify, SKE and CKE Server- and
    ClientKeyExchange, DONE ServerHelloDone, CCS ChangeCipherSpec.
    """

    START = auto()  # a server waits for ClientHello
    WAIT_SH = auto()
    WAIT_EE = auto()
    WAIT_CERT_CR = auto()
    WAIT_CERT = auto()
    WAIT_SKE = auto()
    WAIT_CR_DONE = auto()
    WAIT_DONE = auto()
    WAIT_CKE = auto()
    WAIT_CV = auto()
    MAYBE_CV = auto()  # CertificateVerify, or what follows it
    WAIT_TICKET = auto()
    WAIT_CCS = auto()
    WAIT_FINISHED = auto()
    CONNECTED = auto()


class Fact(StrEnum):
    """What holds in one handshake and leads past a state. The value is its text in the printed table."""

    RETRY = "the server sends HelloRetryRequest"
    RESUMED = "a session is resumed"
    RSA_TRANSPORT = "the cipher suite has no ephemeral key"
    NO_TICKET = "the server promised no ticket"
    NO_REQUEST = "the server sent no CertificateRequest"
    PROOF_NOT_CHECKED = "the policy is Proof.NOT_CHECKED"


Kind: TypeAlias = type[Any]
"""The class of a message, or ChangeCipherSpec."""


@dataclass(frozen=True)
class Machine:
    """One role's side of one version's handshake. `str` gives it as a table."""

    name: str
    source: str
    start: State
    transitions: Mapping[State, Mapping[Kind, State]]
    branches: Mapping[State, Mapping[Fact, State]]

    def allow(self, state: State, message: Message | ChangeCipherSpec) -> None:
        """Abort with unexpected_message for a message that this state doesn't allow."""
        allowed = self.transitions[state]
        if type(message) not in allowed:
            due = " or ".join(kind.name for kind in allowed) or "nothing more of the handshake"
            reason = f"unexpected_message: {message.name} came instead of {due}"
            raise Abort(AlertDescription.UNEXPECTED_MESSAGE, reason)

    def after(self, state: State, message: Message | ChangeCipherSpec, facts: Collection[Fact] = ()) -> State:
        """The state that follows an allowed message in a handshake of which these facts hold."""
        state = self.transitions[state][type(message)]
        while (branch := self.branches.get(state)) and (fact := next((fact for fact in branch if fact in facts), None)):
            state = branch[fact]
        return state

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """State, message or fact, next state."""
        for state, allowed in self.transitions.items():
            for fact, then in self.branches.get(state, {}).items():
                yield state.name, f"({fact.value})", then.name
            for kind, then in allowed.items():
                yield state.name, kind.name, then.name

    def __str__(self) -> str:
        lines = (f"  {state:<14}{event:<42}{then}".rstrip() for state, event, then in self.rows())
        return "\n".join((f"{self.name} ({self.source})", *lines))


CLIENT12 = Machine(
    "Client, TLS 1.2",
    "RFC 5246 section 7.3, figures 1 and 2; RFC 5077 section 3.1",
    # Figure 1, a full handshake               Figure 2, a resumed session
    #
    # ClientHello             -------->        ClientHello             -------->
    #                       ServerHello                              ServerHello
    #                       Certificate                       [NewSessionTicket]
    #               [ServerKeyExchange]                       [ChangeCipherSpec]
    #              [CertificateRequest]                 <--------       Finished
    #         <-------- ServerHelloDone        [ChangeCipherSpec]
    # [Certificate]                            Finished                -------->
    # ClientKeyExchange
    # [CertificateVerify]
    # [ChangeCipherSpec]
    # Finished                -------->
    #                [NewSessionTicket]
    #                [ChangeCipherSpec]
    #         <--------        Finished
    State.WAIT_SH,
    {
        State.WAIT_SH: {ServerHello: State.WAIT_CERT},
        State.WAIT_CERT: {Certificate: State.WAIT_SKE},
        State.WAIT_SKE: {ServerKeyExchange: State.WAIT_CR_DONE},
        State.WAIT_CR_DONE: {CertificateRequest: State.WAIT_DONE, ServerHelloDone: State.WAIT_TICKET},
        State.WAIT_DONE: {ServerHelloDone: State.WAIT_TICKET},
        State.WAIT_TICKET: {NewSessionTicket: State.WAIT_CCS},
        State.WAIT_CCS: {ChangeCipherSpec: State.WAIT_FINISHED},
        State.WAIT_FINISHED: {Finished: State.CONNECTED},
        State.CONNECTED: {},
    },
    {
        State.WAIT_CERT: {Fact.RESUMED: State.WAIT_TICKET},
        State.WAIT_SKE: {Fact.RSA_TRANSPORT: State.WAIT_CR_DONE},
        State.WAIT_TICKET: {Fact.NO_TICKET: State.WAIT_CCS},
    },
)

SERVER12 = Machine(
    "Server, TLS 1.2",
    "RFC 5246 section 7.3, figures 1 and 2",  # the figures above, from the other side
    State.START,
    {
        State.START: {ClientHello: State.WAIT_CERT},
        State.WAIT_CERT: {Certificate: State.WAIT_CKE},
        State.WAIT_CKE: {ClientKeyExchange: State.WAIT_CV},
        State.WAIT_CV: {CertificateVerify: State.WAIT_CCS},
        State.MAYBE_CV: {CertificateVerify: State.WAIT_CCS, ChangeCipherSpec: State.WAIT_FINISHED},
        State.WAIT_CCS: {ChangeCipherSpec: State.WAIT_FINISHED},
        State.WAIT_FINISHED: {Finished: State.CONNECTED},
        State.CONNECTED: {},
    },
    {
        State.WAIT_CERT: {Fact.RESUMED: State.WAIT_CCS, Fact.NO_REQUEST: State.WAIT_CKE},
        State.WAIT_CV: {Fact.NO_REQUEST: State.WAIT_CCS, Fact.PROOF_NOT_CHECKED: State.MAYBE_CV},
    },
)

CLIENT13 = Machine(
    "Client, TLS 1.3",
    "RFC 8446 appendix A.1",
    # Without early data:
    #
    #                  WAIT_SH ----+ HelloRetryRequest
    #                     |   <----+
    #                     | ServerHello
    #                  WAIT_EE
    #                     | EncryptedExtensions
    #                WAIT_CERT_CR ---------------------+
    #       Certificate |       | CertificateRequest   | with a pre-shared key
    #                   |   WAIT_CERT                  |
    #                   |       | Certificate          |
    #                  WAIT_CV -+                      |
    #                     | CertificateVerify          |
    #                     |   +------------------------+
    #               WAIT_FINISHED
    #                     | Finished
    #                     | send [Certificate [CertificateVerify]] Finished
    #                 CONNECTED
    State.WAIT_SH,
    {
        State.WAIT_SH: {ServerHello: State.WAIT_EE},  # HelloRetryRequest is a ServerHello with a certain random
        State.WAIT_EE: {EncryptedExtensions: State.WAIT_CERT_CR},
        State.WAIT_CERT_CR: {CertificateRequest13: State.WAIT_CERT, Certificate13: State.WAIT_CV},
        State.WAIT_CERT: {Certificate13: State.WAIT_CV},
        State.WAIT_CV: {CertificateVerify: State.WAIT_FINISHED},
        State.WAIT_FINISHED: {Finished: State.CONNECTED},
        State.CONNECTED: {KeyUpdate: State.CONNECTED, NewSessionTicket13: State.CONNECTED},
    },
    {State.WAIT_EE: {Fact.RETRY: State.WAIT_SH}, State.WAIT_CERT_CR: {Fact.RESUMED: State.WAIT_FINISHED}},
)

SERVER13 = Machine(
    "Server, TLS 1.3",
    "RFC 8446 appendix A.2",
    # Without pre-shared keys and early data:
    #
    #                   START <------+
    #                     |          | send HelloRetryRequest
    #                     | ClientHello
    #                     | send ServerHello EncryptedExtensions [CertificateRequest]
    #                     |      Certificate CertificateVerify Finished
    #        no request   |
    #       +-------------+ WAIT_CERT
    #       |             | Certificate
    #       |          WAIT_CV
    #       |             | CertificateVerify
    #       +---> WAIT_FINISHED
    #                     | Finished
    #                 CONNECTED
    State.START,
    {
        State.START: {ClientHello: State.WAIT_CERT},
        State.WAIT_CERT: {Certificate13: State.WAIT_CV},
        State.WAIT_CV: {CertificateVerify: State.WAIT_FINISHED},
        State.MAYBE_CV: {CertificateVerify: State.WAIT_FINISHED, Finished: State.CONNECTED},
        State.WAIT_FINISHED: {Finished: State.CONNECTED},
        State.CONNECTED: {KeyUpdate: State.CONNECTED},
    },
    {
        State.WAIT_CERT: {Fact.RETRY: State.START, Fact.NO_REQUEST: State.WAIT_FINISHED},
        State.WAIT_CV: {Fact.PROOF_NOT_CHECKED: State.MAYBE_CV},
    },
)

MACHINES = (CLIENT12, SERVER12, CLIENT13, SERVER13)

if __name__ == "__main__":
    print(*MACHINES, sep="\n\n")
