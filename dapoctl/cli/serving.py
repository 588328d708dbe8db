"""`dapoctl tui --serve`: the terminal UI in a browser, through textual-serve.

Anyone who can open the page can start processes as the user who serves it. So by default it listens on this machine only,
it admits only those who know the address with its token (other users of the machine do not), and it refuses requests that
another web page makes through the user's browser.

Browsers send a cookie to every port of a host, so to other people's services there too. The cookie that takes the token's place
is therefore for one path, which only the browser that came with the token is told; neither is enough without the other.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import shlex
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dapoctl.cli.output import emit, warn
from dapoctl.errors import UserError
from dapoctl.runs.processes import MODULE

if TYPE_CHECKING:
    from aiohttp import web

EVERYWHERE = ("0.0.0.0", "::", "")
HERE = ("localhost", "127.0.0.1", "::1")
OUTSIDE = re.compile(r"<link[^>]*//fonts\.googleapis\.com[^>]*>")
"""What textual-serve's page loads from elsewhere, and has itself as well"""
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HOW = "`dapoctl tui --serve` needs textual-serve: pip install 'dapoctl[serve]' (or pip install textual-serve)"


def serve(root: Path, host: str, port: int, readonly: bool, keys: Path | None, theme: str | None) -> None:
    """Serve until interrupted; each browser tab is a `dapoctl tui` of its own on the store at `root`.

    Raises:
        UserError: textual-serve is not installed, or the port is taken.
    """
    try:
        from textual_serve.server import Server
    except ImportError:
        raise UserError(HOW) from None
    _check_free(host, port)
    name = socket.gethostname() if host in EVERYWHERE else host
    access = AccessControl(secrets.token_urlsafe(16), secrets.token_urlsafe(16), host, port)
    address = f"http://{f'[{name}]' if ':' in name else name}:{port}"

    class Served(Server):  # type: ignore[misc, unused-ignore]
        """textual-serve with access control, and without its banner and its request log."""

        async def _make_app(self) -> web.Application:
            return access.around(await super()._make_app())

        async def handle_index(self, request: web.Request) -> Any:
            page: Any = await super().handle_index(request)
            page.text = OUTSIDE.sub("", page.text)
            return page

        def initialize_logging(self) -> None:
            """Log nothing: the addresses contain the token."""

        async def on_startup(self, app: web.Application) -> None:  # noqa: ARG002
            emit(f"serving {root}\n  {address}/?token={access.token}\nctrl+c ends it; runs continue")

    if host not in HERE:
        warn("the connection is not encrypted, and anyone with the address below acts as you; `ssh -L` is safer")
    command = session(root, readonly, keys, theme)
    Served(command, host=host, port=port, title="dapoctl", public_url=address).serve()


def session(root: Path, readonly: bool, keys: Path | None, theme: str | None) -> str:
    """The shell command of one browser tab."""
    arguments = [sys.executable, *MODULE, "dapoctl", "tui", "--runs-dir", str(root.resolve())]
    arguments += ["--readonly"] if readonly else []
    arguments += ["--keys", str(keys.resolve())] if keys is not None else []
    arguments += ["--theme", theme] if theme is not None else []
    return shlex.join(arguments)


class AccessControl:
    """Access control: a request needs the token, or the path and the cookie that were given for it."""

    def __init__(self, token: str, path: str, host: str, port: int) -> None:
        self.token = token
        self.path = f"/{path}/"
        self.host = host
        self.cookie = f"dapoctl-{port}"

    def around(self, app: web.Application) -> web.Application:
        """An application that has `app` under the path, for those who may see it."""
        from aiohttp import web

        async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
            policy = POLICY.format(host=re.sub(r"[^\w.:\[\]-]", "", request.host))
            response.headers.update({**HEADERS, "Content-Security-Policy": policy})

        outer = web.Application(middlewares=[self.middleware()])
        outer.add_subapp(self.path, app)
        outer.on_response_prepare.append(add_headers)
        return outer

    def middleware(self) -> Any:
        """The middleware that checks every request."""
        from aiohttp import web

        @web.middleware
        async def check(request: web.Request, handler: Any) -> Any:
            if not self._is_here(request.host):
                raise web.HTTPForbidden(text="This server does not have the name in the address; see `--host`.\n")
            if self._fits(request.query.get("token", "")):
                # Move the token into a cookie: it must not stay in the address bar and the history.
                answer = web.HTTPSeeOther(self.path)
                answer.set_cookie(self.cookie, self.token, path=self.path, httponly=True, samesite="Strict")
                return answer
            origin = request.headers.get("Origin")
            foreign = origin is not None and urlsplit(origin).netloc != request.host
            if (
                foreign
                or not request.path.startswith(self.path)
                or not self._fits(request.cookies.get(self.cookie, ""))
            ):
                raise web.HTTPForbidden(text="Open the address that `dapoctl tui --serve` printed, with its token.\n")
            return await handler(request)

        return check

    def _fits(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(errors="surrogateescape"), self.token.encode())

    def _is_here(self, name: str) -> bool:
        """Whether a request's Host names this machine; a page of another name that leads here is none of ours."""
        host = (urlsplit(f"//{name}").hostname or "").lower()
        known = {*HERE, self.host.lower()}
        if self.host in EVERYWHERE:
            known |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        return host in known or (self.host in EVERYWHERE and _is_address(host))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check_free(host: str, port: int) -> None:
    try:
        addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UserError(f"--host `{host}`: {error.strerror or error}") from None
    with socket.socket(addresses[0][0], socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(addresses[0][4])
        except OSError as error:
            raise UserError(
                f"port {port} of `{host}` is not available ({error.strerror}); choose another with --port"
            ) from None
