"""The files of a student's that a run takes: a server's check, moves, a client."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from attacker.moves.student import FAILS, NAME, move_of
from lab import files
from lab.catalogue.gateways import STUDENTS_GATEWAYS, find_gateway
from lab.catalogue.plan import Plan
from lab.events.types import CodeLoaded
from lab.guest.host import Guest
from lab.guest.kinds import CHECK, CONTEXT, PROVE
from lab.guest.loading import GuestError


@dataclass(frozen=True)
class StudentCode:
    """`servers` by the gateway that they serve, `moves` by their id, and the client."""

    servers: Mapping[str, Path] = field(default_factory=dict)
    moves: Mapping[str, Path] = field(default_factory=dict)
    client: Path | None = None

    def joined(self, plan: Plan, with_gateways: bool = True, with_moves: bool = True) -> Plan:
        """A plan with the servers and moves of these files, where there are any: beside its own, or in their place."""
        gateways = plan.gateways if with_gateways or not self.servers else ()
        moves = plan.moves if with_moves or not self.moves else ()
        return replace(plan, gateways=(*gateways, *self.servers), moves=(*moves, *self.moves))

    def events(self) -> Iterator[CodeLoaded]:
        """What the run reports of them."""
        for what, name, file in (
            *(("scheme", name, file) for name, file in self.servers.items()),
            *(("move", name, file) for name, file in self.moves.items()),
            *((("client", "client", self.client),) if self.client else ()),
        ):
            yield CodeLoaded(what, name, file.name.replace(":", "_"), sha256(files.read(file)).hexdigest())


def load(schemes: Iterable[str] = (), moves: Iterable[Path] = (), client: Path | None = None) -> StudentCode:
    """The files, each loaded once to see that it can be; `schemes` are `NAME=FILE`. GuestError, with file and line."""
    servers: dict[str, Path] = {}
    for text in schemes:
        name, _, file = text.partition("=")
        gateway = find_gateway(f"{name}@student")
        if gateway is None:
            known = ", ".join(one.scheme.id for one in STUDENTS_GATEWAYS)
            raise GuestError(
                f"--scheme {text}: NAME is the scheme that your server promises to be; choose one of {known}"
            )
        if gateway.id in servers:
            raise GuestError(f"--scheme {text}: a run takes one file a scheme; make another run for the other")
        Guest(Path(file), *CHECK).close()
        servers[gateway.id] = Path(file)
    made: dict[str, Path] = {}
    for path in moves:
        guest = Guest(path, *PROVE, (NAME, FAILS))
        guest.close()
        move = move_of(guest)
        if move.id in made:
            raise GuestError(f"{path}: there is another move {move.id}; give it another NAME")
        made[move.id] = path
    if client:
        Guest(client, *CONTEXT).close()
    return StudentCode(servers, made, client)
