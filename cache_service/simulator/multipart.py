"""A form with a file (RFC 7578), taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP

from cache_service.simulator.refusals import Refused, bad_request


@dataclass(frozen=True, slots=True)
class Part:
    """One field; filename: None where it is no file."""

    content: bytes
    filename: str | None = None


def read_form(body: bytes, content_type: str) -> dict[str, Part]:
    """The fields by name, of several with one name the last. Raises Refused."""
    if not content_type.lower().startswith("multipart/form-data"):
        raise Refused(bad_request("The request must be sent as multipart/form-data."))
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    parts: dict[str, Part] = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            parts[name] = Part(content, part.get_filename())
    return parts
