"""Ports that are held for servers yet to start."""

import socket
from contextlib import ExitStack

import pytest

from lab.ports import HOST, held_ports


def test_a_port_that_is_held_is_given_to_nobody_but_a_server_may_listen_there() -> None:
    with ExitStack() as stack:
        (port,) = held_ports(stack, 1)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))
        with socket.create_server((HOST, port)) as server, socket.create_connection(server.getsockname()):
            server.accept()[0].close()


def test_ports_are_different_and_free_again_in_the_end() -> None:
    with ExitStack() as stack:
        ports = held_ports(stack, 20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as other:
            other.bind((HOST, port))
