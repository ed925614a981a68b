"""The stages of an embedded run: which parts take part in which leak, and how they are called."""

import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from attacker.leaks import DATABASE, INTERCEPTION, LOG, ROGUE_SERVER, SELF_SIGNED
from attacker.tries import TRANSFER
from lab.pki import Issued
from lab.plan import Plan
from lab.run import ATTACKER, CARELESS_CLIENT, VICTIM_CLIENT, VICTIM_SERVER, Folders
from lab.supervisor import Part
from victim_server import access_log
from victim_server.schemes import find_scheme

HOST = "127.0.0.1"
LOGIN_EVERY_SECONDS = 0.25
SHOP_LOGINS = ("shop", "shop, self-signed")
"""What alice calls her logins at the shop, with one bundle and the other."""


@dataclass(frozen=True)
class Setting:
    """What the stages have in common: the run's plan and folders, what was issued, each scheme's gateway's port."""

    plan: Plan
    folders: Folders
    issued: Issued
    gateways: Mapping[str, int]


@dataclass(frozen=True)
class Stage:
    """One leak: the attacker, and the clients that are started once she is in her place.

    A leak other than the wire ends when the attacker does.
    """

    attacker: Part
    clients: tuple[Part, ...] = ()


def victim_server(setting: Setting) -> Part:
    """The bank and its gateways, there all the time."""
    issued = setting.issued
    return _part(
        setting,
        VICTIM_SERVER,
        f"--host={HOST}",
        *(f"--port={scheme}={port}" for scheme, port in setting.gateways.items()),
        f"--bundle={issued.server_pem}",
        f"--register={issued.register}",
        f"--opening-balance={max(1000, TRANSFER.amount * len(setting.plan))}",
        f"--ca={issued.ca_pem}",
        *(["--access-log"] if LOG.id in setting.plan.leaks else []),
    )


def victim_client(setting: Setting, ports: Mapping[str, int]) -> Part:
    """Alice, who logs in again and again at these ports, each of which leads to a scheme's gateway."""
    schemes = [find_scheme(scheme) for scheme in ports]
    issued = setting.issued
    return _part(
        setting,
        VICTIM_CLIENT,
        *(f"--gateway={scheme}=https://localhost:{port}" for scheme, port in ports.items()),
        f"--bundle={issued.client_pem}",
        *(f"--bundle={scheme.id}={issued.client_self_signed_pem}" for scheme in schemes if scheme.trusts == "pinned"),
        *(f"--forward-certificate={scheme.id}" for scheme in schemes if not scheme.asks_in_tls),
        f"--ca={issued.ca_pem}",
        f"--every={LOGIN_EVERY_SECONDS}",
    )


def wire(setting: Setting, ports: list[int]) -> Stage:
    """The attacker's relay takes alice's connections, as if her network had sent them there."""
    relays = dict(zip(setting.gateways, ports, strict=True))
    forwards = (f"--forward={HOST}:{relays[scheme]}={HOST}:{port}" for scheme, port in setting.gateways.items())
    return Stage(_attacker(setting, "relay", *forwards), (victim_client(setting, relays),))


def interception(setting: Setting) -> Stage:
    """mitmproxy stands in for the gateways; a careful client comes, and a careless one."""
    asking = [scheme for scheme in setting.gateways if find_scheme(scheme).asks_in_tls]
    ports = dict(zip(asking, free_ports(len(asking)), strict=True))
    fronts = (f"--front={HOST}:{port}={HOST}:{setting.gateways[scheme]}" for scheme, port in ports.items())
    careful = replace(victim_client(setting, ports), may_end=(0, 1))
    careful = replace(careful, arguments=(*careful.arguments, "--times=1"))
    folder = f"--folder={setting.folders.part(CARELESS_CLIENT)}"
    careless = replace(careful, name=CARELESS_CLIENT, arguments=(*careful.arguments, "--careless", folder))
    return Stage(_attacker(setting, INTERCEPTION.id, *doors(setting), *fronts), (careful, careless))


def rogue_server(setting: Setting) -> Stage:
    """Alice logs in once at a shop, too, with each of her bundles; the shop is mallory's."""
    issued = setting.issued
    (port,) = free_ports(1)
    url = f"https://localhost:{port}"
    alice = _part(
        setting,
        VICTIM_CLIENT,
        *(f"--gateway={login}={url}" for login in SHOP_LOGINS),
        f"--bundle={SHOP_LOGINS[0]}={issued.client_pem}",
        f"--bundle={SHOP_LOGINS[1]}={issued.client_self_signed_pem}",
        f"--ca={issued.ca_pem}",
        f"--every={LOGIN_EVERY_SECONDS}",
        "--times=1",
        may_end=(0, 1),
    )
    shop = (f"--listen={HOST}:{port}", f"--shop-bundle={issued.shop_pem}")
    return Stage(_attacker(setting, ROGUE_SERVER.id, *doors(setting), *shop), (alice,))


def database(setting: Setting) -> Stage:
    """The bank's register gets out."""
    return Stage(_attacker(setting, DATABASE.id, *doors(setting), f"--file={setting.issued.register}"))


def log(setting: Setting) -> Stage:
    """The gateways' access log gets out."""
    file = setting.folders.part(VICTIM_SERVER) / access_log.FILE_NAME
    return Stage(_attacker(setting, LOG.id, *doors(setting), f"--file={file}"))


LATER_STAGES: Mapping[str, Callable[[Setting], Stage]] = {
    INTERCEPTION.id: interception,
    ROGUE_SERVER.id: rogue_server,
    DATABASE.id: database,
    LOG.id: log,
}
"""The stages of the leaks other than the wire's, each of which ends when the attacker is done."""


def doors(setting: Setting) -> list[str]:
    """The gateways, as the attacker takes them on her command line."""
    sorts = {scheme: "self-signed=" if find_scheme(scheme).trusts == SELF_SIGNED else "" for scheme in setting.gateways}
    return [f"--door={sorts[scheme]}{HOST}:{port}" for scheme, port in setting.gateways.items()]


def _attacker(setting: Setting, command: str, *arguments: str) -> Part:
    mallory = setting.issued.mallory
    assert mallory
    return _part(
        setting,
        ATTACKER,
        command,
        *arguments,
        *(f"--move={move}" for move in setting.plan.moves),
        *(f"--tls={version}" for version in setting.plan.versions),
        f"--rounds={setting.plan.rounds}",
        *(f"--bundle={file}" for file in (mallory.pem, mallory.self_signed_pem)),
        may_end=() if command == "relay" else (0,),
    )


def _part(setting: Setting, name: str, *arguments: str, may_end: tuple[int, ...] = ()) -> Part:
    return Part(name, name.replace("-", "_"), (*arguments, f"--folder={setting.folders.part(name)}"), may_end)


def free_ports(count: int) -> list[int]:
    """So many ports that nothing listens on."""
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in free:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in free]
