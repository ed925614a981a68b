"""A ClientHello that another client sent, for a client that sends it again.

The other client may offer what the instrument cannot do. A server that does not choose it makes no difference. If a
server chooses it, the client stops with `OutOfReach`, and the same hello `within_reach` is the next best.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from lab.tls import extensions as ext
from lab.tls import keys, proof
from lab.tls.alerts import AlertDescription
from lab.tls.errors import Abort, OutOfReach
from lab.tls.messages import ClientHello

_T = TypeVar("_T")

HTTP_1 = (b"http/1.1", b"http/1.0")
"""The protocols (RFC 7301 section 6) that are spoken where a server chooses none, too."""

_UNDERSTOOD = frozenset(
    (
        ext.SERVER_NAME,
        ext.SUPPORTED_GROUPS,
        ext.EC_POINT_FORMATS,
        ext.SIGNATURE_ALGORITHMS,
        ext.ALPN,
        ext.EXTENDED_MASTER_SECRET,
        ext.SESSION_TICKET,
        ext.SUPPORTED_VERSIONS,
        ext.PSK_KEY_EXCHANGE_MODES,
        ext.KEY_SHARE,
        ext.RENEGOTIATION_INFO,
    )
)
"""The extensions that the instrument offers itself."""
_ABLE = {ext.SUPPORTED_GROUPS: keys.GROUPS, ext.SIGNATURE_ALGORITHMS: proof.SCHEME_IDS}
"""What it can do of the lists in extensions."""


def within_reach(hello: ClientHello, versions: Iterable[int], protocols: Iterable[bytes] = ()) -> ClientHello:
    """The same hello, in these versions only, with no protocols above TLS but these, and without anything else that the
    instrument cannot do."""
    suites = {suite.id for suite in keys.ALL_SUITES} | {keys.RENEGOTIATION_SCSV}
    extensions = hello.extensions
    if extensions is not None:
        extensions = tuple(_reachable(extensions, tuple(versions), tuple(protocols)))
    return replace(hello, cipher_suites=_both(hello.cipher_suites, suites), extensions=extensions)


def _reachable(
    extensions: ext.Extensions, versions: tuple[int, ...], protocols: tuple[bytes, ...]
) -> Iterator[ext.Extension]:
    for one in extensions:
        if able := _ABLE.get(one.type):
            if chosen := _both(ext.read_number_list((one,), one.type), able):
                yield ext.number_list(one.type, chosen)
        elif one.type == ext.SUPPORTED_VERSIONS:
            yield ext.versions(_both(ext.read_versions((one,)), versions))
        elif one.type == ext.ALPN:
            if spoken := _both(ext.read_protocols((one,)), protocols):
                yield ext.protocols(spoken)
        elif one.type in _UNDERSTOOD:
            yield one


def able_to_do(hello: ClientHello, kind: int, able: tuple[int, ...]) -> tuple[int, ...]:
    """Which of these the hello offers in its extension of this `kind`, a list of numbers; all if it has none."""
    offered = ext.read_number_list(hello.extensions, kind)
    return able if offered is None else _both(able, offered)


def check_choice(what: str, chosen: _T, able: Iterable[_T], offered: Iterable[_T] | None) -> None:
    """Whether a server may choose this number or name, `what` in words, and whether the instrument is `able` to do it.

    OutOfReach if it was `offered` all the same, and otherwise Abort with illegal_parameter.
    """
    if chosen in able:
        return
    if chosen in (offered or ()):
        raise OutOfReach(what)
    raise Abort(AlertDescription.ILLEGAL_PARAMETER, f"{what}, which was not offered")


def check_reach(hello: ClientHello, answers: ext.Extensions | None, allowed: Iterable[int]) -> None:
    """OutOfReach for an answer that the instrument cannot do, to something that the hello offered. `allowed` is what
    the instrument takes in this message."""
    offered = {extension.type for extension in hello.extensions or ()}
    for extension in answers or ():
        if extension.type in offered and extension.type not in _UNDERSTOOD.union(allowed):
            raise OutOfReach(f"the server answers extension {extension.type}")


def chosen_protocol(hello: ClientHello, answers: ext.Extensions | None, spoken: Iterable[bytes]) -> bytes:
    """The protocol that the server chose out of the hello's (RFC 7301 section 3.1); empty if it chose none.

    OutOfReach for one that is not `spoken` here. Abort with illegal_parameter for one that was not offered, and with
    decode_error for more than one.
    """
    chosen = ext.read_protocols(answers)
    if chosen is None:
        return b""
    if len(chosen) > 1:
        raise Abort(AlertDescription.DECODE_ERROR, f"the server chose {len(chosen)} protocols, and not one")
    offered = ext.read_protocols(hello.extensions)
    check_choice(f"the server chose the protocol {chosen[0]!r}", chosen[0], _both(offered, spoken), offered)
    return chosen[0]


def _both(offered: Iterable[_T] | None, known: Iterable[_T]) -> tuple[_T, ...]:
    """What is offered and known, in the order of the offer."""
    wanted = frozenset(known)
    return tuple(one for one in offered or () if one in wanted)
