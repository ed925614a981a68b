"""`python -m victim_server`: the bank and the gateways in front of it, until told to stop."""

from pathlib import Path

from lab.address import port_number
from lab.catalogue.cast import OPENING_BALANCE, VICTIM_SERVER
from lab.catalogue.gateways import GATEWAYS, Gateway, find_gateway
from lab.process import ArgumentParser, BadInput, run_part, whole_number
from lab.scope import write_place
from lab.tls.versions import VERSION_NAMES, versions_named
from victim_server.service import Settings, serve


def gateway_and_port(text: str) -> tuple[Gateway, int]:
    """Reads `mtls@openssl=8441`; BadInput for anything else."""
    name, equals, number = text.partition("=")
    if not equals:
        raise BadInput(f"{text!r} is not GATEWAY=PORT; for example mtls@openssl=8441")
    gateway = find_gateway(name)
    if gateway is None:
        raise BadInput(f"there is no gateway {name!r}; choose one of {', '.join(one.id for one in GATEWAYS)}")
    return gateway, port(number)


def port(text: str) -> int:
    """0 to 65535; BadInput for anything else."""
    number = port_number(text)
    if number is None:
        raise BadInput(f"{text!r} is not a port number")
    return number


def parser() -> ArgumentParser:
    """The command line."""
    ids = ", ".join(gateway.id for gateway in GATEWAYS)
    it = ArgumentParser(prog="python -m victim_server", description=__doc__)
    it.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    it.add_argument(
        "--port",
        action="append",
        required=True,
        metavar="GATEWAY=PORT",
        help=f"a gateway, one of {ids}; 0 for any port",
    )
    it.add_argument("--bundle", type=Path, required=True, metavar="FILE", help="the server's key and certificate, PEM")
    it.add_argument(
        "--ca", type=Path, required=True, metavar="FILE", help="the CA that the clients' certificates come from, PEM"
    )
    it.add_argument("--register", type=Path, metavar="FILE", help="for pinned schemes: the bank's customers, SQLite")
    it.add_argument(
        "--tls",
        action="append",
        choices=VERSION_NAMES,
        help="a version to serve; repeatable (all)",
    )
    it.add_argument(
        "--rsa-transport", type=Path, metavar="FILE", help="do RSA key transport too, with this second bundle, PEM"
    )
    it.add_argument(
        "--student-code",
        action="append",
        default=[],
        metavar="SCHEME=FILE",
        help="a student's file with the check of the proof, for the gateway SCHEME@student; repeatable",
    )
    it.add_argument("--capture", type=Path, metavar="FILE", help="write what the gateways hear and say there, pcapng")
    it.add_argument("--announce", action="store_true", help="in a container: write down where on the network it is")
    it.add_argument("--folder", type=Path, required=True, help="where events.jsonl and keys.log go")
    it.add_argument("--access-log", type=Path, metavar="FILE", help="keep one, with the clients' certificates")
    it.add_argument(
        "--opening-balance",
        type=whole_number(0, 10**9),
        default=OPENING_BALANCE,
        help="each customer's (default: %(default)s)",
    )
    it.add_argument("--tether", action="store_true", help="stop when standard input ends, too")
    return it


async def main() -> int:
    """The part; its exit status."""
    arguments = parser().parse_args()
    if arguments.announce:
        write_place(VICTIM_SERVER)
    ports = tuple(gateway_and_port(text) for text in arguments.port)

    settings = Settings(
        host=arguments.host,
        ports=ports,
        bundle_file=arguments.bundle,
        ca_file=arguments.ca,
        folder=arguments.folder,
        register_file=arguments.register,
        access_log_file=arguments.access_log,
        versions=versions_named(arguments.tls),
        opening_balance=arguments.opening_balance,
        rsa_transport_file=arguments.rsa_transport,
        capture_file=arguments.capture,
        student_code={scheme: Path(file) for scheme, _, file in (one.partition("=") for one in arguments.student_code)},
    )
    return await serve(settings, arguments.tether)


if __name__ == "__main__":
    run_part(VICTIM_SERVER, main)
