"""What happens around every request: it is counted and timed, and its errors become answers."""

from __future__ import annotations

import time
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from kraken.core.errors import KrakenError
from kraken.observability.events import Event
from kraken.observability.logs import Log
from kraken.observability.metrics import Metrics
from kraken.runtime.web_errors import error_response, plain_error, status_of

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STARTED: Final = web.RequestKey("_STARTED", bool)
_NAMES: Final = {404: "NotFound", 405: "Rejected", 413: "Rejected", 416: "Rejected"}


async def mark_started(request: web.Request, response: web.StreamResponse) -> None:
    """Remember that an answer has begun: from then on an error can only cut it. Hook of on_response_prepare."""
    response.headers["Server"] = "kraken"
    request[_STARTED] = True


def measuring(metrics: Metrics) -> Middleware:
    """Counts and times every request, under its route's pattern and never under its path."""

    @web.middleware
    async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "none"
        method = request.method if request.method in _METHODS else "other"
        begun = time.monotonic()
        status = "cut"
        try:
            response = await handler(request)
            status = str(response.status)
            return response
        finally:
            metrics.http_requests.labels(route=route, method=method, status=status).inc()
            metrics.http_request_seconds.labels(route=route).observe(time.monotonic() - begun)

    return measure


def answering_errors(log: Log) -> Middleware:
    """Turns every exception into an answer in the internal form; what nobody expected is logged and is a 500."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ConnectionError:
            raise
        except Exception as error:
            if _STARTED in request:
                log.warning(Event.RESPONSE_CUT, method=request.method, path=request.path[:200], error=str(error))
                raise ConnectionAbortedError("the answer had begun; all that is left is to cut it") from error
            return answer_to(error, request.method, request.path, log)

    return answer


def header_limit(max_bytes: int) -> Middleware:
    """Refuses a request whose header fields together exceed `max_bytes`; each one alone was checked before."""

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if sum(len(name) + len(value) + 4 for name, value in request.raw_headers) > max_bytes:
            return plain_error(431, "Rejected", f"the header is larger than {max_bytes} bytes")
        return await handler(request)

    return limit


def answer_to(error: Exception, method: str, path: str, log: Log) -> web.Response:
    """What a request that ended in `error` is answered; what nobody expected is logged."""
    if isinstance(error, web.HTTPException):
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return plain_error(error.status, _NAMES.get(error.status, "Rejected"), error.reason, headers)
    if isinstance(error, KrakenError) and status_of(error) != 500:
        return error_response(error)
    log.error(Event.REQUEST_FAILED, method=method, path=path[:200], error=str(error), exc_info=error)
    if isinstance(error, KrakenError):
        return error_response(error)
    return plain_error(500, "Internal", "an internal error; the log of this component has the details")
