"""Standard gRPC health: "serving" means ready, computed when asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from grpc_health.v1 import health_pb2, health_pb2_grpc
from tanpo.ledger.errors import Reason, TransactionRejected
from tanpo.node.services.guard import Context
from tanpo.node.services.readiness import Readiness
from typing_extensions import override

WATCH_INTERVAL_S: Final = 0.5


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it comes without types
    """`grpc.health.v1.Health` for the services of one port, and "" for the whole."""

    def __init__(self, readiness: Readiness, services: frozenset[str]) -> None:
        self._readiness = readiness
        self._services = services | {""}

    @override
    async def Check(self, request: Any, context: Context) -> Any:
        if request.service not in self._services:
            raise TransactionRejected(
                Reason.NOT_FOUND,
                "there is no such service on this port",
                value=request.service,
                limit=", ".join(sorted(self._services - {""})),
                remedy="ask for one of these, or for the empty name",
            )
        return health_pb2.HealthCheckResponse(status=self._compute_status())

    @override
    async def Watch(self, request: Any, context: Context) -> AsyncIterator[Any]:
        told = None
        while True:
            status = (
                self._compute_status()
                if request.service in self._services
                else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            )
            if status != told:
                yield health_pb2.HealthCheckResponse(status=status)
                told = status
            await asyncio.sleep(WATCH_INTERVAL_S)

    def _compute_status(self) -> Any:
        serving = health_pb2.HealthCheckResponse
        return serving.SERVING if self._readiness.is_ready else serving.NOT_SERVING
