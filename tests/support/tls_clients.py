"""TLS client programs that we did not write, as command lines: curl, openssl s_client and gnutls-cli."""

from pathlib import Path

from programs import PATIENCE_SECONDS, program

RSA_TRANSPORT = "kRSA+AESGCM"
"""RSA key transport, as an OpenSSL cipher list."""
CLIENTS = ("curl", "openssl", "gnutls-cli")


def command(
    client: str,
    port: int,
    version: str,
    bundle: Path | None = None,
    *,
    ca: Path | None = None,
    verify: str = "",
    rsa_transport: bool = False,
) -> list[str]:
    """A client that goes to this port with one version of TLS, and with a certificate if `bundle` has one.

    It verifies the server against `ca`, by the name `verify`; without `ca` it is careless.
    """
    own, trusted = str(bundle), str(ca)
    match client:
        case "curl":
            words = ["--silent", "--max-time", f"{PATIENCE_SECONDS:.0f}", f"--tlsv{version}", "--tls-max", version]
            words += ["--cacert", trusted] if ca else ["-k"]
            words += ["--cert", own] if bundle else []
            words += ["--ciphers", RSA_TRANSPORT] if rsa_transport else []
            words.append(f"https://localhost:{port}/account")
        case "openssl":
            words = ["s_client", "-ign_eof", "-connect", f"127.0.0.1:{port}", f"-tls{version.replace('.', '_')}"]
            words += ["-CAfile", trusted, "-verify_return_error", "-verify_hostname", verify] if ca else []
            words += ["-cert", own] if bundle else []
            words += ["-cipher", RSA_TRANSPORT] if rsa_transport else []
        case _:
            priority = f"NORMAL:-VERS-ALL:+VERS-TLS{version}" + (":-KX-ALL:+RSA" if rsa_transport else "")
            words = ["--port", str(port), "--priority", priority]
            words += ["--x509cafile", trusted, "--verify-hostname", verify] if ca else ["--insecure"]
            words += ["--x509certfile", own, "--x509keyfile", own] if bundle else []
            words.append("localhost")
    return [program(client), *words]
