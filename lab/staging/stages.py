"""The stages of an embedded run: for each leak the parts that it needs, and their command lines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from attacker.attempts import TRANSFER
from lab.catalogue.cast import (
    ATTACKER,
    BY_REQUEST,
    CARELESS_CLIENT,
    NEWCOMERS_NAME,
    OPENING_BALANCE,
    VICTIM_CLIENT,
    VICTIM_SERVER,
)
from lab.catalogue.certificates import CertificateKind
from lab.catalogue.gateways import STUDENTS_GATEWAYS, Gateway
from lab.catalogue.implementations import RSA_TRANSPORT
from lab.catalogue.leaks import ARCHIVE, DATABASE, INTERCEPTION, LIVE_RELAY, LOG, REQUESTS, ROGUE_SERVER, LootKind
from lab.catalogue.moves import OTHER_DOOR
from lab.catalogue.plan import Plan
from lab.catalogue.schemes import ProofOf
from lab.events.parts import CAPTURE_FILE
from lab.events.run import Folders
from lab.events.types import BundleIssued
from lab.ports import HOST, Hosts, own_hosts
from lab.staging import pki
from lab.staging.pki import Issued
from lab.staging.student_code import StudentCode
from lab.staging.supervisor import Part
from lab.tls.versions import TLS12, TLS13, VERSIONS

LOGIN_EVERY_SECONDS = 0.25
SHOP_LOGINS = ("shop", "shop, self-signed")
"""The names of alice's logins at the shop, one for each bundle."""
SHOP_PASSWORD = "shop, password"


@dataclass(frozen=True)
class Setting:
    """What the stages have in common: the run's plan and folders, what was issued, each gateway's port, where to get
    more ports, and the student's files."""

    plan: Plan
    folders: Folders
    issued: Issued
    gateways: Mapping[Gateway, int]
    ports: Callable[[int], list[int]]
    code: StudentCode = field(default_factory=StudentCode)
    hosts: Hosts = field(default_factory=own_hosts)


@dataclass(frozen=True)
class Stage:
    """One leak: the attacker, and the clients that start once she is in position.

    A leak other than the wire ends when the attacker does. What comes `first` is over before she starts, and the lab
    reports what was `issued` before all that.
    """

    attacker: Part
    clients: tuple[Part, ...] = ()
    first: tuple[Part, ...] = ()
    issued: tuple[BundleIssued, ...] = ()


def opening_balance(plan: Plan) -> int:
    """Enough for every attempt and every relayed proof to move money at the gateways that do not check the customer's
    own proof or that a student is still at, and for every attempt with a key that leaked at all of them."""
    sure = (one for one in plan.served() if one.scheme.proof_of is ProofOf.CUSTOMER)
    may_open = {one.id for one in plan.served()} - {one.id for one in sure if one not in STUDENTS_GATEWAYS}
    open_ = replace(plan, gateways=tuple(may_open))
    relayed = sum(1 for _ in open_.targets()) if LIVE_RELAY.id in plan.leaks else 0
    with_key = len(replace(plan, moves=()))
    return max(OPENING_BALANCE, TRANSFER.amount * (len(open_) + relayed + with_key))


def victim_server(setting: Setting) -> Part:
    """The bank and its gateways, which run all the time."""
    issued = setting.issued
    return _part(
        setting,
        VICTIM_SERVER,
        f"--host={HOST}",
        f"--capture={setting.folders.part(VICTIM_SERVER) / CAPTURE_FILE}",
        *(f"--port={gateway.id}={port}" for gateway, port in setting.gateways.items()),
        f"--bundle={issued.server_pem}",
        f"--register={issued.register}",
        f"--opening-balance={opening_balance(setting.plan)}",
        f"--ca={issued.ca_pem}",
        *([f"--rsa-transport={issued.server_rsa_pem}"] if issued.server_rsa_pem else []),
        *([f"--access-log={access_log(setting)}"] if LOG.id in setting.plan.leaks else []),
        *(f"--student-code={gateway.partition('@')[0]}={file}" for gateway, file in setting.code.servers.items()),
    )


def victim_client(setting: Setting, ports: Mapping[Gateway, int], *options: str) -> Part:
    """Alice, who keeps logging in at these ports; each leads to a gateway."""
    issued = setting.issued
    return _part(
        setting,
        VICTIM_CLIENT,
        *_logins(setting, ports),
        *(f"--forward-certificate={one.id}" for one in ports if not one.scheme.asks_in_tls),
        f"--ca={issued.ca_pem}",
        f"--every={LOGIN_EVERY_SECONDS}",
        *options,
    )


def _logins(setting: Setting, ports: Mapping[Gateway, int]) -> list[str]:
    """Where alice logs in, each with the bundle that is for it."""
    issued = setting.issued
    return [
        *(f"--gateway={gateway.id}=https://localhost:{port}" for gateway, port in ports.items()),
        f"--bundle={issued.client_pem}",
        *(f"--bundle={one.id}={issued.client_self_signed_pem}" for one in ports if _pins(one)),
        *(f"--password-login={one.id}={issued.password}" for one in ports if one.scheme.takes_password),
        *([f"--student-code={setting.code.client}"] if setting.code.client else []),
        f"--source={setting.hosts.alice}",
    ]


def _careless(setting: Setting) -> tuple[str, ...]:
    """How a client is told not to verify the server; a student's client decides that itself."""
    return () if setting.code.client else ("--careless",)


def wire(setting: Setting, ports: list[int]) -> Stage:
    """The attacker's relay accepts alice's connections, as if her network had routed them there.

    Alice resumes her sessions of TLS 1.3 if the attacker is to try that: only so does she show a ticket.
    """
    relays = dict(zip(setting.gateways, ports, strict=True))
    servers = [f"--servers={len(relays)}"] if setting.plan.one_by_one else []
    forwards = (f"--forward={HOST}:{relays[gateway]}={HOST}:{port}" for gateway, port in setting.gateways.items())
    tried = LootKind.SESSION in setting.plan.needs and TLS13 in setting.plan.versions
    alice = victim_client(setting, relays, *(["--resume"] if tried else []))
    return Stage(_attacker(setting, "relay", *forwards, *servers), (alice,))


def interception(setting: Setting) -> Stage:
    """mitmproxy answers in place of the gateways. A careful and a careless alice log in there, once in each version."""
    asking = [one for one in setting.gateways if one.scheme.asks_in_tls or one.scheme.takes_password]
    ports = dict(zip(asking, setting.ports(len(asking)), strict=True))
    forwards = (f"--forward={HOST}:{port}={HOST}:{setting.gateways[gateway]}" for gateway, port in ports.items())
    clients = (
        _passing_client(setting, VICTIM_CLIENT, ports),
        _passing_client(setting, CARELESS_CLIENT, ports, *_careless(setting)),
    )
    visits = f"--visits={len(clients) * len(VERSIONS)}"
    return Stage(_attacker(setting, INTERCEPTION.id, *gateways(setting), *forwards, visits), clients)


def live_relay(setting: Setting) -> Stage:
    """A careless alice logs in once at each gateway in each version, and again with RSA key transport, each time at
    mallory's port."""
    versions = setting.plan.versions
    asking = [gateway for gateway in setting.gateways if gateway.scheme.asks_in_tls]
    ports = dict(zip(asking, setting.ports(len(asking)), strict=True))
    options = (*_careless(setting), *(f"--tls={version}" for version in versions))
    clients = [_passing_client(setting, CARELESS_CLIENT, ports, *options)]
    relays = sum(gateway.scheme.asks_in_tls for gateway, _ in setting.plan.targets())
    transporting = {one: port for one, port in ports.items() if one.implementation.rsa_key_transport}
    if transporting and TLS12 in versions:
        options = (*_careless(setting), "--tls=1.2", f"--ciphers={RSA_TRANSPORT}")
        clients.append(_passing_client(setting, f"{CARELESS_CLIENT}-rsa", transporting, *options))
        relays += len(transporting)
    forwards = (f"--forward={HOST}:{port}={HOST}:{setting.gateways[gateway]}" for gateway, port in ports.items())
    attacker = _attacker(setting, LIVE_RELAY.id, *gateways(setting), *forwards, f"--relays={relays}")
    return Stage(attacker, tuple(clients))


def _passing_client(setting: Setting, name: str, ports: Mapping[Gateway, int], *options: str) -> Part:
    """Alice, who logs in once at each of mallory's ports. These logins are reported under names that no gateway has."""
    issued = setting.issued
    return _part(
        setting,
        name,
        *_logins(setting, ports),
        "--note=by way of mallory",
        f"--ca={issued.ca_pem}",
        f"--every={LOGIN_EVERY_SECONDS}",
        "--times=1",
        f"--part={name}",
        *options,
        package="victim_client",
        may_end=(0, 1),
    )


def rogue_server(setting: Setting) -> Stage:
    """Alice logs in once at a shop with each of her bundles, and with her password at the bank if she has one; the shop
    is mallory's."""
    issued = setting.issued
    port, password_port = setting.ports(2)
    url = f"https://localhost:{port}"
    by_password = (
        f"--gateway={SHOP_PASSWORD}=https://localhost:{password_port}",
        f"--password-login={SHOP_PASSWORD}={issued.password}",
    )
    alice = _part(
        setting,
        VICTIM_CLIENT,
        *(f"--gateway={login}={url}" for login in SHOP_LOGINS),
        *(by_password if issued.password else ()),
        f"--bundle={SHOP_LOGINS[0]}={issued.client_pem}",
        f"--bundle={SHOP_LOGINS[1]}={issued.client_self_signed_pem}",
        f"--ca={issued.ca_pem}",
        f"--every={LOGIN_EVERY_SECONDS}",
        "--times=1",
        may_end=(0, 1),
    )
    shop = [f"--listen={HOST}:{port}", f"--shop-bundle={issued.shop_pem}"]
    shop += [f"--password-listen={HOST}:{password_port}"] if issued.password else []
    return Stage(_attacker(setting, ROGUE_SERVER.id, *gateways(setting), *shop), (alice,))


def database(setting: Setting) -> Stage:
    """The bank's register leaks."""
    return Stage(_attacker(setting, DATABASE.id, *gateways(setting), f"--file={setting.issued.register}"))


def log(setting: Setting) -> Stage:
    """The gateways' access log leaks."""
    return Stage(_attacker(setting, LOG.id, *gateways(setting), f"--file={access_log(setting)}"))


def access_log(setting: Setting) -> Path:
    """Where the gateways of a run keep their access log."""
    return setting.folders.part(VICTIM_SERVER) / "access.log"


def archive(setting: Setting) -> Stage:
    """The bank's copies of the bundles that it handed out leak."""
    return Stage(_attacker(setting, ARCHIVE.id, *gateways(setting), f"--file={setting.issued.archive}"))


def requests(setting: Setting) -> Stage:
    """Alice has a certificate issued on request, while the gateways are running, and logs in with it where her bank
    vouches for it and where it is not on the list. Then what the bank kept leaks."""
    issued = setting.issued
    server, client = issued.server_pem.parent, issued.client_pem.parent
    made = pki.request_and_issue(issued.authority, server, client, setting.plan.key_type, setting.plan.student)
    asking = {one: port for one, port in setting.gateways.items() if one.scheme.asks_in_tls}
    alice = _part(
        setting,
        VICTIM_CLIENT,
        *(f"--gateway={gateway.id}{BY_REQUEST}=https://localhost:{port}" for gateway, port in asking.items()),
        f"--bundle={made.client_pem}",
        f"--ca={issued.ca_pem}",
        f"--every={LOGIN_EVERY_SECONDS}",
        "--times=1",
        may_end=(0, 1),
    )
    attacker = _attacker(setting, REQUESTS.id, *gateways(setting), f"--file={made.requests}")
    return Stage(attacker, first=(alice,), issued=(pki.issued_event(client, pki.BY_REQUEST),))


LATER_STAGES: Mapping[str, Callable[[Setting], Stage]] = {
    INTERCEPTION.id: interception,
    LIVE_RELAY.id: live_relay,
    ROGUE_SERVER.id: rogue_server,
    DATABASE.id: database,
    LOG.id: log,
    ARCHIVE.id: archive,
    REQUESTS.id: requests,
}
"""The stages of all leaks but the wire; each ends when the attacker is done."""


def gateways(setting: Setting) -> list[str]:
    """The gateways as options of the attacker's command line."""
    kinds = {one: "self-signed=" if _pins(one) else "" for one in setting.gateways}
    kinds |= {one: "password=" for one in setting.gateways if one.scheme.takes_password}
    return [f"--gateway={kinds[gateway]}{HOST}:{port}" for gateway, port in setting.gateways.items()]


def _pins(gateway: Gateway) -> bool:
    """Whether its customers have self-signed certificates."""
    return gateway.scheme.trusts == CertificateKind.SELF_SIGNED


def _attacker(setting: Setting, command: str, *arguments: str) -> Part:
    mallory = setting.issued.mallory
    assert mallory
    return _part(
        setting,
        ATTACKER,
        command,
        *arguments,
        *(f"--move={move}" for move in setting.plan.moves if move not in setting.code.moves),
        *(f"--move-file={file}" for file in setting.code.moves.values()),
        *(f"--tls={version}" for version in setting.plan.versions),
        f"--rounds={setting.plan.rounds}",
        *(["--at-once=1"] if setting.plan.one_by_one else []),
        *([f"--other-name={NEWCOMERS_NAME}"] if OTHER_DOOR in setting.plan.moves else []),
        f"--source={setting.hosts.mallory}",
        *(f"--bundle={file}" for file in (mallory.pem, mallory.self_signed_pem)),
        may_end=() if command == "relay" else (0,),
    )


def _part(setting: Setting, name: str, *arguments: str, package: str = "", may_end: tuple[int, ...] = ()) -> Part:
    return Part(
        name, package or name.replace("-", "_"), (*arguments, f"--folder={setting.folders.part(name)}"), may_end
    )
