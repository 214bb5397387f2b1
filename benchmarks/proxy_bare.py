"""Bare mitmproxy, the measure of the proxy benchmark: the least it needs, and one JSON reader.

    proxy_bare.py HOST UPSTREAM_CA FOLDER

Prints its port. Its certificate authority is FOLDER/mitmproxy-ca-cert.pem.
"""

from __future__ import annotations

import asyncio
import json
import sys

from mitmproxy import http, master, options
from mitmproxy.addons import core, disable_h2c, next_layer, proxyserver, tlsconfig


class JsonReader:
    """Reads request and answer as JSON, as any inspection must; lets streams through."""

    def request(self, flow: http.HTTPFlow) -> None:
        json.loads(flow.request.content or b"{}")

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if "event-stream" in flow.response.headers.get("content-type", ""):
            flow.response.stream = lambda data: data

    def response(self, flow: http.HTTPFlow) -> None:
        if not flow.response.stream:
            json.loads(flow.response.content or b"{}")


async def main(host: str, upstream_ca: str, folder: str) -> None:
    bare = master.Master(options.Options(confdir=folder))
    server = proxyserver.Proxyserver()
    bare.addons.add(core.Core(), disable_h2c.DisableH2C(), server, next_layer.NextLayer())
    bare.addons.add(tlsconfig.TlsConfig(), JsonReader())
    bare.options.update(
        mode=[f"reverse:https://{host}@127.0.0.1:0"],
        ssl_verify_upstream_trusted_ca=upstream_ca,
        connection_strategy="lazy",
    )
    running = asyncio.create_task(bare.run())
    while not (addresses := server.listen_addrs()):
        await asyncio.sleep(0.02)
    print(addresses[0][1], flush=True)
    await running


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
