"""`dapoctl tui --serve`: a real server, a real request, a session that draws the store.

Processes: the server starts one for each session. Slow: those that wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from yarl import URL

from dapoctl.config.resolve import load
from dapoctl.errors import UserError
from dapoctl.runs.jobs.create import create
from tests.support.background import Store, wait_for

pytestmark = pytest.mark.process

NEEDED = "textual-serve is not installed (pip install textual-serve)"


def test_without_textual_serve_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['textual_serve'] = None\nsys.argv = ['dapoctl', 'tui', '--serve']\n"
        "from dapoctl.cli import main\nsys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "pip install 'dapoctl[serve]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_session_has_the_options_of_the_server(tmp_path: Path) -> None:
    from dapoctl.cli.serving import session

    words = session(tmp_path / "a b", readonly=True, keys=tmp_path / "k.toml", theme="nord")
    assert words.startswith(f"{sys.executable} -P -m dapoctl tui --runs-dir '{tmp_path}/a b' --readonly --keys ")
    assert words.endswith("--theme nord")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    pytest.importorskip("textual_serve", reason=NEEDED)
    from dapoctl.cli.serving import serve

    with socket.create_server(("localhost", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of `localhost` is not available"):
            serve(tmp_path, "localhost", port, readonly=False, keys=None, theme=None)
    with pytest.raises(UserError, match="--host `no such host`"):
        serve(tmp_path, "no such host", 8000, readonly=False, keys=None, theme=None)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address that the server prints."""
    pytest.importorskip("textual_serve", reason=NEEDED)
    store = Store(tmp_path)
    create(load([], ["name=of_interest", "steps=3"], {}), store.root, ["dapoctl", "run"])
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    out = tmp_path / "out.txt"
    with out.open("w") as file:
        (tmp_path / "typing_extensions.py").write_text("raise SystemExit(98)")
        command = [sys.executable, "-P", "-m", "dapoctl", "tui", "--serve", "--port", str(port)]
        process = subprocess.Popen(command, cwd=tmp_path, env=store.env, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: "ctrl+c" in out.read_text(), 60, out.read_text)
        # It prints the address first, and listens a moment later.
        wait_for(lambda: listens(port), 60, out.read_text)
        yield next(word for word in out.read_text().split() if word.startswith("http"))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, out.read_text()
    finally:
        process.kill()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
        return True
    return False


def port_of(base: str) -> str:
    return base.rstrip("/").rpartition(":")[2]


async def status_of(url: str, headers: dict[str, str]) -> int:
    """Of an answer to a request with just these headers, sent as they are."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    lines = [
        f"GET {place.path} HTTP/1.1",
        f"Host: {place.netloc}",
        *(f"{name}: {text}" for name, text in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode(errors="surrogateescape"))
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


async def fetched(user: Any, url: Any, **options: Any) -> int:
    """The status of an answer, which is read to its end."""
    async with user.get(url, **options) as answer:
        await answer.read()
        return int(answer.status)


@pytest.mark.slow
def test_the_page_is_for_those_with_the_token(served: str) -> None:
    async def visit() -> None:
        from aiohttp import ClientSession

        base = served.partition("?")[0]
        async with ClientSession() as stranger:
            assert await fetched(stranger, base) == 403
            assert await fetched(stranger, f"{base}?token=guess") == 403
            assert await fetched(stranger, f"{base}ws") == 403
            # Bytes that are no text, and an address that would lead elsewhere.
            odd = {"Cookie": f"dapoctl-{port_of(base)}=\udcff\udc80"}
            assert await status_of(base, odd) == 403
        async with ClientSession() as user:
            page = await user.get(served)
            assert page.status == 200
            assert "token" not in str(page.url)
            text = await page.text()
            assert f"ws://localhost:{port_of(base)}{page.url.path}ws" in text
            # Another site's page in the same browser: it has the cookie, and says where it comes from.
            assert await fetched(user, f"{page.url}ws", headers={"Origin": "http://evil.example"}) == 403
            # Another name that leads here.
            assert await fetched(user, page.url, headers={"Host": "rebound.example"}) == 403
            # What the page needs is on this server.
            assert not [
                url for url in re.findall(r"(?:href|src)=\"(https?://[^\"]+)", text) if not url.startswith(base)
            ]
            for url in re.findall(r"(?:href|src)=\"([^\"]+)", text):
                assert await fetched(user, url) == 200, url
            assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
            assert page.headers["X-Frame-Options"] == "DENY"
            assert page.headers["Referrer-Policy"] == "no-referrer"

    asyncio.run(visit())


@pytest.mark.slow
def test_the_cookie_is_for_no_other_service_of_this_machine(served: str) -> None:
    """A browser sends a host's cookies to all of its ports, within their path: nobody else is told that."""

    async def visit() -> None:
        from aiohttp import ClientSession

        base = served.partition("?")[0]
        async with ClientSession() as user:
            page = await user.get(served)
            await page.read()
            async with user.get(served.replace("/?", "//evil.example/?"), allow_redirects=False) as answer:
                assert answer.headers["Location"] == page.url.path
            (cookie,) = user.cookie_jar
            assert cookie["path"] == page.url.path
            assert len(page.url.path) > 20
            for other in (base, base.replace(port_of(base), "9"), f"{base}static/js/textual.js"):
                assert not user.cookie_jar.filter_cookies(URL(other))
            # Whoever has seen the cookie alone, or the path alone, is not let in.
            stolen = {"Cookie": f"{cookie.key}={cookie.value}"}
        assert await status_of(base, stolen) == 403
        assert await status_of(f"{base}ws", stolen) == 403
        assert await status_of(str(page.url), {}) == 403
        assert await status_of(str(page.url), stolen) == 200

    asyncio.run(visit())


@pytest.mark.slow
def test_a_browser_gets_a_session_on_the_store(served: str) -> None:
    async def visit() -> None:
        from aiohttp import ClientSession, WSMsgType

        base = served.partition("?")[0]
        async with ClientSession() as user:
            page = await user.get(served)
            await page.read()
            async with user.ws_connect(f"{page.url}ws?width=80&height=24", origin=base.rstrip("/")) as socket_:
                seen = b""

                async def read() -> Any:
                    nonlocal seen
                    async for message in socket_:
                        if message.type is WSMsgType.BINARY:
                            seen += message.data
                            if b"of_interest" in seen:
                                return

                await asyncio.wait_for(read(), 60)
                await socket_.send_json(["stdin", "\x11"])  # ctrl+q

                async def closed() -> None:
                    async for _ in socket_:
                        pass

                await asyncio.wait_for(closed(), 30)

    asyncio.run(visit())
