"""What stands before every handler: who calls, whether it may, and what its errors become.

Handlers raise `LedgerError` and nothing else on purpose. Anything unexpected is logged under a reference and
answered without its text; what must stop the process is reported to the supervisor as well.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from tanpo.ledger.errors import (
    CorruptState,
    InvariantViolation,
    LedgerError,
    Reason,
    TransactionRejected,
    Unavailable,
    UsageError,
)
from tanpo.ledger.types import MemberId
from tanpo.node.identity import Caller, CallerVerifier, Role
from tanpo.node.logs import get_logger
from tanpo.node.metrics import INTERNAL, Metrics
from tanpo.node.status import STATUS_DETAILS_KEY, build_internal_status, build_status, find_code

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_LOG: Final = get_logger("rpc")
_CERTIFICATE_KEY: Final = "x509_pem_cert"


class Access(StrEnum):
    """Who may call a service."""

    ANYONE = "anyone whom TLS let in"
    CLIENT = "a client or operator of a member served here"
    OPERATOR = "an operator of this node's member"
    NODE = "a node"


class Policy:
    """Who may call what at one node. A service that is not listed is open to nobody."""

    __slots__ = ("_access", "_own", "_served", "_verifier")

    def __init__(
        self,
        *,
        access: Mapping[str, Access],
        own: MemberId,
        served: frozenset[MemberId],
        verifier: CallerVerifier,
    ) -> None:
        self._access = access
        self._own = own
        self._served = served
        self._verifier = verifier

    def authorise(self, method: str, context: Context) -> None:
        """Raise `UsageError` unless the caller may call `method` ("/package.Service/Method")."""
        access = self._access.get(method.split("/")[1])
        if access is Access.ANYONE:
            return
        caller = self.identify(context)
        if access is None or not self._allows(access, caller):
            raise UsageError(
                Reason.CALLER_FORBIDDEN,
                f"{caller} may not call {method.removeprefix('/')} here",
                value=caller,
                limit=self._describe(access),
                remedy="ask a node of your own member, with a certificate for this purpose",
            )

    def identify(self, context: Context) -> Caller:
        """Return the caller behind a call. Raises `UsageError` when its certificate is not good."""
        pem = next(iter(context.auth_context().get(_CERTIFICATE_KEY, ())), None)
        if pem is None:
            raise UsageError(
                Reason.CALLER_UNKNOWN,
                "the call carries no certificate",
                limit="mTLS with a certificate of a member",
                remedy="present the certificate that your member issued",
            )
        return self._verifier.verify(pem)

    def _allows(self, access: Access, caller: Caller) -> bool:
        match access:
            case Access.ANYONE:
                return True
            case Access.CLIENT:
                return caller.role is not Role.NODE and caller.member in self._served
            case Access.OPERATOR:
                return caller.role is Role.OPERATOR and caller.member == self._own
            case Access.NODE:
                return caller.role is Role.NODE

    def _describe(self, access: Access | None) -> str:
        if access is Access.CLIENT:
            return f"{access}: {', '.join(sorted(self._served))}"
        return f"{access}: {self._own}" if access is Access.OPERATOR else str(access or "nobody")


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # at run time the base is not generic
    """The interceptor of one listening port."""

    def __init__(
        self, *, policy: Policy, metrics: Metrics, on_fatal: Callable[[BaseException], None]
    ) -> None:
        self._policy = policy
        self._metrics = metrics
        self._on_fatal = on_fatal
        self._wrapped: dict[str, Handler] = {}
        self._streams: dict[asyncio.Task[Any] | None, tuple[str, Context]] = {}
        self._is_ending = False

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the guarded handler of a method."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if not handler:
                return handler  # None: no such method, which the stubs leave out; gRPC says UNIMPLEMENTED
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def end_streams(self) -> None:
        """End every stream, now and from now on, with STOPPING: the node is about to stop."""
        self._is_ending = True
        for task in self._streams:
            if task is not None:
                task.cancel()

    def end_unwelcome(self) -> None:
        """End the streams of those who may not call any more; each call of them is refused anyway."""
        for task, (method, context) in tuple(self._streams.items()):
            try:
                self._policy.authorise(method, context)
            except UsageError as refusal:
                _LOG.info("stream ended", method=method, why=refusal.message)
                if task is not None:
                    task.cancel()

    def _wrap(self, method: str, handler: Handler) -> Handler:
        # Requests are decoded here and not by gRPC, whose answer to bad bytes has no stable code.
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._guard_stream(method, handler.stream_stream, handler.request_deserializer, True),
                None,
                handler.response_serializer,
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._guard_stream(method, handler.unary_stream, handler.request_deserializer, False),
                None,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._guard_unary(method, handler.unary_unary, handler.request_deserializer),
            None,
            handler.response_serializer,
        )

    def _guard_unary(self, method: str, answer: Any, decode: Any) -> Any:
        async def guarded(raw: bytes, context: Context) -> Any:
            async with self._answering(method, context):
                self._policy.authorise(method, context)
                return await answer(_decode(decode, raw), context)

        return guarded

    def _guard_stream(self, method: str, answer: Any, decode: Any, is_request_streaming: bool) -> Any:
        async def guarded(requests: Any, context: Context) -> AsyncIterator[Any]:
            with self._tracking(method, context):
                async with self._answering(method, context):
                    if self._is_ending:
                        raise _stopping()
                    self._policy.authorise(method, context)
                    decoded = (_decode_each if is_request_streaming else _decode)(decode, requests)
                    async for response in answer(decoded, context):
                        yield response

        return guarded

    @contextmanager
    def _tracking(self, method: str, context: Context) -> Iterator[None]:
        task = asyncio.current_task()
        streams = self._metrics.streams.labels(method.removeprefix("/"))
        streams.inc()
        self._streams[task] = (method, context)
        try:
            yield
        finally:
            self._streams.pop(task, None)
            streams.dec()

    @asynccontextmanager
    async def _answering(self, method: str, context: Context) -> AsyncIterator[None]:
        """Turn whatever the body raises into a status, and count how the call ended."""
        try:
            yield
        except grpc.aio.AbortError:
            raise
        except asyncio.CancelledError:
            if not self._is_ending:
                raise  # the caller went away
            await self._fail(method, context, _stopping())
        except Exception as error:  # noqa: BLE001  # the last resort of a call: see the top of this module
            await self._fail(method, context, error)
        self._metrics.calls.labels(method.removeprefix("/"), grpc.StatusCode.OK.name).inc()

    async def _fail(self, method: str, context: Context, error: Exception) -> NoReturn:
        if isinstance(error, LedgerError):
            status = build_status(error)
            self._metrics.call_errors.labels(error.reason).inc()
        else:
            reference = secrets.token_hex(8)
            status = build_internal_status(reference)
            self._metrics.call_errors.labels(INTERNAL).inc()
            _LOG.error("call failed", method=method, reference=reference, exc_info=error)
        if isinstance(error, InvariantViolation | CorruptState):
            self._on_fatal(error)
        code = find_code(status)
        self._metrics.calls.labels(method.removeprefix("/"), code.name).inc()
        details = (STATUS_DETAILS_KEY, status.SerializeToString())
        await context.abort(code, status.message, (details,))
        raise AssertionError("abort raises")


def _decode(decode: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return decode(raw)
    except DecodeError:
        raise TransactionRejected(
            Reason.MALFORMED,
            "the request is not a protobuf message of the expected type",
            value=f"{len(raw)} bytes",
            limit="tanpo.api.v1",
            remedy="send messages of this API version",
        ) from None


async def _decode_each(decode: Callable[[bytes], Any], requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for raw in requests:
        yield _decode(decode, raw)


def _stopping() -> Unavailable:
    return Unavailable(
        Reason.STOPPING, "this node is stopping", remedy="continue at another node, or here after the restart"
    )
