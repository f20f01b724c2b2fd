"""Every error that crosses a module's edge, in one tree.

    CacheServiceError
    ├── ConfigurationError          a setting is unknown, missing or wrong; nothing was started
    ├── RequestError                the client's request can't be answered as it is (4xx)
    │   ├── InvalidRequest          wrong type, missing field, bad JSON (400)
    │   ├── BodyTooLarge            over `max_body_bytes` (413)
    │   ├── UnsupportedMediaType    not `application/json` (415)
    │   ├── AuthenticationFailed    no key, or one that isn't known (401)
    │   ├── Forbidden               known, but not allowed: Host, Origin (403 or 421)
    │   ├── TooManyBatches          as many batches of the client run as may (429)
    │   ├── BatchRunning            a batch can't be deleted before its end (409)
    │   ├── NotBegun                an item of a batch: cancelled, or its budget said stop (409)
    │   ├── NotFound                no such thing in the caller's namespace (404)
    │   └── NotCached               `only-if-cached` and nothing to serve (504)
    ├── UpstreamError               the upstream couldn't or wouldn't answer
    │   ├── UpstreamRefused         an HTTP error answer; carries status, headers and body for the client
    │   ├── UpstreamUnreachable     no connection, broken or cut answer (502)
    │   ├── UpstreamTimeout         the deadline passed; the call may have been paid (504)
    │   ├── CapacityExceeded        the limit pools can't admit the request before its deadline (429)
    │   └── BudgetExceeded          what may be spent is spent (429)
    ├── EmbeddingError              the model is missing, altered or failed
    ├── StoreError                  SQL or the file system failed; what was acknowledged before is safe
    │   ├── StoreCorrupt            bytes on disk don't match their digest
    │   ├── StoreReadOnly           a write or fsync failed for good: nothing more is stored until a restart
    │   └── SchemaMismatch          the database is newer or older than this program
    └── VerificationError           a verifier stage failed; the candidate is treated as unsure

A driver's error is wrapped once, at the edge where it happens, with `from exc`.
"""

from __future__ import annotations

from collections.abc import Mapping


class CacheServiceError(Exception):
    """Root of everything this package raises on purpose."""


class ConfigurationError(CacheServiceError):
    """A setting is unknown, missing or wrong. The message says which one and what to do."""


class RequestError(CacheServiceError):
    """The client's request can't be answered as it is.

    `message` is for the client; `param` names the member at fault; `code` is a stable word for programs;
    `index` is the place of the item at fault in a batch.
    """

    status = 400
    code: str | None = None

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, index: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.index = index
        if code is not None:
            self.code = code


class InvalidRequest(RequestError):
    """Wrong type, missing member, text that is no JSON."""

    code = "invalid_request"


class BodyTooLarge(RequestError):
    """The body is larger than the service accepts."""

    status = 413
    code = "body_too_large"


class UnsupportedMediaType(RequestError):
    """The body isn't `application/json`."""

    status = 415
    code = "unsupported_media_type"


class AuthenticationFailed(RequestError):
    """No key was sent, or one that isn't known."""

    status = 401
    code = "invalid_api_key"


class Forbidden(RequestError):
    """The request was understood and is not allowed (foreign Origin, Host not in the allow-list)."""

    status = 403
    code = "forbidden"


class NotFound(RequestError):
    """No such thing in the caller's namespace; another tenant's object answers the very same."""

    status = 404
    code = "not_found"


class TooManyBatches(RequestError):
    """As many batches of this client run as may."""

    status = 429
    code = "too_many_batches"


class BatchRunning(RequestError):
    """A batch that still runs can't be deleted: what is in flight is paid, and must be filed."""

    status = 409
    code = "batch_running"


class NotBegun(RequestError):
    """An item of a batch was not begun, and never will be: the batch was cancelled, or its budget said stop."""

    status = 409
    code = "not_begun"


class NotCached(RequestError):
    """The client asked `only-if-cached` and nothing can be served (RFC 9111, section 5.2.1.7)."""

    status = 504
    code = "not_cached"


class UpstreamError(CacheServiceError):
    """The upstream couldn't or wouldn't answer.

    `transient` says whether the same request may succeed later; `retry_after` is in seconds, if known.
    `maybe_paid`: how many calls were made for it that got no answer and may have been charged all the same.
    """

    transient = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.maybe_paid = 0


class UpstreamRefused(UpstreamError):
    """The upstream answered with an HTTP error (or a 200 that holds only an error object).

    `kind` is what it was taken for ("overloaded", "quota", "refused" …), "" where nobody judged it.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        transient: bool,
        code: str | None = None,
        retry_after: float | None = None,
        kind: str = "",
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status = status
        self.headers = headers
        self.body = body
        self.transient = transient
        self.code = code
        self.kind = kind


class UpstreamUnreachable(UpstreamError):
    """No connection, or the answer broke off before it was complete."""


class UpstreamTimeout(UpstreamError):
    """The deadline passed without an answer; the upstream may have charged for the call."""


class CapacityExceeded(UpstreamError):
    """The limit pools can't admit the request before its deadline; `retry_after` says when they could."""


class BudgetExceeded(UpstreamError):
    """What may be spent is spent, or a budget can't hold what has no price; `retry_after` says when the day ends."""

    transient = False


class EmbeddingError(CacheServiceError):
    """The embedding model is missing, altered (which digest is said) or failed on a text."""


class StoreError(CacheServiceError):
    """SQL or the file system failed; what was acknowledged before is safe."""


class StoreCorrupt(StoreError):
    """Bytes on disk don't match the digest they are filed under."""


class StoreReadOnly(StoreError):
    """A write or fsync failed for good: nothing more is stored until the process is restarted."""


class SchemaMismatch(StoreError):
    """The database's schema isn't the one this program was made for; the message says how to migrate."""


class VerificationError(CacheServiceError):
    """A verifier stage failed; the candidate is treated as unsure, which is a miss."""
