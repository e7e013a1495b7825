#!/usr/bin/env python3
"""What idle clients cost beside haproxy on the same OpenSSL, in the same run: PSS that 1,000 client connections add, 10 s after the last request of each, when
the connections to the upstream have been closed.  Both end the client's TLS and speak TLS to the same upstream; what the first 32 connections cost is not counted.

BUILD=build tests/bench/memory.py [CONNECTIONS] [ROUNDS]; with --judge the exit status says whether sidekey takes at most 1.2 times what haproxy takes."""
import contextlib
import pathlib
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

import idle
import harness
import pki as pki_maker
import wire

CONNECTIONS, ROUNDS, WARM = 1000, 3, 32
REST_S = 10
MOST = 1.2
HAPROXY = """global
    nbthread 1
    maxconn {most}
    pidfile {folder}/haproxy.pid
    ssl-server-verify required
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    timeout connect 5s
    timeout client 10m
    timeout server 10m
    timeout http-keep-alive 10m
    timeout http-request 30s
frontend in
    bind 127.0.0.1:{port} ssl crt {certificate}
    default_backend out
backend out
    http-reuse always
    http-request set-header authorization "Bearer {token}"
    server up 127.0.0.1:{upstream} ssl verify required ca-file {ca} sni str({host}) verifyhost {host} pool-purge-delay 2s maxconn {most}
"""


def pss_kib(pids):
    return sum(int(re.search(r"^Pss:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1]) for pid in pids)


class Haproxy:
    """TLS on both legs, one thread, a token on each request."""

    def __init__(self, folder, pki, upstream, most):
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        certificate = folder / "both.pem"
        certificate.write_bytes((pki / "good.pem").read_bytes() + (pki / "good.key").read_bytes())
        (folder / "haproxy.cfg").write_text(HAPROXY.format(folder=folder, port=self.port, certificate=certificate, upstream=upstream.port, ca=pki / "ca.pem",
                                                           host=harness.API, token=wire.TOKEN, most=most))
        self.process = harness.Process("haproxy", [shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", folder / "haproxy.cfg"], folder)
        self.context = ssl.create_default_context(cafile=pki / "ca.pem")
        harness.until("haproxy listens", self.listens)

    def listens(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True

    def connect(self):
        return self.context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=20), server_hostname=harness.API)

    def pids(self):
        return [self.process.pid]

    def close(self):
        self.process.stop()


class Sidekey:
    def __init__(self, folder, pki, upstream, most):
        self.world = wire.World(folder, pki, "memory")
        limits = {"connections": most, "connect_head": "5m", "per_upstream": most, "drain": "1s"}
        self.sidekey = self.world.start(self.world.config(upstream, limits=limits, workers=1, log={"level": "warn"}))
        self.context = self.sidekey.context()

    def connect(self):
        return self.sidekey.tls(context=self.context)

    def pids(self):
        return [pid for pid, name in self.sidekey.children().items() if "worker" in name]

    def close(self):
        self.sidekey.stop()
        self.sidekey.expected_dead = True
        self.world.close()


def upstream_connections(port):
    """How many are open to that port."""
    wanted = f":{port:04X}"
    rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(wanted) and row[3] == "01" for row in rows)


def grown_kib(proxy, upstream, count):
    def held(n):
        socks = [proxy.connect() for _ in range(n)]
        for sock in socks:
            idle.ask(sock)
        return socks

    def rest():
        time.sleep(REST_S)
        harness.until("the upstream's connections are closed", lambda: upstream_connections(upstream.port) == 0, 30, every=0.5)
        return pss_kib(proxy.pids())
    first = held(WARM)
    before = rest()
    socks = held(count)
    after = rest()
    for sock in first + socks:
        idle.ask(sock)  # they were held, and still serve
        sock.close()
    return after - before


def main():
    numbers = [int(a) for a in sys.argv[1:] if not a.startswith("-")]
    count, rounds = numbers[0] if numbers else CONNECTIONS, numbers[1] if len(numbers) > 1 else ROUNDS
    idle.raise_files()
    with tempfile.TemporaryDirectory(prefix="sk-memory-") as where:
        folder = pathlib.Path(where)
        pki = pki_maker.make(folder / "pki")
        upstream = idle.Upstream(wire.server_context(pki), idle.answer_all, threads=True)
        seen = {Haproxy: [], Sidekey: []}
        try:
            for n in range(rounds):
                for kind, figures in seen.items():
                    proxy = kind(folder / f"{kind.__name__}{n}", pki, upstream, 4 * (count + WARM))
                    figures.append(grown_kib(proxy, upstream, count))
                    proxy.close()
        finally:
            upstream.close()
    kb = {kind: statistics.median(figures) * 1.024 / count for kind, figures in seen.items()}
    versions = [subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines() for command in (["haproxy", "-v"], [harness.SIDEKEY, "version", "-v"])]
    print(f"{versions[0][0]}; {versions[1][1]}")
    for kind, figures in seen.items():
        print(f"{kind.__name__.lower():8} {kb[kind]:6.1f} kB for each of {count} idle clients   (rounds, KiB in all: {figures})")
    ratio = kb[Sidekey] / kb[Haproxy]
    print(f"sidekey / haproxy: {ratio:.2f}  (at most {MOST})")
    return 1 if "--judge" in sys.argv and ratio > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
