#!/usr/bin/env python3
"""What a request costs in sidekey: CPU of its processes from /proc for each request, beside the rate of the same client straight to the API.

One client process, keep-alive connections, a loopback API; bounded in count and time.  The client and the API are slower than sidekey, so the rate says little:
the CPU is the figure.  Prints a table.   BUILD=build tests/bench/requests.py [REQUESTS]"""
import asyncio
import json
import os
import pathlib
import ssl
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "fakes")]
import harness  # noqa: E402
import pki as pki_maker  # noqa: E402

CONNECTIONS = 8
TICK = os.sysconf("SC_CLK_TCK")
PATH = "/big?bytes=500"


class Direct(harness.AsyncClient):
    """The same client without the proxy, with the token in its hand."""

    def __init__(self, address, context, token):
        self.address, self.context, self.token = address, context, token
        self.host, self.reader, self.writer = harness.API, None, None

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection(*self.address)
        await harness.start_tls(self.reader, self.writer, self.context, self.host)

    async def request(self, method, path, body=b"", headers=()):
        if not self.writer:
            await self.open()
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.token}\r\n\r\n".encode())
        return await self.answer()


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


async def load(make, requests):
    async def one():
        client = make()
        for _ in range(requests // CONNECTIONS):
            status, _, _ = await client.request("GET", PATH)
            assert status == 200, status
        client.close()
    began = time.monotonic()
    await asyncio.gather(*[one() for _ in range(CONNECTIONS)])
    return time.monotonic() - began


def config(folder, auth, pki):
    minted = auth.mint()
    for name, text in (("refresh", minted["refresh_token"]), ("secret", auth.client_secret)):
        (folder / name).write_text(text)
    (folder / "state").mkdir(mode=0o700)
    return {
        "listen": {"proxy": "127.0.0.1:0", "admin": "127.0.0.1:0"}, "ca": {"publish": str(folder / "ca")}, "store": {"file": str(folder / "state")},
        "credentials": {"crm": {"grant": "refresh_token", "token_url": auth.token_url, "client_id": auth.client_id,
                                "client_secret": {"file": str(folder / "secret")}, "refresh_token": {"file": str(folder / "refresh")}}},
        "rules": [{"match": {"host": harness.API}, "credential": "crm", "tls": {"ca_file": str(pki / "ca.pem")}}],
        "network": {"resolve": {f"{harness.API}:443": f"127.0.0.1:{auth.api_port}"}}, "log": {"level": "warn"},
    }


def main():
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with tempfile.TemporaryDirectory(prefix="sk-bench-") as where:
        folder = pathlib.Path(where)
        pki = pki_maker.make(folder / "pki")
        auth = harness.AuthServer(folder, pki)
        sidekey = harness.Sidekey(folder, config(folder, auth, pki)).ready()
        try:
            token = json.loads(sidekey.request(path="/v2/echo")[2])
            assert token["live"]
            live = next(h[1] for h in auth.requests[-1]["headers"] if h[0].lower() == "authorization") if isinstance(auth.requests[-1]["headers"], list) \
                else auth.requests[-1]["headers"]["authorization"]
            context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
            asyncio.run(load(lambda: harness.AsyncClient(sidekey), 400))  # warm
            before = {pid: cpu_seconds(pid) for pid in sidekey.children()}
            names = {pid: name.split()[0] for pid, name in sidekey.children().items()}
            proxied = asyncio.run(load(lambda: harness.AsyncClient(sidekey), requests))
            spent = {names[pid]: cpu_seconds(pid) - before[pid] for pid in before}
            straight = asyncio.run(load(lambda: Direct(("127.0.0.1", auth.api_port), context, live.split()[-1]), requests))
            print(f"{requests} requests, {CONNECTIONS} keep-alive connections, 500-byte answers")
            print(f"straight to the API   {requests / straight:8.0f} requests/s")
            print(f"through sidekey       {requests / proxied:8.0f} requests/s   ({straight / proxied:.2f} of straight)")
            for name, seconds in spent.items():
                print(f"CPU {name:18} {seconds / requests * 1e6:6.1f} µs a request")
            print(f"PSS after the run     {sidekey.pss_kib() / 1024:6.1f} MiB, all processes")
        finally:
            sidekey.stop()
            auth.stop()


if __name__ == "__main__":
    main()
