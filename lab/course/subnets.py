"""Subnets for many labs on one host: /28s out of one /20 that nobody uses yet.

Docker refuses a network that overlaps another of its own, and not one that overlaps a route of the host, such as a
VPN's.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network
from typing import Any

from lab.course.errors import CourseError

PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
"""RFC 1918 section 3."""
CLASS_PREFIX, LAB_PREFIX = 20, 28
A_LAB = 2
"""Networks of one lab: the one with the bank and mallory, and its page's."""
MOST_LABS = 2 ** (LAB_PREFIX - CLASS_PREFIX) // A_LAB


def routes_of(output: str) -> Iterator[tuple[IPv4Network, str]]:
    """The host's routes but the default ones, from `ip -json route show table all`, each with what it is called."""
    for route in json.loads(output or "[]"):
        destination = route.get("dst", "default")
        if destination == "default" or ":" in destination:
            continue
        network = IPv4Network(destination, strict=False)
        if network.prefixlen:
            yield network, f"the host's route to {destination}" + (f" by {route['dev']}" if "dev" in route else "")


def docker_networks_of(output: str) -> Iterator[tuple[IPv4Network, str, str]]:
    """Docker's networks from `docker network inspect`: the subnet, what it is called, and its compose project."""
    found: list[dict[str, Any]] = json.loads(output or "[]")
    for one in found:
        for config in (one.get("IPAM") or {}).get("Config") or ():
            subnet = config.get("Subnet", "")
            if subnet and ":" not in subnet:
                project = (one.get("Labels") or {}).get("com.docker.compose.project", "")
                yield IPv4Network(subnet, strict=False), f"Docker's network {one.get('Name')}", project


def choose(taken: Sequence[tuple[IPv4Network, str]], wanted: str = "") -> IPv4Network:
    """A /20 that overlaps nothing that is taken: the wanted one, or else the first that is free.

    CourseError if the wanted one is no private /20 or overlaps something, which is named, or if none is free.
    """
    if wanted:
        try:
            network = IPv4Network(wanted)
        except ValueError as error:
            raise CourseError(f"--network {wanted}: {error}; write one such as 10.231.0.0/{CLASS_PREFIX}") from None
        if network.prefixlen != CLASS_PREFIX or not any(network.subnet_of(one) for one in PRIVATE):
            raise CourseError(f"--network {wanted}: is no private /{CLASS_PREFIX}, such as 10.231.0.0/{CLASS_PREFIX}")
        for other, name in taken:
            if network.overlaps(other):
                raise CourseError(f"--network {wanted}: overlaps {name}, {other}; leave it out, or choose another")
        return network
    for one in PRIVATE:
        # From the middle of 10.0.0.0/8 on: its beginning is where most networks are.
        candidates = list(one.subnets(new_prefix=CLASS_PREFIX))
        for network in candidates[len(candidates) // 2 :] + candidates[: len(candidates) // 2]:
            if not any(network.overlaps(other) for other, _ in taken):
                return network
    raise CourseError(f"no private /{CLASS_PREFIX} is free of the host's routes and of Docker's networks")


def split(network: IPv4Network, taken: Iterable[IPv4Network] = ()) -> Iterator[tuple[IPv4Network, ...]]:
    """The networks of one lab after the other, without those that are taken."""
    used = set(taken)
    parts = list(network.subnets(new_prefix=LAB_PREFIX))
    for at in range(0, len(parts), A_LAB):
        if not used & set(parts[at : at + A_LAB]):
            yield tuple(parts[at : at + A_LAB])
