"""Server programs that we did not write, each as a small bank: it takes alice's certificate and has her account."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from programs import program
from tls_peers import Files, gnutls_serv, s_server

ACCOUNT = json.dumps({"customer": "alice", "balance": 1000})
MODULES = Path("/usr/lib/apache2/modules")


Call: TypeAlias = Callable[[Files, Path, Sequence[str]], list[str]]
"""The call of a program that serves at `{port}` in these versions, its own files in a folder."""


def _written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def _nginx(http2: str) -> Call:
    def call(files: Files, folder: Path, versions: Sequence[str]) -> list[str]:
        protocols = " ".join(f"TLSv{version}" for version in versions)
        text = f"""
            daemon off; pid {folder}/pid; error_log {folder}/error.log;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
                uwsgi_temp_path {folder}; scgi_temp_path {folder};
                server {{
                    listen 127.0.0.1:PORT ssl {http2};
                    ssl_certificate {files.server}; ssl_certificate_key {files.server}; ssl_protocols {protocols};
                    ssl_client_certificate {files.ca}; ssl_verify_client on;
                    location /account {{ default_type application/json; return 200 '{ACCOUNT}'; }}
                }}
            }}"""
        return _with_port(folder, text, f"exec {program('nginx')} -e {folder}/error.log -p {folder} -c CONFIG")

    return call


def _with_port(folder: Path, text: str, command: str) -> list[str]:
    """A shell that puts the port into the configuration and becomes the program."""
    template, config = _written(folder / "template", f"{text}\n"), folder / "config"
    return ["sh", "-c", f"sed s/PORT/{{port}}/ {template} > {config}; {command.replace('CONFIG', str(config))}"]


def _haproxy(files: Files, folder: Path, versions: Sequence[str]) -> list[str]:
    account = _written(folder / "account.json", ACCOUNT)
    bounds = f"ssl-min-ver TLSv{versions[0]} ssl-max-ver TLSv{versions[-1]}"
    text = f"""
        defaults
            mode http
            timeout client 10s
            timeout connect 10s
            timeout server 10s
        frontend bank
            bind 127.0.0.1:PORT ssl crt {files.server} ca-file {files.ca} verify required alpn h2,http/1.1 {bounds}
            http-request return status 200 content-type application/json file {account}
        """
    return _with_port(folder, text, f"exec {program('haproxy')} -db -f CONFIG")


def _apache(
    files: Files,
    folder: Path,
    versions: Sequence[str],
    above: str = "h2 http/1.1",
    asks: str = "SSLVerifyClient require",
) -> list[str]:
    _written(folder / "account", ACCOUNT)
    protocols = " ".join(f"+TLSv{version}" for version in versions)
    modules = ("mpm_event", "authz_core", "ssl", "http2", "socache_shmcb")
    load = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in modules)
    text = f"""
        {load}
        ServerName localhost
        PidFile {folder}/pid
        ErrorLog {folder}/error.log
        Listen 127.0.0.1:PORT
        DocumentRoot {folder}
        Protocols {above}
        SSLEngine on
        SSLCertificateFile {files.server}
        SSLCACertificateFile {files.ca}
        {asks}
        SSLProtocol -all {protocols}
        """
    return _with_port(folder, text, f"exec {program('apache2')} -X -d {folder} -f CONFIG")


def _caddy(files: Files, folder: Path, versions: Sequence[str]) -> list[str]:
    """A server in Go, with Go's own TLS."""
    policy = {
        "protocol_min": f"tls{versions[0]}",
        "protocol_max": f"tls{versions[-1]}",
        "client_authentication": {"trusted_ca_certs_pem_files": [str(files.ca)], "mode": "require_and_verify"},
    }
    server = {
        "listen": ["127.0.0.1:PORT"],
        "routes": [{"handle": [{"handler": "static_response", "body": ACCOUNT}]}],
        "tls_connection_policies": [policy],
        "automatic_https": {"disable": True},
    }
    pair = {"certificate": str(files.server), "key": str(files.server)}
    apps = {"http": {"servers": {"bank": server}}, "tls": {"certificates": {"load_files": [pair]}}}
    config = json.dumps({"admin": {"disabled": True}, "apps": apps})
    return _with_port(folder, config, f"HOME={folder} exec {program('caddy')} run --adapter '' --config CONFIG")


def _node(options: str, lets_in: str = "true") -> Call:
    """Node's HTTP/2; `lets_in` says of a connection's `socket` whether its client gets in."""

    def call(files: Files, folder: Path, versions: Sequence[str]) -> list[str]:
        text = f"""
            const read = require('fs').readFileSync
            const options = {{
                {options}, requestCert: true,
                key: read('{files.server}'), cert: read('{files.server}'), ca: read('{files.ca}'),
                minVersion: 'TLSv{versions[0]}', maxVersion: 'TLSv{versions[-1]}',
            }}
            require('http2').createSecureServer(options, (request, answer) => {{
                const socket = request.stream ? request.stream.session.socket : request.socket
                answer.writeHead({lets_in} ? 200 : 403)
                answer.end({lets_in} ? '{ACCOUNT}' : '')
            }}).listen(PORT, '127.0.0.1')
            """
        return _with_port(folder, text, f"exec {program('node')} CONFIG")

    return call


def _erlang(files: Files, folder: Path, versions: Sequence[str]) -> list[str]:
    atoms = ", ".join(f"'tlsv{version}'" for version in versions)
    answer = f"HTTP/1.1 200 OK\\r\\nContent-Length: {len(ACCOUNT)}\\r\\n\\r\\n" + ACCOUNT.replace('"', '\\"')
    text = f"""
        main(_) ->
            {{ok, _}} = application:ensure_all_started(ssl),
            {{ok, Listening}} = ssl:listen(PORT, [binary, {{ip, {{127,0,0,1}}}}, {{active, false}}, {{reuseaddr, true}},
                {{certfile, "{files.server}"}}, {{keyfile, "{files.server}"}}, {{cacertfile, "{files.ca}"}},
                {{verify, verify_peer}}, {{fail_if_no_peer_cert, true}}, {{versions, [{atoms}]}},
                {{alpn_preferred_protocols, [<<"http/1.1">>]}}, {{log_level, none}}]),
            serve(Listening).
        serve(Listening) ->
            {{ok, Accepted}} = ssl:transport_accept(Listening),
            spawn(fun() -> receive go -> talk(Accepted) end end) ! go,
            serve(Listening).
        talk(Accepted) ->
            case ssl:handshake(Accepted, 10000) of
                {{ok, Socket}} ->
                    case ssl:recv(Socket, 0, 10000) of
                        {{ok, _}} -> ssl:send(Socket, "{answer}"), ssl:close(Socket);
                        _ -> ok
                    end;
                _ -> ok
            end.
        """
    script = "#!/usr/bin/env escript\n" + "\n".join(line.strip() for line in text.splitlines())
    return _with_port(folder, script, f"exec {program('escript')} CONFIG")


def _openssl(*options: str) -> Call:
    def call(files: Files, folder: Path, versions: Sequence[str]) -> list[str]:
        command = s_server(files, *options)
        command.remove("-tls1_2")
        return command + ([f"-tls{versions[0].replace('.', '_')}"] if len(versions) == 1 else [])

    return call


def _gnutls(files: Files, folder: Path, versions: Sequence[str]) -> list[str]:
    protocols = ":".join(f"+VERS-TLS{version}" for version in versions)
    command = gnutls_serv(files, f"NORMAL:-VERS-ALL:{protocols}")
    command[command.index("--echo")] = "--http"
    return [*command, "--alpn", "h2", "--alpn", "http/1.1"]


BANK_SERVERS: dict[str, Call] = {
    "nginx": _nginx(""),
    "nginx with HTTP/2": _nginx("http2"),
    "apache2": _apache,
    "haproxy": _haproxy,
    "caddy": _caddy,
    "node": _node("allowHTTP1: true, rejectUnauthorized: true"),
    "erlang": _erlang,
    "openssl": _openssl("-alpn", "http/1.1"),
    "openssl with HTTP/2 alone": _openssl("-alpn", "h2"),
    "openssl, CBC first": _openssl("-serverpref", "-cipher", "ECDHE+AES256+SHA384:ECDHE+AESGCM"),
    "openssl, X448 first": _openssl("-serverpref", "-groups", "X448:X25519:P-256"),
    "gnutls": _gnutls,
}
"""By what they are called."""

PROXY_FIRST = _nginx("proxy_protocol")
"""nginx behind a load balancer that says where a connection came from, before TLS begins."""

LATER = {
    above: partial(_apache, above=above, asks="<Location /account>\nSSLVerifyClient require\n</Location>")
    for above in ("h2", "http/1.1")
}
"""Apache that asks for a certificate only when it knows what is asked for, by what is spoken above TLS."""

_ALICE_ALONE = "<Location />\nRequire expr %{SSL_CLIENT_S_DN_CN} == 'alice'\n</Location>"
BY_THE_NAME: dict[str, Call] = {
    "apache2": partial(_apache, asks=f"SSLVerifyClient optional_no_ca\n{_ALICE_ALONE}"),
    "node": _node("allowHTTP1: true, rejectUnauthorized: false", "socket.getPeerCertificate().subject?.CN === 'alice'"),
}
"""Servers that look at the name in a certificate and not at who issued it."""

HTTP2_ALONE: dict[str, Call] = {
    "required": _node("rejectUnauthorized: true"),
    "optional": _node("rejectUnauthorized: false", "socket.authorized"),
    "any": _node("rejectUnauthorized: false", "socket.getPeerCertificate().raw"),
}
"""A server that speaks HTTP/2 and nothing else, by what it asks of a client's certificate."""
