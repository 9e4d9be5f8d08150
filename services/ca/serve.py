"""The ca process: from settings to a running service, and to a clean end.

Whatever is wrong with the database, the keys, the certificates or the address is raised before the first call is
accepted. At the end calls are refused first, then what is queued is written, then the database is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Any

import grpc
import structlog

from goodstanding.ca.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    ca_pb2,
    ca_pb2_grpc,
    export_pb2,
    export_pb2_grpc,
    import_pb2,
    import_pb2_grpc,
)
from services.ca.audit_reading import AuditReading
from services.ca.audit_servicer import AuditServicer
from services.ca.authority import CertificateAuthority
from services.ca.crl_figures import CrlFigures
from services.ca.crl_health import CrlHealth
from services.ca.crl_schedule import CrlSchedule, CrlTimes
from services.ca.export import Exporting
from services.ca.export_servicer import ExportServicer
from services.ca.import_servicer import ImportServicer
from services.ca.keystore import HeldKeys, load_keys
from services.ca.refusals import RefusalLog
from services.ca.servicer import CertificateAuthorityServicer
from services.ca.settings import AuthoritySettings
from services.ca.signing_figures import SigningFigures
from services.ca.signing_messages import Setup
from services.ca.signing_pool import SigningPool
from services.ca.upkeep import HealthReport, keep_pruning, keep_telling_head
from services.ca.writer import Writer
from services.clock import Clock, utc_now
from services.config import CaSettings, ConfigError, Settings
from services.db import issuers, position, schema
from services.db.engine import Database
from services.known_keys.lists import ListUnreadable, read_lists
from services.passphrases import issuer_passphrase
from services.pki.lint import LinterMissing
from services.processes import spare_the_collector
from services.rpc.assembly import make_metrics, make_server, start_deny_list
from services.rpc.lifecycle import serve_until_signal
from services.rpc.server import RpcServer

SERVICE = ca_pb2.DESCRIPTOR.services_by_name["CertificateAuthorityService"].full_name
AUDIT_SERVICE = audit_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name
EXPORT_SERVICE = export_pb2.DESCRIPTOR.services_by_name["ExportService"].full_name
IMPORT_SERVICE = import_pb2.DESCRIPTOR.services_by_name["ImportService"].full_name

_logger = structlog.get_logger(__name__)

SIGNING_THREADS = 2
READING_THREADS = 4


async def serve(
    settings: Settings, *, ready: Callable[[RpcServer], None] | None = None, clock: Clock = utc_now
) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is called with the server once it accepts calls.

    Raises ConfigError for settings that cannot be used, and DomainError for a database or a key that cannot.
    """
    async with AsyncExitStack() as stack:
        db = Database.open(settings.database.url)
        stack.callback(db.close)
        schema.check_current(db)
        keys = _load_keys(db, settings)
        writer = Writer(db)
        stack.callback(writer.close)
        refusals = RefusalLog(writer, clock)
        stack.callback(refusals.close)
        told = _authority_settings(settings)
        authority = _authority(db, writer, keys, settings, told, clock)
        pool = SigningPool(_setup(settings, told), writer, authority.directory, clock, settings.ca.signing_processes)
        stack.callback(pool.close)
        authority.sign_with(pool)
        workers = _executor(stack, SIGNING_THREADS, "ca-sign")
        readers = _executor(stack, READING_THREADS, "ca-read")
        deny_list = start_deny_list(stack, db)
        servicer = CertificateAuthorityServicer(authority, workers=workers, readers=readers, clock=clock)
        reading = AuditReading(db, authority.directory)
        others = _other_services(db, authority, reading, readers, clock)
        add = partial(ca_pb2_grpc.add_CertificateAuthorityServiceServicer_to_server, servicer)
        metrics = make_metrics(stack, settings.ca.metrics_listen)
        metrics.registry.register(SigningFigures(pool))
        server = make_server(
            settings,
            "ca",
            SERVICE,
            add,
            deny_list=deny_list,
            metrics=metrics,
            clock=clock,
            on_refusal=refusals.note,
            also=others,
        )
        _begin_history(db)
        _tell_unfinished_imports(db)
        schedule = CrlSchedule(
            db,
            authority.directory,
            authority.crl_points,
            _crl_times(settings.ca),
            clock=clock,
            figures=CrlFigures(metrics.registry),
        )
        stack.callback(schedule.start().close)
        lists = CrlHealth(db, authority.directory, _crl_times(settings.ca).interval, clock)
        names = ("", SERVICE, *others)
        health = HealthReport(authority.directory, clock, readers, server.set_serving, names, lists.look)
        await health.update()
        spare_the_collector()
        telling = keep_telling_head(reading.head, readers)
        _in_background(stack, health.keep(), keep_pruning(db, clock, readers), refusals.keep(), telling)
        await serve_until_signal(server, ready=partial(ready, server) if ready else None)


def _other_services(
    db: Database, authority: CertificateAuthority, reading: AuditReading, readers: Executor, clock: Clock
) -> dict[str, Callable[[grpc.aio.Server], None]]:
    """What is served beside the CA's own service, by name."""
    auditing = AuditServicer(reading, readers=readers, clock=clock)
    exporting = ExportServicer(Exporting(db, authority.directory, clock), readers=readers)
    importing = ImportServicer(authority.importing, readers=readers)
    return {
        AUDIT_SERVICE: partial(audit_pb2_grpc.add_AuditServiceServicer_to_server, auditing),
        EXPORT_SERVICE: partial(export_pb2_grpc.add_ExportServiceServicer_to_server, exporting),
        IMPORT_SERVICE: partial(import_pb2_grpc.add_ImportServiceServicer_to_server, importing),
    }


def _in_background(stack: AsyncExitStack, *jobs: Coroutine[Any, Any, None]) -> None:
    """Run jobs until the end; they never fail."""
    tasks = [asyncio.create_task(job) for job in jobs]

    async def stop() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(stop)


def _load_keys(db: Database, settings: Settings) -> HeldKeys:
    with db.read() as conn:
        records = issuers.list_issuers(conn)
    passphrase = partial(issuer_passphrase, settings)
    return load_keys(records, settings.base, passphrase, later=partial(passphrase, ask=False))


def _setup(settings: Settings, told: AuthoritySettings) -> Setup:
    return Setup(
        database_url=settings.database.url,
        base=settings.base,
        ca=settings.ca,
        settings=told,
        profiles={name: profile for name, profile in settings.profiles.items() if profile.lint is None},
    )


def _begin_history(db: Database) -> None:
    # The only writer starts again: perhaps on a restored database, whose revisions say nothing to those who watched
    # the one before. They have to drop what they know.
    with db.write() as conn:
        position.new_history(conn)


def _tell_unfinished_imports(db: Database) -> None:
    with db.read() as conn:
        for record in issuers.list_pending(conn):
            text = "an import has not ended: run it again, or `goodstanding import abandon` it"
            _logger.warning(text, issuer=record.name)


def _authority(
    db: Database, writer: Writer, keys: HeldKeys, settings: Settings, told: AuthoritySettings, clock: Clock
) -> CertificateAuthority:
    try:
        return CertificateAuthority(db, writer, keys, told, profiles=settings.profiles, clock=clock)
    except LinterMissing as missing:
        raise ConfigError(str(missing)) from None


def _authority_settings(settings: Settings) -> AuthoritySettings:
    try:
        known_keys = read_lists(settings.ca.weak_key_lists)
    except ListUnreadable as error:
        raise ConfigError(str(error)) from None
    return AuthoritySettings(
        public_url=settings.ca.public_url,
        max_live_delegates=settings.ca.max_live_delegates,
        reasons=settings.ca.reasons,
        trust_domain=settings.tls.trust_domain,
        crl_distribution=settings.ca.crl_distribution,
        crl_shards=settings.ca.crl_shards,
        known_keys=known_keys,
    )


def _crl_times(settings: CaSettings) -> CrlTimes:
    return CrlTimes(
        validity=timedelta(hours=settings.crl_validity_hours), interval=timedelta(hours=settings.crl_interval_hours)
    )


def _executor(stack: AsyncExitStack, threads: int, name: str) -> ThreadPoolExecutor:
    executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
    stack.callback(executor.shutdown)
    return executor
