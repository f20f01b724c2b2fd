"""The interface described: the OpenAPI document, and the same as a page without scripts (FastAPI's own loads code from a CDN). Pure."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from cache_service.api import admin_schemas, descriptions, schemas
from cache_service.api.access import COOKIE
from cache_service.api.problems import TABLE

_DESCRIPTION: Final = (
    "Answers prompts from what it already generated, and generates only what it must. The routes under OpenAI's API work with any "
    "OpenAI client by changing its base URL; requests steer the cache with `Cache-Control`, answers say in `Cache-Status` how they "
    "came about."
)
_BEARER: Final = {"type": "http", "scheme": "bearer"}
_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid; } h3 { margin: 2rem 0 .2rem; font-family: ui-monospace, monospace; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid; border-radius: .3rem; font-size: .85rem; }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: .15rem 1rem .15rem 0; }
"""


def build_document(routes: Sequence[BaseRoute], *, version: str, anonymous: bool) -> dict[str, Any]:
    """The OpenAPI document of these routes. anonymous: no client key is needed."""
    document = get_openapi(
        title="cache-service", version=version, summary="A semantic cache for image and chat generation",
        description=_DESCRIPTION, routes=routes,
    )  # fmt: skip
    security: dict[str, list[dict[str, list[str]]]] = {
        descriptions.PUBLIC: [],
        descriptions.CLIENT: [{}, {"clientKey": []}] if anonymous else [{"clientKey": []}],
        descriptions.ADMIN: [{"adminToken": []}, {"session": []}],
        descriptions.VIEWER: [{"adminToken": []}, {"session": []}],
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            access = operation.pop(descriptions.ACCESS)
            operation["security"] = security[access]
            if access in (descriptions.VIEWER, descriptions.ADMIN):
                operation[descriptions.ROLE] = access
    document["components"] = {
        "schemas": {**schemas.SCHEMAS, **admin_schemas.SCHEMAS},
        "securitySchemes": {
            "clientKey": {**_BEARER, "description": "A client key."},
            "adminToken": {**_BEARER, "description": "The admin token, or the key of an admin or, to look, a viewer."},
            "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "The console's."},
        },
    }
    return document


def render_page(document: Mapping[str, Any]) -> str:
    """The document as one self-contained page of HTML."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(path, method, operation))
    sections = "".join(f"<h2>{html.escape(tag)}</h2>{''.join(parts)}" for tag, parts in by_tag.items())
    components = "".join(
        f'<h3 id="schema-{name}">{name}</h3>{_code(schema)}'
        for name, schema in document["components"]["schemas"].items()
    )
    body = f"""<h1>cache-service {html.escape(document["info"]["version"])}</h1>
<p>{_prose(document["info"]["description"])} The same as a document: <a href="/openapi.json">openapi.json</a>.</p>
{sections}<h2>Problems</h2>{_problems()}<h2>Schemas</h2>{components}"""
    return page("cache-service: reference", body)


def page(title: str, body: str) -> str:
    """A page of ours; it loads nothing."""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>"
    )


def style_of_pages() -> str:
    """The pages' one style sheet, for its digest in `Content-Security-Policy`."""
    return _STYLE


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [f'<h3 id="{operation["operationId"]}">{method.upper()} {html.escape(path)}</h3>']
    parts.append(f"<p>{_prose(operation.get('description', ''))}{_access(operation)}</p>")
    for parameter in operation.get("parameters", ()):
        text = parameter.get("description", "")
        parts.append(f"<p><code>{html.escape(parameter['name'])}</code> ({parameter['in']}) {_prose(text)}</p>")
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content:
        name = content["schema"]["$ref"].rpartition("/")[2]
        parts.append(f'<p>Body: <a href="#schema-{name}">{name}</a></p>')
        for title, example in content.get("examples", {}).items():
            parts.append(f"<p>{html.escape(title)}</p>{_code(example['value'])}")
    rows = (
        f"<tr><td>{status}</td><td>{html.escape(', '.join(answer.get('content', ())))}</td>"
        f"<td>{_prose(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    heads = "<tr><th>Status</th><th>Type</th><th>When</th></tr>"
    return "".join(parts) + f"<table>{heads}{''.join(rows)}</table>"


def _access(operation: Mapping[str, Any]) -> str:
    security = operation["security"]
    if descriptions.ROLE in operation:
        admin = operation[descriptions.ROLE] == descriptions.ADMIN
        return (
            " Needs the admin token or an admin's key."
            if admin
            else " Needs the admin token, or an admin's or viewer's key."
        )
    if not security:
        return " Public."
    if {} in security:
        return " Anybody on this machine."
    return " Needs a client key."


def _problems() -> str:
    """Where the `type` of problem details leads."""
    seen: dict[str, str] = {}
    for row in TABLE.values():
        seen.setdefault(
            row.code,
            f'<tr id="problem-{row.code}"><td><code>{row.code}</code></td><td>{row.status}</td>'
            f"<td>{html.escape(row.title)}</td></tr>",
        )
    return f"<table><tr><th>Code</th><th>Status</th><th>Title</th></tr>{''.join(seen.values())}</table>"


def _prose(text: str) -> str:
    """Text with what stands between backticks as code."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text))


def _code(value: Any) -> str:
    return f"<pre>{html.escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
