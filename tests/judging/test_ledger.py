"""The bank's ledger: what it says of a connection, and whether it adds up."""

import pytest

from handmade import LOGIN, NAME, OTHER_NAME, run_of, with_fields
from lab.events.types import AccountOpened, Event, MoneyMoved, TransferRefused
from lab.judging.ledger import Ledger

OPENED = (AccountOpened("alice", 1000), AccountOpened("mallory", 0))
MOVED = MoneyMoved("alice", "mallory", 100, 900, NAME)
AGAIN = MoneyMoved("alice", "mallory", 200, 700, NAME)
REFUSED = TransferRefused("alice", 409, "insufficient funds", NAME)
POORER = "the bank's ledger does not add up: alice had 900, 200 went, and 800 is left (lab#4)"


def test_the_ledger_tells_what_was_ordered_on_a_connection() -> None:
    elsewhere = with_fields(MOVED, connection=OTHER_NAME)
    nameless = with_fields(REFUSED, connection="")
    ledger = Ledger(run_of(*OPENED, MOVED, REFUSED, AGAIN, REFUSED, elsewhere, nameless))
    assert ledger.kept
    assert ledger.connections == {NAME, OTHER_NAME, ""}
    assert [one.number for one in ledger.on(NAME)] == ["lab#3", "lab#4", "lab#5", "lab#6"]
    assert (ledger.moved_on(NAME), ledger.refused_on(NAME)) == (300, (409, 409))
    assert (ledger.moved_on(OTHER_NAME), ledger.refused_on(OTHER_NAME)) == (100, ())
    assert ledger.on("") == ledger.on("ef" * 32) == ()


def test_all_customers_begin_with_the_same() -> None:
    assert list(Ledger(run_of(*OPENED, AccountOpened("bob", 1000))).errors()) == []
    differs = "the bank's ledger does not open all accounts with the same balance"
    assert list(Ledger(run_of(*OPENED, AccountOpened("bob", 5))).errors()) == [differs]


def test_a_ledger_without_accounts_is_not_kept() -> None:
    assert not Ledger(run_of(MOVED)).kept


@pytest.mark.parametrize(
    ("events", "errors"),
    [
        ((MOVED, AGAIN), []),
        ((MOVED, MoneyMoved("mallory", "alice", 100, 0), MOVED), []),
        ((MOVED, MoneyMoved("alice", "nobody", 200, 700), MoneyMoved("alice", "mallory", 700, 0)), []),
        ((MOVED, with_fields(AGAIN, balance=800)), [POORER]),
        ((MOVED, with_fields(AGAIN, balance=800), MoneyMoved("alice", "mallory", 100, 700)), [POORER]),
        (
            (MoneyMoved("carol", "mallory", 5, 7),),
            ["the bank's ledger does not add up: carol had 0, 5 went, and 7 is left (lab#3)"],
        ),
    ],
)
def test_each_transfer_leaves_what_was_there_before_less_the_amount(
    events: tuple[Event, ...], errors: list[str]
) -> None:
    assert list(Ledger(run_of(*OPENED, *events)).errors()) == errors


@pytest.mark.parametrize(
    ("login", "found"),
    [
        (LOGIN, False),
        (with_fields(LOGIN, balance=900), False),
        (with_fields(LOGIN, balance=950), True),
        (with_fields(LOGIN, balance=950, gateway="a shop"), False),
        (with_fields(LOGIN, balance=950, subject="CN=bob"), False),
    ],
)
def test_a_customer_is_told_a_balance_that_her_account_had(login: Event, found: bool) -> None:
    """A shop is no bank, and without her account in the ledger nobody can say."""
    errors = list(Ledger(run_of(*OPENED, login, login, MOVED)).errors())
    assert errors == ["the bank told alice a balance of 950, which her account never had"] * found
