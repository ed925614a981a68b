"""What a run sets out to do, as data: which gateways, moves and versions, with which keys, how often."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

from lab.catalogue.certificates import CertificateKind
from lab.catalogue.gateways import BY_CHOICE, GATEWAYS, Gateway, find_gateway
from lab.catalogue.implementations import IMPLEMENTATIONS
from lab.catalogue.leaks import LEAKS, WIRE, Leak, LootKind, find_leak
from lab.catalogue.moves import LAB_MOVES, MOVES, moves_for, moves_named
from lab.catalogue.schemes import SCHEMES
from lab.catalogue.students import check_student
from lab.tls.versions import TLS12, VERSION_NAMES, Version, versions_named

KeyType = Literal["p256", "rsa", "ed25519", "p384"]
KEY_TYPES: tuple[KeyType, ...] = get_args(KeyType)


class PlanError(Exception):
    """A plan that cannot be carried out; the text says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """One run's plan. Alice logs in with every version; the moves are tried in these `versions`.

    Every move is tried `rounds` times at every gateway, and all of it once for each of the `leaks`; a leak
    of the key is tried with the key as well (`moves_for`). With `one_by_one` that happens in order, gateway by gateway,
    each attempt after the one before; otherwise several are made at once. A plan read from a run may name gateways,
    moves and leaks that this version does not know; they are left out. `student` is whose run it is, empty if nobody is
    named.
    """

    gateways: tuple[str, ...]
    moves: tuple[str, ...]
    versions: tuple[Version, ...]
    key_type: KeyType = "p256"
    rounds: int = 1
    leaks: tuple[str, ...] = (WIRE.id,)
    one_by_one: bool = False
    student: str = ""

    def of(self, student: str) -> "Plan":
        """The same for a student, or for nobody if the name is empty; StudentError for a name that cannot be one."""
        return replace(self, student=check_student(student) if student else "")

    def targets(self) -> Iterator[tuple[Gateway, Version]]:
        """Each gateway with each version that is to be tried there."""
        for gateway in filter(None, map(find_gateway, self.gateways)):
            for version in self.versions:
                if version in gateway.versions:
                    yield gateway, version

    def served(self) -> list[Gateway]:
        """The gateways that have something to be tried."""
        return list(dict.fromkeys(gateway for gateway, _ in self.targets()))

    @property
    def kinds(self) -> tuple[CertificateKind, ...]:
        """The kinds of certificates that its gateways take; the first gateway's, the main one, comes first."""
        return tuple(dict.fromkeys(gateway.scheme.trusts for gateway in self.served()))

    @property
    def needs(self) -> frozenset[LootKind]:
        """What its moves are made of, besides certificates."""
        return frozenset[LootKind]().union(*(move.needs for move in moves_named(self.moves)))

    def __len__(self) -> int:
        """How many reports of attempts there will be."""
        return sum(self.attempts(leak) for leak in filter(None, map(find_leak, self.leaks)))

    def attempts(self, leak: Leak) -> int:
        """How many reports of attempts there will be with what one leak yields."""
        moves = len(moves_for(leak, self.moves))
        return self.rounds * moves * sum(gateway.scheme.trusts in leak.certificates for gateway, _ in self.targets())


def short_story(key_type: KeyType = "p256") -> Plan:
    """What the question's answer needs, and no more.

    The question's own case is a self-signed certificate that the server issued and pins. For it there are two gateways
    that differ in one argument, `Proof.REQUIRED`, and OpenSSL's as an independent witness. Two more show whether it is
    the same with certificates from an authority.
    """
    pinned = ("pinned-certificate-only@instrument", "pinned-mtls@instrument", "pinned-mtls@openssl")
    gateways = (*pinned, "certificate-only@instrument", "mtls@openssl")
    return Plan(gateways, ("omit-proof", "replay-proof", "foreign-key"), (TLS12,), key_type, one_by_one=True)


def full_matrix(
    *,
    gateways: Iterable[str] = (),
    schemes: Iterable[str] = (),
    implementations: Iterable[str] = (),
    moves: Iterable[str] = (),
    versions: Iterable[str] = (),
    key_type: KeyType = "p256",
    rounds: int = 1,
    leaks: Iterable[str] = (WIRE.id,),
) -> Plan:
    """Everything, or what is chosen of it; PlanError for a choice that does not exist. What a run has only by
    choice is in it if it is chosen, and the move that such a gateway takes with it."""
    gateways, schemes, moves = tuple(gateways), tuple(schemes), tuple(moves)
    chosen_schemes = _chosen("scheme", schemes, tuple(scheme.id for scheme in SCHEMES))
    chosen_implementations = _chosen("implementation", tuple(implementations), tuple(one.id for one in IMPLEMENTATIONS))
    chosen = [
        gateway
        for gateway in _chosen("gateway", gateways, tuple(gateway.id for gateway in GATEWAYS))
        if (found := find_gateway(gateway))
        and (found not in BY_CHOICE or gateway in gateways or found.scheme.id in schemes)
        and found.scheme.id in chosen_schemes
        and found.implementation.id in chosen_implementations
    ]
    if not chosen:
        raise PlanError("no gateway is all of that; `certreplay gateways` lists those there are")
    usual = LAB_MOVES if any(find_gateway(gateway) in BY_CHOICE for gateway in chosen) else MOVES
    plan = Plan(
        tuple(chosen),
        _chosen("move", moves or tuple(move.id for move in usual), tuple(move.id for move in LAB_MOVES)),
        versions_named(_chosen("version", tuple(versions), VERSION_NAMES)),
        key_type,
        rounds,
        _chosen("leak", tuple(leaks), tuple(leak.id for leak in LEAKS)),
    )
    _check_that_a_certificate_shows(plan)
    return plan


def _check_that_a_certificate_shows(plan: Plan) -> None:
    """A server that takes certificates from a header never shows one in TLS; another gateway has to."""
    schemes = [found.scheme for found in filter(None, map(find_gateway, plan.gateways))]
    hidden = [scheme.id for scheme in schemes if not scheme.asks_in_tls]
    if hidden and not any(scheme.asks_in_tls and scheme.trusts == CertificateKind.FROM_CA for scheme in schemes):
        showing = ", ".join(one.id for one in SCHEMES if one.asks_in_tls and one.trusts == CertificateKind.FROM_CA)
        raise PlanError(f"{hidden[0]} never shows its certificate in TLS; choose one of {showing} with it")


def everything(key_type: KeyType = "p256") -> Plan:
    """Every move at every gateway, with what every leak yields."""
    return full_matrix(key_type=key_type, leaks=())


def key_types(wanted: Iterable[str]) -> tuple[KeyType, ...]:
    """The kinds of keys of these names; PlanError for a name that does not exist."""
    chosen = _chosen("key type", tuple(wanted), KEY_TYPES)
    return tuple(one for one in KEY_TYPES if one in chosen)


def _chosen(what: str, wanted: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    for one in wanted:
        if one not in known:
            raise PlanError(f"there is no {what} {one!r}; choose one of {', '.join(known)}")
    return tuple(one for one in known if one in wanted) or known
