"""The ClientHellos of a run's attempts: which server they ask for, and whether each is a connection's own."""

from collections.abc import Iterable, Iterator

from lab.catalogue.cast import NEWCOMERS_NAME, SERVER_NAMES
from lab.catalogue.moves import find_move
from lab.events.run import Run
from lab.events.types import CertificateCaptured, HandshakeSeen
from lab.judging.attempts import NAMES_CONNECTIONS, Tried
from lab.judging.proof_comparison import handshake_messages
from lab.tls import extensions as ext
from lab.tls.errors import Abort
from lab.tls.messages import ClientHello
from lab.tls.messages13 import parse
from lab.tls.versions import TLS12


def odd_hellos(run: Run, attempts: Iterable[Tried]) -> Iterator[str]:
    """Attempts that ask for another server, or whose hello is that of another connection, a sentence each.

    A hello that is captured with a proof or in a recording is meant to be another's, and to ask for another's server.
    """
    used = {one.client_random: "a captured hello" for one in run.all(CertificateCaptured)}
    used |= {one.client_random: "a hello that was seen" for one in run.all(HandshakeSeen)}
    for tried in attempts:
        move = find_move(tried.event.move)
        if move is None or move.shape.recorded or tried.recorded_in < NAMES_CONNECTIONS:
            continue
        own = not (move.shape.hello and tried.version == TLS12)
        connections = (tried.event.steps, own, SERVER_NAMES), (tried.event.elsewhere, True, (NEWCOMERS_NAME,))
        for steps, fresh, names in connections:
            hello = _last_hello(steps, tried)
            if hello is None:
                continue
            if fresh and (name := ext.read_server_name(hello.extensions)) not in (None, *names):
                yield f"{tried.number} asked for the server {name}, which is not the bank's"
            random = hello.random.hex()
            if fresh and random in used:
                yield f"the ClientHello of {tried.number} has the random of {used[random]}"
            used.setdefault(random, tried.number)


def _last_hello(steps: tuple[tuple[str, str, str], ...], tried: Tried) -> ClientHello | None:
    """None without a readable one."""
    hellos = [raw for sender, raw in handshake_messages(steps) if sender == "client" and raw[:1] == b"\1"]
    try:
        hello = parse(hellos[-1], tried.version) if hellos else None
    except Abort:
        return None
    return hello if isinstance(hello, ClientHello) else None
