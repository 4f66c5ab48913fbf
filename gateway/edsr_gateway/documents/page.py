"""A page made of the OpenAPI document: plain HTML, no script, nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

from .openapi import URL


def page(document: dict[str, Any], url: str) -> str:
    """The page.

    Args:
        document: as `openapi.document` gives it.
        url: where the gateway is, for the examples.
    """
    info = document["info"]
    found = [
        (path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    groups = "".join(
        f"<section><h2>{escape(tag['name'])}</h2>"
        + "".join(_operation(*one, url) for one in found if tag["name"] in one[2]["tags"])
        + "</section>"
        for tag in document["tags"]
    )
    links = "".join(
        f'<li><a href="#{_anchor(path, method)}"><code>{method.upper()} {escape(path)}</code></a> '
        f"{escape(operation['summary'])}</li>"
        for path, method, operation in found
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(info["title"])}</title><link rel="stylesheet" href="/docs.css"></head><body><main>'
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1><p>{_text(info['description'])}</p>"
        '<p>For programs: <a href="/openapi.json">openapi.json</a>. Pictures in the browser: <a href="/">the page</a>. '
        "Where keys are on, add <code>-H 'Authorization: Bearer edsr_...'</code>.</p>"
        f"<nav><ul>{links}</ul></nav>{groups}</main></body></html>\n"
    )


def _operation(path: str, method: str, operation: dict[str, Any], url: str) -> str:
    parts = [
        f'<article id="{_anchor(path, method)}"><h3><code>{method.upper()} {escape(path)}</code> '
        f"{escape(operation['summary'])}</h3><p>{_text(operation['description'])}</p>",
        f'<pre tabindex="0"><code>{escape(operation["x-curl"].replace(URL, url))}</code></pre>',
    ]
    for place, title in (
        ("query", "Options, in the address or the form"),
        ("header", "Headers"),
        ("path", "In the path"),
    ):
        rows = [
            (parameter["name"], _kind(parameter["schema"]), parameter["description"])
            for parameter in operation.get("parameters", [])
            if parameter["in"] == place
        ]
        parts.append(_table(title, rows))
    answers = [
        (status, ", ".join(one.get("content", {})) or "no body", one["description"])
        for status, one in operation["responses"].items()
    ]
    parts.append(_table("Answers", answers))
    return "".join(parts) + "</article>"


def _table(title: str, rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    body = "".join(
        f"<tr><th scope=row><code>{escape(name)}</code></th><td>{escape(kind)}</td><td>{_text(says)}</td></tr>"
        for name, kind, says in rows
    )
    return f"<details><summary>{escape(title)}</summary><div class=wide><table>{body}</table></div></details>"


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(schema["enum"])
    least = f"more than {schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else schema.get("minimum")
    bounds = f", {least} to {schema['maximum']:,}" if "maximum" in schema else ""
    return f"{schema['type']}{bounds}"


def _text(text: str) -> str:
    """Words in backticks are code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))


def _anchor(path: str, method: str) -> str:
    return escape(method + path.replace("/", "-").replace("{", "").replace("}", ""))
