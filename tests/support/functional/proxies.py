"""Proxies as child processes of a test: HAProxy, nginx, Apache's mod_proxy_http, Varnish, Squid and Caddy."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.functional.harness import PATIENCE, free_port, wait_for

AS_ROOT = os.geteuid() == 0

HAPROXY = """
global
    log stdout format raw local0
    nbthread 1
defaults
    mode http
    timeout connect 10s
    timeout server 30s
    timeout client {patience}s
    timeout http-request {patience}s
    timeout http-keep-alive {idle}s
    http-reuse always
frontend web
    bind 127.0.0.1:{port}
    default_backend django
backend django
{directives}
    server django 127.0.0.1:{backend}
"""
NGINX = """
{user}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_header_timeout {patience}s;
    client_body_timeout {patience}s;
    keepalive_timeout {idle}s;
    upstream django {{
        server 127.0.0.1:{backend};
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://django;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
{directives}
        }}
    }}
}}
"""
APACHE = """
ServerRoot {directory}
ServerName proxy.example
PidFile {directory}/apache.pid
DefaultRuntimeDir {directory}
ErrorLog /dev/stderr
Mutex sem
Listen 127.0.0.1:{port}
{user}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule reqtimeout_module /usr/lib/apache2/modules/mod_reqtimeout.so
LoadModule unique_id_module /usr/lib/apache2/modules/mod_unique_id.so
StartServers 1
ServerLimit 1
ThreadsPerChild 32
MaxRequestWorkers 32
RequestReadTimeout header={patience} body={patience}
KeepAliveTimeout {idle}
ProxyPass / http://127.0.0.1:{backend}/
{directives}
"""
VARNISH = """
vcl 4.1;
backend django {{ .host = "127.0.0.1"; .port = "{backend}"; }}
{directives}
"""
SQUID = """
http_port 127.0.0.1:{port} accel vhost
cache_peer 127.0.0.1 parent {backend} 0 no-query no-digest no-netdb-exchange originserver name=django
http_access allow all
cache deny all
cache_mem 8 MB
memory_cache_shared off
pid_filename none
coredump_dir none
cache_log {directory}/squid.log
access_log none
pinger_enable off
visible_hostname proxy.example
shutdown_lifetime 0 seconds
request_timeout {patience} seconds
client_idle_pconn_timeout {idle} seconds
{directives}
"""


DIRECTIVES = {
    "haproxy": """
    option forwardfor
    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Request-ID %[uuid()]
""",
    "nginx": """
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Port $server_port;
    proxy_set_header X-Request-ID $request_id;
""",
    "apache": """
    ProxyPreserveHost On
    RequestHeader unset X-Forwarded-Host
    RequestHeader set X-Forwarded-Proto expr=%{REQUEST_SCHEME}
    RequestHeader set X-Forwarded-Port expr=%{SERVER_PORT}
    RequestHeader set X-Request-ID %{UNIQUE_ID}e
""",
    "varnish": """
    import std;
    sub vcl_recv {
        if (!std.cache_req_body(10MB)) { return (synth(400)); }
        set req.http.X-Forwarded-Proto = "http";
        set req.http.X-Forwarded-Host = req.http.Host;
        set req.http.X-Forwarded-Port = std.port(server.ip);
        unset req.http.X-Request-ID;
    }
""",
    "squid": """
    request_header_access X-Forwarded-Proto deny all
    request_header_access X-Forwarded-Host deny all
    request_header_access X-Forwarded-Port deny all
    request_header_access X-Request-ID deny all
    request_header_add X-Forwarded-Proto http all
    request_header_add X-Forwarded-Host "%{Host}>h" all
    request_header_add X-Forwarded-Port "%>lp" all
""",
    "caddy": """
    header_up X-Forwarded-Port {port}
    header_up X-Request-ID {http.request.uuid}
""",
}
"""What docs/proxies.md says that each proxy should be told, so that Django sees the client."""

CADDY = """
{{
    admin off
    auto_https off
    grace_period 1s
    servers {{
        timeouts {{
            read_header {patience}s
            read_body {patience}s
            idle {idle}s
        }}
    }}
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{backend} {{
{directives}
    }}
}}
"""


@dataclass(frozen=True)
class Kind:
    """A program that is a proxy, and how to run it in the foreground without rights of its own."""

    program: str
    configuration: str
    words: Callable[[Path, int, int], list[str]]
    """What comes after the program's name, for the file of its configuration, the port and the patience."""
    user: str = ""
    """What a configuration says as root."""


def _varnish_words(configuration: Path, port: int, patience: int) -> list[str]:
    words = ["-F", "-j", "none", "-n", str(configuration.parent / "varnish"), "-f", str(configuration)]
    words += ["-a", f"127.0.0.1:{port}", "-s", "malloc,16m"]
    for parameter in (f"timeout_idle={patience}", "thread_pools=1", "thread_pool_min=40", "vsl_space=1M"):
        words += ["-p", parameter]
    return words


KINDS = {
    "haproxy": Kind("haproxy", HAPROXY, lambda path, *_: ["-db", "-f", str(path)]),
    "nginx": Kind(
        "nginx", NGINX, lambda path, *_: ["-p", str(path.parent), "-c", str(path), "-e", "stderr"], "user root;"
    ),
    "apache": Kind(
        "apache2", APACHE, lambda path, *_: ["-D", "FOREGROUND", "-f", str(path)], "User nobody\nGroup nogroup"
    ),
    "varnish": Kind("varnishd", VARNISH, _varnish_words),
    # Squid's shared memory has the name of the service.
    "squid": Kind("squid", SQUID, lambda path, port, _: ["-N", "-n", f"twistserve{port}", "-f", str(path)]),
    # Go's net/http, as in Traefik, which Debian does not have.
    "caddy": Kind("caddy", CADDY, lambda path, *_: ["run", "--config", str(path), "--adapter", "caddyfile"]),
}


CHAINS = ("haproxy > apache", "varnish > haproxy", "nginx > squid", "caddy > haproxy")
"""The outer proxy, and the one that is next to the server."""

SOURCES = {"haproxy": "source 127.0.0.2", "nginx": "proxy_bind 127.0.0.2;"}
"""How proxies are told to connect from an address of their own."""


@contextmanager
def proxying(
    name: str, directory: Path, backend: int, directives: str = "", patience: int = 1, idle: int | None = None
) -> Iterator[int]:
    """A proxy in front of a port, for as long as the block runs; its own port. It is ended by its process id.

    `directives` are more lines of its configuration; `patience` the seconds that it waits for a client
    to send a request, and `idle` those between requests, if they are others.
    """
    kind = KINDS[name]
    program = shutil.which(kind.program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program, f"{kind.program} is not installed"
    directory.mkdir(exist_ok=True)
    port = free_port()
    configuration = directory / f"{name}.conf"
    configuration.write_text(
        kind.configuration.format(
            port=port,
            backend=backend,
            directory=directory,
            directives=directives,
            patience=patience,
            idle=idle or patience,
            user=kind.user if AS_ROOT else "",
        )
    )
    output = directory / f"{name}.output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [program, *kind.words(configuration, port, patience)],
            env={**os.environ, "HOME": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )

    def listens() -> bool:
        assert process.poll() is None, output.read_text(errors="replace")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE):
            return True
        return False

    try:
        wait_for(listens, lambda: f"{name} to listen: {output.read_text(errors='replace')}")
        yield port
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
