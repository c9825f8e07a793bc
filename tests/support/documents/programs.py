"""Configuration in the documents, checked by the programs that it is for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.support.certificates import write_certificate
from tests.support.documents.blocks import Block
from tests.support.functional.harness import PATIENCE, free_port
from tests.support.functional.proxies import AS_ROOT, KINDS

NGINX = """
{user}
daemon off;
pid {directory}/nginx.pid;
events {{ }}
http {{
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{text}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout http-request 10s
{text}
"""
HAPROXY_SECTIONS = r"^(?:global|defaults|frontend|backend|listen|peers|resolvers|cache|userlist)\b"
CADDY_SITE = "http://:8080 {{\n{text}\n}}\n"


def program_fault(block: Block, directory: Path) -> str | None:
    """What the program says of a block that it does not accept."""
    return CHECKS[block.language](_settled(block.text, directory), directory)


def _nginx(text: str, directory: Path) -> str | None:
    names = _outer_names(text)
    if names & {"http", "events"}:
        whole = text
    else:
        if "location" in names and "server" not in names:
            text = f"server {{ listen 127.0.0.1:{free_port()};\n{text}\n}}"
        if names & {"location", "server", "upstream", "map"}:
            whole = NGINX.format(user="user root;" if AS_ROOT else "", directory=directory, text=text)
        else:
            whole = _around("nginx", text, directory)
    file = directory / "nginx.conf"
    file.write_text(whole)
    return _fault("nginx", "-t", "-q", "-p", str(directory), "-c", str(file), "-e", "stderr")


def _haproxy(text: str, directory: Path) -> str | None:
    file = directory / "haproxy.cfg"
    if not re.search(HAPROXY_SECTIONS, text, re.MULTILINE):
        text = _around("haproxy", text, directory)
    elif not re.search(r"^defaults", text, re.MULTILINE):
        text = HAPROXY.format(text=text)
    file.write_text(f"{text}\n")
    return _fault("haproxy", "-c", "-dW", "-f", str(file))


def _caddy(text: str, directory: Path) -> str | None:
    file = directory / "Caddyfile"
    if not re.match(r"\s*(?:#.*\n\s*)*(?:[\w*-]*[.:][^\s{]*|localhost)?[^\n]*\{\s*$", text, re.MULTILINE):
        text = _around("caddy", text, directory)
    elif re.match(r"\s*(?:reverse_proxy|handle|route|file_server)", text):
        text = CADDY_SITE.format(text=text)
    file.write_text(text)
    return _fault("caddy", "validate", "--adapter", "caddyfile", "--config", str(file), home=directory)


def _apache(text: str, directory: Path) -> str | None:
    file = directory / "apache.conf"
    file.write_text(_around("apache", text, directory))
    return _fault("apache2", "-t", "-f", str(file))


def _varnish(text: str, directory: Path) -> str | None:
    file = directory / "varnish.vcl"
    file.write_text(_around("varnish", text, directory))
    return _fault("varnishd", "-j", "none", "-C", "-f", str(file), "-n", str(directory / "varnish"))


def _squid(text: str, directory: Path) -> str | None:
    file = directory / "squid.conf"
    file.write_text(_around("squid", text, directory))
    return _fault("squid", "-k", "parse", "-f", str(file))


def _promql(text: str, directory: Path) -> str | None:
    rules = [{"record": "documents:example", "expr": expression} for expression in text.split("\n\n")]
    return prometheus_fault(yaml.safe_dump({"groups": [{"name": "documents", "rules": rules}]}), directory)


def prometheus_fault(text: str, directory: Path) -> str | None:
    """What promtool says of rules, or of a configuration, in YAML; None of other YAML."""
    file = directory / "prometheus.yaml"
    found = yaml.safe_load(text)
    if not isinstance(found, dict):
        return None
    for scrape in found.get("scrape_configs", []):
        # Debian's Prometheus is built without it.
        scrape.pop("kubernetes_sd_configs", None)
    file.write_text(yaml.safe_dump(found))
    keys = found.keys()
    if keys == {"groups"}:
        return _fault("promtool", "check", "rules", "--lint=none", str(file))
    if keys and keys <= {"global", "rule_files", "scrape_configs", "alerting", "remote_write"}:
        return _fault("promtool", "check", "config", "--syntax-only", str(file))
    return None


CHECKS: dict[str, Callable[[str, Path], str | None]] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
    "caddyfile": _caddy,
    "apache": _apache,
    "vcl": _varnish,
    "squid": _squid,
    "promql": _promql,
}


def _around(name: str, text: str, directory: Path) -> str:
    """The configuration of the tests' own proxy with these directives."""
    kind = KINDS[name]
    user = kind.user if AS_ROOT else ""
    return kind.configuration.format(
        port=free_port(), backend=free_port(), directory=directory, directives=text, patience=1, idle=1, user=user
    )


def _settled(text: str, directory: Path) -> str:
    """The text with addresses, ports, certificates and directories of this machine."""
    certificate = directory / "certificate.pem"
    if ".pem" in text or ".crt" in text or ".key" in text:
        write_certificate(certificate, "documents.example")
        text = re.sub(r"/[\w./-]+\.(?:pem|crt|key)\b", str(certificate), text)
    text = re.sub(
        r"(\b(?:listen|bind)\s+)(?:[\w.*\[\]:]*:)?(\d+)", lambda found: f"{found[1]}127.0.0.1:{free_port()}", text
    )
    text = re.sub(r"\binclude (\w+);", r"include /etc/nginx/\1;", text)
    # Names that only a cluster knows.
    return re.sub(
        r"(\bserver\s+(?:[\w.-]+\s+)?|//)(?!localhost|127\.)[\w-]+(?:\.[\w-]+)*:(\d+)", r"\g<1>127.0.0.1:\2", text
    )


def _outer_names(text: str) -> set[str]:
    """The directives outside of braces."""
    bare = re.sub(r"#.*", "", text)
    while (shorter := re.sub(r"\{[^{}]*\}", ";", bare)) != bare:
        bare = shorter
    return {words[0] for part in bare.split(";") if (words := part.split())}


def _fault(program: str, *words: str, home: Path | None = None) -> str | None:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found, f"{program} is not installed"
    environ = {**os.environ, **({"HOME": str(home)} if home else {})}
    done = subprocess.run(
        [found, *words], env=environ, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
    )
    return None if done.returncode == 0 else f"{program} says:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
