"""The tables of the state machines are what the engines do, and the package's modules form no circle."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lab.tls
from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys
from lab.tls.client import Client
from lab.tls.connection import ChangeCipherSpec
from lab.tls.engine import Failed
from lab.tls.extensions import Extension
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Finished,
    HelloRequest,
    Message,
    NewSessionTicket,
    ServerHello,
    ServerHelloDone,
    ServerKeyExchange,
    UnknownMessage,
)
from lab.tls.messages13 import Certificate13, CertificateRequest13, EncryptedExtensions, KeyUpdate, NewSessionTicket13
from lab.tls.records import ContentType
from lab.tls.server import Proof, Server
from lab.tls.states import CLIENT12, CLIENT13, MACHINES, SERVER12, SERVER13, Fact, Machine, State
from lab.tls.versions import TLS12, TLS13
from tls13_script import start
from tls_script import Script, ScriptedServer

PACKAGE = Path(lab.tls.__file__).parent
HOW = {CLIENT12.name: (TLS12, "client"), SERVER12.name: (TLS12, "server")}
HOW |= {CLIENT13.name: (TLS13, "client"), SERVER13.name: (TLS13, "server")}
COMMON: tuple[Message, ...] = (
    ClientHello(bytes(32), b"", (0xC02B,), None),
    ServerHello(bytes(32), b"", 0xC02B, None),
    CertificateVerify(0x0403, b"signature"),
    Finished(bytes(12)),
    UnknownMessage(99, b"?"),
)
SAMPLES: dict[int, tuple[Message, ...]] = {
    TLS12: (
        *COMMON,
        HelloRequest(),
        NewSessionTicket(1, b"ticket"),
        Certificate(()),
        ServerKeyExchange(23, b"point", 0x0403, b"signature"),
        CertificateRequest((64,), (0x0403,)),
        ServerHelloDone(),
        ClientKeyExchange(b"\x01a"),
    ),
    TLS13: (
        *COMMON,
        UnknownMessage(0, b""),
        NewSessionTicket13(1, 2, b"nonce", b"ticket"),
        UnknownMessage(5, b""),
        EncryptedExtensions(()),
        Certificate13(()),
        UnknownMessage(12, b"key exchange"),
        CertificateRequest13.of((0x0403,)),
        UnknownMessage(14, b""),
        UnknownMessage(16, b"key exchange"),
        KeyUpdate(False),
    ),
}
MAYBE = {"policy": Proof.NOT_CHECKED}
WAYS: dict[str, dict[State, tuple[str, dict[str, Any]]]] = {
    CLIENT12.name: {
        State.WAIT_SH: ("hello", {}),
        State.WAIT_CERT: ("certificate", {}),
        State.WAIT_SKE: ("key_exchange", {}),
        State.WAIT_CR_DONE: ("request", {}),
        State.WAIT_DONE: ("done", {}),
        State.WAIT_TICKET: ("change_cipher_spec", {"tickets": True}),
        State.WAIT_CCS: ("change_cipher_spec", {}),
        State.WAIT_FINISHED: ("finished", {}),
        State.CONNECTED: ("", {}),
    },
    SERVER12.name: {
        State.START: ("hello", {}),
        State.WAIT_CERT: ("certificate", {}),
        State.WAIT_CKE: ("key_exchange", {}),
        State.WAIT_CV: ("proof", {}),
        State.MAYBE_CV: ("proof", MAYBE),
        State.WAIT_CCS: ("change_cipher_spec", {}),
        State.WAIT_FINISHED: ("finished", {}),
        State.CONNECTED: ("", {}),
    },
    CLIENT13.name: {
        State.WAIT_SH: ("hello", {}),
        State.WAIT_EE: ("extensions", {}),
        State.WAIT_CERT_CR: ("request", {}),
        State.WAIT_CERT: ("certificate", {}),
        State.WAIT_CV: ("proof", {}),
        State.WAIT_FINISHED: ("finished", {}),
        State.CONNECTED: ("", {}),
    },
    SERVER13.name: {
        State.START: ("hello", {}),
        State.WAIT_CERT: ("certificate", {}),
        State.WAIT_CV: ("proof", {}),
        State.MAYBE_CV: ("proof", MAYBE),
        State.WAIT_FINISHED: ("finished", {}),
        State.CONNECTED: ("", {}),
    },
}
"""How each state is reached: all honest steps before this one, against an engine with these options."""


def reach(machine: Machine, state: State, alice: pki.Identity, bank: pki.Identity) -> Script:
    """A script against an engine in this state."""
    step, options = WAYS[machine.name][state]
    version, role = HOW[machine.name]
    script = start(version, role, alice, bank, **options)
    if "tickets" in options:
        assert isinstance(script, ScriptedServer)
        honest = script.make_hello
        script.make_hello = lambda **_: honest(add=(Extension(ext.SESSION_TICKET, b""),))  # type: ignore[method-assign]
    script.play_before(step)
    return script


def state_of(script: Script, machine: Machine) -> State:
    assert isinstance(script.engine, Client | Server)
    handshake: Any = script.engine._handshake
    found: State = handshake._state if handshake else machine.start
    return found


def is_passed_over(machine: Machine, state: State, message: Message | ChangeCipherSpec) -> bool:
    """What `connection.py` deals with before the machine: see the theory of operation."""
    match message:
        case HelloRequest():
            return machine is CLIENT12
        case ClientHello():
            return machine is SERVER12 and state is State.CONNECTED
        case ChangeCipherSpec():
            return machine in (CLIENT13, SERVER13)
        case _:
            early = machine in (CLIENT13, SERVER13) and state is machine.start
            return early and message.type in (0, 4, 11, 12, 13)  # read as TLS 1.2 has them


STATES = [(machine, state) for machine in MACHINES for state in machine.transitions]
each_state = pytest.mark.parametrize(
    ("machine", "state"), STATES, ids=[f"{machine.name}, {state.name}" for machine, state in STATES]
)


@each_state
def test_an_engine_takes_what_its_table_allows_and_nothing_else(
    alice: pki.Identity, bank: pki.Identity, machine: Machine, state: State
) -> None:
    messages: tuple[Message | ChangeCipherSpec, ...] = (*SAMPLES[HOW[machine.name][0]], ChangeCipherSpec())
    for message in messages:
        if is_passed_over(machine, state, message):
            continue
        script = reach(machine, state, alice, bank)
        assert state_of(script, machine) is state
        if isinstance(message, ChangeCipherSpec):
            script.send(ContentType.CHANGE_CIPHER_SPEC, b"\x01")
        else:
            script.say(message)
        reasons = [event.reason for event in script.events if isinstance(event, Failed)]
        if type(message) in machine.transitions[state]:
            assert not [reason for reason in reasons if "came instead of" in reason], message
        else:
            due = " or ".join(kind.name for kind in machine.transitions[state]) or "nothing more of the handshake"
            assert reasons[0].endswith(f" came instead of {due}")
            assert script.refusal == "unexpected_message"


@pytest.mark.parametrize(
    ("machine", "options", "facts"),
    [
        (CLIENT12, {}, (Fact.NO_TICKET,)),
        (SERVER12, {}, ()),
        (SERVER12, {"policy": None}, (Fact.NO_REQUEST,)),
        (SERVER12, MAYBE, (Fact.PROOF_NOT_CHECKED,)),
        (CLIENT13, {}, ()),
        (SERVER13, {}, ()),
        (SERVER13, {"policy": None}, (Fact.NO_REQUEST,)),
        (SERVER13, MAYBE, (Fact.PROOF_NOT_CHECKED,)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_an_engine_goes_from_state_to_state_as_its_table_says(
    alice: pki.Identity, bank: pki.Identity, machine: Machine, options: dict[str, Any], facts: tuple[Fact, ...]
) -> None:
    version, role = HOW[machine.name]
    script = start(version, role, alice, bank, **options)
    state, left_out = machine.start, ("certificate", "proof") if Fact.NO_REQUEST in facts else ()
    for step in script.steps:
        if step in left_out:
            continue
        before = len(script.engine.steps)
        script.play(step)
        (came, *_) = [one.name for one in script.engine.steps[before:] if one.sender == script.role]
        kind = next(kind for kind in machine.transitions[state] if kind.name == came)
        state = machine.after(state, object.__new__(kind), facts)
        assert state_of(script, machine) is state
    assert state is State.CONNECTED


def test_both_versions_start_alike() -> None:
    """So that the first message can be looked at before the version is settled."""
    for older, newer in ((CLIENT12, CLIENT13), (SERVER12, SERVER13)):
        assert older.start is newer.start
        assert older.transitions[older.start].keys() == newer.transitions[newer.start].keys()


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_state_of_a_table_is_reached_and_has_a_row(machine: Machine) -> None:
    rows = machine.transitions
    targets = {then for row in rows.values() for then in row.values()}
    targets |= {then for row in machine.branches.values() for then in row.values()}
    assert targets | {machine.start} == set(rows)
    assert set(machine.branches) <= set(rows)


def test_a_machine_prints_as_a_table() -> None:
    lines = str(SERVER13).splitlines()
    assert lines[0] == "Server, TLS 1.3 (RFC 8446 appendix A.2)"
    assert lines[1].split() == ["START", "ClientHello", "WAIT_CERT"]
    assert "  WAIT_CV       (the policy is Proof.NOT_CHECKED)         MAYBE_CV" in lines


def test_rsa_key_transport_has_no_server_key_exchange() -> None:
    suite = keys.RSA_TRANSPORT_SUITES[0]
    hello = ServerHello(bytes(32), b"", suite.id, None)
    assert CLIENT12.after(State.WAIT_SH, hello) is State.WAIT_CERT
    assert CLIENT12.after(State.WAIT_CERT, Certificate(()), (Fact.RSA_TRANSPORT,)) is State.WAIT_CR_DONE
    assert CLIENT12.after(State.WAIT_SH, hello, (Fact.RESUMED, Fact.NO_TICKET)) is State.WAIT_CCS
    assert SERVER12.after(State.START, COMMON[0], (Fact.RESUMED, Fact.NO_REQUEST)) is State.WAIT_CCS


# The package.


def imports(path: Path) -> Iterator[str]:
    """The modules of the package that a module imports, under TYPE_CHECKING too."""
    modules = {file.stem for file in PACKAGE.glob("*.py")}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "lab.tls":
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lab.tls."):
            yield str(node.module).removeprefix("lab.tls.")
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("lab.tls.") for alias in node.names if "lab.tls." in alias.name)


def test_no_module_imports_itself_by_way_of_others() -> None:
    waiting = {path.stem: set(imports(path)) for path in PACKAGE.glob("*.py")}
    assert {"client", "client13"} <= waiting["__init__"] | waiting["client"]
    while free := {module for module, needed in waiting.items() if not needed & waiting.keys()}:
        for module in free:
            del waiting[module]
    assert waiting == {}


def test_the_face_has_every_name_that_it_lists() -> None:
    (block,) = [node for node in ast.parse((PACKAGE / "__init__.py").read_text()).body if isinstance(node, ast.If)][:1]
    typed = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(typed) == sorted(lab.tls.__all__)
    for name in lab.tls.__all__:
        assert getattr(lab.tls, name).__module__.startswith("lab.tls.") or name == "Flight"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = lab.tls.Nothing  # type: ignore[attr-defined]


def test_the_messages_alone_are_cheap_to_import() -> None:
    code = "import lab.tls.messages, sys; print(*(name for name in sys.modules if name.startswith(('lab', 'crypt'))))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    parts = {"errors", "wire", "alerts", "extensions", "versions", "messages"}
    assert set(loaded) == {"lab", "lab.tls", *(f"lab.tls.{part}" for part in parts)}
