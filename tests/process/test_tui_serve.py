"""`dapoctl tui --serve`: a real server, a real request, a session that draws the store.

Processes: the server starts one for each session.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
    assert words.startswith(f"{sys.executable} -m dapoctl tui --runs-dir '{tmp_path}/a b' --readonly --keys ")
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
        command = [sys.executable, "-m", "dapoctl", "tui", "--serve", "--port", str(port)]
        process = subprocess.Popen(command, cwd=tmp_path, env=store.env, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: "ctrl+c" in out.read_text(), 60, out.read_text)
        yield next(word for word in out.read_text().split() if word.startswith("http"))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, out.read_text()
    finally:
        process.kill()


def test_the_page_is_for_those_with_the_token(served: str) -> None:
    async def visit() -> None:
        from aiohttp import ClientSession

        base = served.partition("?")[0]
        async with ClientSession() as stranger:
            assert (await stranger.get(base)).status == 403
            assert (await stranger.get(f"{base}?token=guess")).status == 403
            assert (await stranger.get(f"{base}ws")).status == 403
        async with ClientSession() as user:
            page = await user.get(served)
            assert page.status == 200
            assert "token" not in str(page.url)
            assert "ws://localhost" in await page.text()
            # Another site's page in the same browser: it has the cookie, and says where it comes from.
            assert (await user.get(f"{base}ws", headers={"Origin": "http://evil.example"})).status == 403

    asyncio.run(visit())


def test_a_browser_gets_a_session_on_the_store(served: str) -> None:
    async def visit() -> None:
        from aiohttp import ClientSession, WSMsgType

        base = served.partition("?")[0]
        async with ClientSession() as user:
            await user.get(served)
            async with user.ws_connect(f"{base}ws?width=80&height=24", origin=base.rstrip("/")) as socket_:
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
