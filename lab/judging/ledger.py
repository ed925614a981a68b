"""The bank's ledger: the third witness. What it says of each connection, and whether it adds up."""

from collections import defaultdict
from collections.abc import Iterator

from lab.catalogue.cast import CUSTOMER, MALLORY
from lab.catalogue.gateways import find_gateway
from lab.events.log import Recorded
from lab.events.run import Run
from lab.events.types import AccountOpened, LoggedIn, MoneyMoved, TransferRefused
from lab.judging.facts import common_name


class Ledger:
    """A run's ledger.

    `kept` says whether it names accounts and connections; in runs of earlier versions it did not.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.kept = run.first(AccountOpened) is not None
        self._entries: dict[str, list[Recorded]] = defaultdict(list)
        for recorded in run.events:
            if isinstance(recorded.event, MoneyMoved | TransferRefused):
                self._entries[recorded.event.connection].append(recorded)

    @property
    def opened(self) -> dict[str, int]:
        """The balance of each customer when the account was opened."""
        return {one.customer: one.balance for one in self._run.all(AccountOpened)}

    @property
    def connections(self) -> frozenset[str]:
        """The connections on which something was ordered."""
        return frozenset(self._entries)

    def on(self, connection: str) -> tuple[Recorded, ...]:
        """The entries about one connection."""
        return tuple(self._entries.get(connection, ())) if connection else ()

    def moved_on(self, connection: str) -> int:
        """How much was moved by one connection."""
        return sum(one.event.amount for one in self.on(connection) if isinstance(one.event, MoneyMoved))

    def refused_on(self, connection: str) -> tuple[int, ...]:
        """The statuses with which orders of one connection were refused."""
        return tuple(one.event.status for one in self.on(connection) if isinstance(one.event, TransferRefused))

    def errors(self) -> Iterator[str]:
        """Where it does not add up, a sentence each."""
        balances: dict[str, int] = {}
        told: dict[str, set[int]] = defaultdict(set)
        for recorded in self._run.events:
            event = recorded.event
            if isinstance(event, AccountOpened):
                balances[event.customer] = event.balance
                told[event.customer].add(event.balance)
            elif isinstance(event, MoneyMoved):
                due = balances.get(event.customer, 0) - event.amount
                if event.balance != due:
                    yield (
                        f"the bank's ledger does not add up: {event.customer} had {due + event.amount}, "
                        f"{event.amount} went, and {event.balance} is left ({recorded.number})"
                    )
                balances[event.customer] = event.balance
                if event.to in balances:
                    balances[event.to] += event.amount
                told[event.customer].add(event.balance)
        yield from self._odd_openings()
        odd = dict.fromkeys(
            (name, login.balance)
            for login in self._run.all(LoggedIn)
            if find_gateway(login.gateway)
            and (name := common_name(login.subject)) in told
            and login.balance not in told[name]
        )
        for name, balance in odd:
            yield f"the bank told {name} a balance of {balance}, which her account never had"

    def _odd_openings(self) -> Iterator[str]:
        """All customers begin with the same, and mallory with nothing (`victim_server.bank`)."""
        opened = self.opened
        if missing := [name for name in (CUSTOMER, MALLORY) if name not in opened]:
            yield f"the bank's ledger has no account of {missing[0]}"
        if len({balance for name, balance in opened.items() if name != MALLORY}) > 1:
            yield "the bank's ledger does not open all accounts with the same balance"
        if opened.get(MALLORY):
            yield f"the bank's ledger opens mallory's account with {opened[MALLORY]}, and she begins with nothing"
