"""What others ask and are told: the probe port and the webhooks, of one process and of the parent of several.

A worker has none of this, and does not import it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service

from twistserve.composition.parts import probe_port
from twistserve.http.access_log import AccessLog
from twistserve.http.site import Handler
from twistserve.lifecycle import Lifecycle, State
from twistserve.logs.log import LogService
from twistserve.options import STATUS_JSON, STATUS_PAGE, Configuration
from twistserve.probes.handlers import Metrics, Probe, ProbeResults, ProbeRoot, Told
from twistserve.probes.port import ProbeService
from twistserve.status import page
from twistserve.status.report import StatusDocument, StatusReport, as_json

if TYPE_CHECKING:
    from twistserve.webhooks.outbox import WebhookService


def outside_services(
    configuration: Configuration,
    results: ProbeResults,
    metrics_handler: Metrics,
    report: StatusReport,
    lifecycle: Lifecycle,
    log: LogService,
    reactor: Any,
    descriptors: Sequence[int] = (),
    on_web_port: Callable[[ProbeRoot], None] = lambda probes: None,
) -> Iterator[Service]:
    """What others ask and are told: the probe port, on its `descriptors` if a parent has it, and the webhooks.

    Probes that have no port of their own are given to `on_web_port`.
    """
    webhooks = _webhooks(configuration, lifecycle, reactor) if configuration.webhook_url else None
    if not configuration.no_probe:
        told = webhooks.note_probe if webhooks is not None else None
        root = _probes(results, metrics_handler, report, configuration, told)
        if configuration.probes_on_web_port:
            on_web_port(root)
        else:
            yield _probe_service(configuration, root, lifecycle, log, reactor, descriptors)
    if webhooks is not None:
        yield webhooks


def _probe_service(
    configuration: Configuration,
    root: ProbeRoot,
    lifecycle: Lifecycle,
    log: LogService,
    reactor: Any,
    descriptors: Sequence[int],
) -> ProbeService:
    access_log = AccessLog(log, configuration.log_format == "json") if configuration.log_probes else None
    port = probe_port(configuration, reactor)
    if descriptors:
        port.take(descriptors)
    else:
        port.bind()
    service = ProbeService(port, root, lifecycle.fail, reactor, access_log)
    service.last = not descriptors
    return service


def _webhooks(configuration: Configuration, lifecycle: Lifecycle, reactor: Any) -> WebhookService:
    """The webhooks, told of the lifecycle's states."""
    from twistserve.webhooks.formats import HurricaneFormat, TwistserveFormat
    from twistserve.webhooks.outbox import WebhookService, facts_of

    facts = facts_of(configuration.app_version, os.environ)
    as_hurricane = configuration.webhook_format == "hurricane"
    form = HurricaneFormat(facts, lifecycle) if as_hurricane else TwistserveFormat(facts)
    webhooks = WebhookService(configuration.webhook_url, configuration.webhook_secret, form, lifecycle.hurry, reactor)

    def announce(state: State, reason: str) -> None:
        if state is State.READY:
            webhooks.announce("startup", "succeeded", reason)
        elif state is State.DRAINING and lifecycle.failure is not None and not lifecycle.started:
            webhooks.announce("startup", "failed", lifecycle.failure)
        elif state is State.DRAINING:
            webhooks.announce("draining", "draining", reason)

    lifecycle.observe(announce)
    return webhooks


def _probes(
    results: ProbeResults,
    metrics_handler: Metrics,
    report: StatusReport,
    configuration: Configuration,
    told: Told | None,
) -> ProbeRoot:
    """What responds to probes, by path; `told` of readiness and liveness, and of --probe as readiness."""
    handlers: dict[str, Handler] = {
        configuration.startup_probe: Probe("startup", results.startup),
        configuration.readiness_probe: Probe("readiness", results.readiness, told),
    }
    if configuration.probe is None:
        handlers[configuration.liveness_probe] = Probe("liveness", results.liveness, told)
    if not configuration.no_metrics:
        handlers[configuration.metrics] = metrics_handler
    if not configuration.no_status_page:
        handlers[STATUS_PAGE] = StatusDocument(report.gather, page.render, page.CONTENT_TYPE, page.POLICY)
        handlers[STATUS_JSON] = StatusDocument(report.gather, as_json, b"application/json")
    return ProbeRoot(handlers)
