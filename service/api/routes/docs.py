"""/docs: Swagger UI, with scripts and styles from a Python package, so that it works without a network."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS: Final = "/docs/assets"
SAFE: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Header fields that forbid content from elsewhere and framing; Swagger UI starts by an inline script."""


def install(app: FastAPI) -> None:
    """Serve the page and its assets."""
    app.mount(ASSETS, StaticFiles(directory=str(files("fastapi_swagger") / "resources")))
    app.add_api_route("/docs", show, include_in_schema=False)


async def show(request: Request) -> HTMLResponse:
    """The interactive documentation."""
    root = request.scope.get("root_path", "")
    page = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="Xavier: API",
        swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}/favicon-32x32.png",
    )
    page.headers.update(SAFE)
    return page
