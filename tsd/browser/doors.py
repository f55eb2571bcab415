"""What the page's server answers and sends along, beyond what Gradio does."""

import re

import fastapi

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""Gradio's own program is built of inline scripts; nothing is fetched from elsewhere, and nothing sent there."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
}

CLOSED = re.compile(r"/gradio_api/(proxy=|file=\s*https?:|openapi|info|monitoring|deep_link|vibe)", re.IGNORECASE)
"""Gradio's doors that nobody needs here: they fetch what others name, or tell how the page is built."""


def guard(app: fastapi.FastAPI) -> None:
    """Close what is CLOSED, and send HEADERS with every answer."""

    @app.middleware("http")
    async def answer(request: fastapi.Request, call_next):
        if CLOSED.match(request.url.path):
            return fastapi.Response(status_code=404, headers=HEADERS)
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response
