"""The same handler under other servers: `others.py aiohttp|xmlrpc` says its address and serves until it is ended."""

from __future__ import annotations

import json
import socketserver
import sys
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer


def account() -> dict:
    return {"aor": "sip:alice@example.org", "credit": 25, "online": True}


def serve_aiohttp() -> None:
    """JSON-RPC by hand, as one writes it with aiohttp."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        call = json.loads(await request.read())
        result = {"account": account}[call["method"]]()
        return web.json_response({"jsonrpc": "2.0", "result": result, "id": call["id"]})

    async def started(_: web.Application) -> None:
        print(f"ready {site_address(runner)}", flush=True)

    def site_address(runner: web.AppRunner) -> str:
        host, port = runner.addresses[0]
        return f"{host}:{port}"

    import asyncio

    app = web.Application()
    app.router.add_post("/mi", answer)
    runner = web.AppRunner(app, access_log=None)

    async def run() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await started(app)
        await asyncio.Event().wait()

    asyncio.run(run())


class KeptAlive(SimpleXMLRPCRequestHandler):
    protocol_version = "HTTP/1.1"
    rpc_paths = ("/RPC2",)
    disable_nagle_algorithm = True


class Threaded(socketserver.ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True


def serve_xmlrpc() -> None:
    with Threaded(("127.0.0.1", 0), KeptAlive, logRequests=False) as server:
        server.register_function(account)
        host, port = server.server_address
        print(f"ready {host!s}:{port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    {"aiohttp": serve_aiohttp, "xmlrpc": serve_xmlrpc}[sys.argv[1]]()
