#!/usr/bin/env python3
"""Instructions that the worker executes for one request of a keep-alive connection, counted by valgrind's callgrind: the same on a busy machine.

Two runs, of 200 and of 1,200 requests; the difference is what 1,000 requests cost, without start and handshakes.  Each word is a program to count for, so that two
builds can be compared: the last column is its share of the first one's.   tests/bench/instructions.py [SIDEKEY …]   (build/sidekey)"""
import asyncio
import pathlib
import re
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "fakes"), str(HERE)]
import harness  # noqa: E402
import pki as pki_maker  # noqa: E402
import requests as bench  # noqa: E402

FEW, MANY = 200, 1200
READY_S = 300


def counted(program, requests):
    """Instructions of the worker in one whole run."""
    harness.SIDEKEY = pathlib.Path(program).resolve()
    with tempfile.TemporaryDirectory(prefix="sk-bench-") as where:
        folder = pathlib.Path(where)
        pki = pki_maker.make(folder / "pki")
        auth = harness.AuthServer(folder, pki)
        before = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={folder}/out.%p"]
        sidekey = harness.Sidekey(folder, {**bench.config(folder, auth, pki), "workers": 1}, before=before).ready(READY_S)
        try:
            sidekey.request(path="/v2/echo")
            asyncio.run(bench.load(lambda: harness.AsyncClient(sidekey), requests))
        finally:
            sidekey.stop()
            auth.stop()
        texts = [out.read_text(errors="replace") for out in folder.glob("out.*")]
    return max(int(re.search(r"^(?:summary|totals): (\d+)", text, re.M)[1]) for text in texts if "exchange_new" in text)


def main():
    bench.CONNECTIONS = 1
    first = None
    for program in sys.argv[1:] or [harness.SIDEKEY]:
        each = (counted(program, MANY) - counted(program, FEW)) / (MANY - FEW)
        first = first or each
        print(f"{program}: {each:,.0f} instructions a request, {each / first:.3f}")


if __name__ == "__main__":
    main()
