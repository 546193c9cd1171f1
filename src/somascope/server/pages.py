"""The few pages that are not the viewer: login, "not built", the list of routes at ``/docs``."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

_STYLE = """
body{background:#0e1116;color:#d8dee6;font:16px/1.5 system-ui,sans-serif;margin:0;padding:2rem}
main{max-width:60rem;margin:auto}h1{font-weight:600}a{color:#7cc4ff}code,pre{color:#ffd58a}
input,button{font:inherit;padding:.5rem .7rem;border-radius:6px;border:1px solid #3a424d;
background:#1a2029;color:inherit}button{background:#24507a}[role=alert]{color:#ff9d8a}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;
padding:.35rem .6rem;border-bottom:1px solid #252c36}small{color:#97a3b2}
"""


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>"
        f"{title}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


LOGIN = _page(
    "Somascope: log in",
    "<h1>Somascope</h1><!--note--><form method='post' action='/login'><label>Token "
    "<input type='password' name='token' autocomplete='current-password' autofocus required>"
    "</label> <button>Log in</button></form><p><small>Not for clinical use.</small></p>",
)
"""The login page; ``<!--note-->`` is where a message goes."""

NOT_BUILT = _page(
    "Somascope",
    "<h1>Somascope is running, its viewer is not built</h1><p>This is a source checkout. Build the "
    "viewer once with <code>python build_viewer.py</code>, then reload this page. DICOMweb "
    "(<a href='/dicom-web/studies'>/dicom-web</a>) and the application interface "
    "(<a href='/docs'>/docs</a>) work without it.</p>",
)
"""Shown at ``/`` where the static files of the viewer are missing."""


def describe(openapi: Mapping[str, Any]) -> str:
    """An OpenAPI document as one HTML page, without scripts or anything from elsewhere."""
    rows: list[str] = []
    for path, methods in openapi["paths"].items():
        for method, entry in methods.items():
            params = ", ".join(
                f"<code>{html.escape(p['name'])}</code>" for p in entry.get("parameters", ())
            )
            text = entry.get("description") or entry.get("summary", "")
            rows.append(
                f"<tr><td><b>{method.upper()}</b></td><td><code>{html.escape(path)}</code></td>"
                f"<td>{html.escape(text)}{'<br><small>' + params + '</small>' if params else ''}"
                "</td></tr>"
            )
    info = openapi["info"]
    return _page(
        f"{html.escape(info['title'])} interface",
        f"<h1>{html.escape(info['title'])} {html.escape(info['version'])}</h1>"
        "<p>The same as a document for programs: <a href='/openapi.json'>/openapi.json</a>.</p>"
        f"<table>{''.join(rows)}</table>",
    )
