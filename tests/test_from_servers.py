"""The pages for who comes from another server: every setting has its row, and every option that they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from twisted.scripts._twistd_unix import ServerOptions

from twistserve.options import TABLE

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("from-gunicorn", "from-uwsgi", "from-runserver")
OURS = {f"--{option.word}" for option in TABLE} | {f"--no-{option.word}" for option in TABLE if option.negatable}
TWISTD = {f"--{word.rstrip('=')}" for word in ServerOptions().longOpt}
OTHERS = {"--print-options", "--skip-checks", "--deploy"}
"""Options of the commands that are not in the table."""

GUNICORN = """
    config wsgi_app bind backlog workers worker_class threads worker_connections max_requests max_requests_jitter
    timeout graceful_timeout keepalive limit_request_line limit_request_fields limit_request_field_size reload
    reload_engine reload_extra_files spew check_config print_config preload_app sendfile reuse_port chdir daemon
    raw_env pidfile worker_tmp_dir user group umask initgroups tmp_upload_dir secure_scheme_headers
    forwarded_allow_ips accesslog disable_redirect_access_to_syslog access_log_format errorlog loglevel
    capture_output logger_class logconfig logconfig_dict logconfig_json syslog_addr syslog syslog_prefix
    syslog_facility enable_stdio_inheritance statsd_host dogstatsd_tags statsd_prefix enable_backlog_metric
    proc_name default_proc_name pythonpath paste on_starting on_reload when_ready pre_fork post_fork
    post_worker_init worker_int worker_abort pre_exec pre_request post_request child_exit worker_exit
    nworkers_changed on_exit ssl_context proxy_protocol proxy_allow_ips protocol uwsgi_allow_ips keyfile certfile
    ssl_version cert_reqs ca_certs suppress_ragged_eofs do_handshake_on_connect ciphers http_protocols
    http2_cleartext http2_max_concurrent_streams http2_initial_window_size http2_max_frame_size
    http2_max_header_list_size raw_paste_global_conf permit_obsolete_folding strip_header_spaces
    permit_unconventional_http_method permit_unconventional_http_version casefold_http_method forwarder_headers
    header_map asgi_loop asgi_lifespan asgi_disconnect_grace_period websocket_max_message_size http_parser root_path
    dirty_apps dirty_workers dirty_timeout dirty_threads dirty_graceful_timeout on_dirty_starting dirty_post_fork
    dirty_worker_init dirty_worker_exit control_socket control_socket_mode control_socket_disable
"""
"""The names in gunicorn.config.KNOWN_SETTINGS of gunicorn 27.0.1."""


def rows(page: str) -> list[list[str]]:
    """The cells of every line of the page's tables."""
    lines = (DOCS / f"{page}.md").read_text().splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]


def test_every_setting_of_gunicorn_is_in_the_table_once() -> None:
    """Whoever looks one up finds what has become of it."""
    text = (DOCS / "from-gunicorn.md").read_text()
    table = text[text.index("<!-- gunicorn: begin -->") : text.index("<!-- gunicorn: end -->")]
    first = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(first))) == sorted(GUNICORN.split())


@pytest.mark.parametrize("page", PAGES)
def test_options_that_are_named_exist(page: str) -> None:
    """What a table says of this server, and the commands to copy, have no option that it does not know."""
    named = {option for row in rows(page) for option in re.findall(r"`(--[a-z-]+)", row[-1])}
    commands = re.findall(r"^(?:twistd|python manage.py) .*$", (DOCS / f"{page}.md").read_text(), re.MULTILINE)
    assert commands
    named |= set(re.findall(r"--[a-z-]+", " ".join(commands)))
    assert named - OURS - TWISTD - OTHERS == set()
