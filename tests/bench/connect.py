#!/usr/bin/env python3
"""What the preload library adds to a connect: medians of 30, the forms in turn.  The same program connects to the same listener, by itself and through the library.

BUILD=build tests/bench/connect.py [ROUNDS]; with --judge the exit status says whether the target holds."""
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
LIB = (HERE.parents[1] / os.environ.get("BUILD", "build") / "libsidekey-preload.so").resolve()

ROUNDS, CONNECTS = 30, 300
TARGET_US = 20
TABLE_SIZE, TABLE_MAGIC = 4096 + 131072 * 256 + 1048576 * 32, b"sktable1"  # preload/table.h
# Address, port (0: the listener's) and name of each form.
FORMS = {"plain": ("127.0.0.1", 0, []), "address": ("192.0.2.7", 443, []), "name": ("192.0.2.7", 443, ["api.sidekey.test"])}


def accept(listener):
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return


def medians(folder, rounds=ROUNDS):
    """Microseconds for a connect in each form, as a dict: "plain" without the library."""
    folder = pathlib.Path(folder)
    program, table = folder / "connect", folder / "table"
    subprocess.run([*os.environ.get("CC", "cc").split(), "-O2", "-D_GNU_SOURCE", "-o", program, HERE / "connect.c"], check=True)
    with open(table, "xb") as f:
        os.fchmod(f.fileno(), 0o600)
        f.write(TABLE_MAGIC)
        f.truncate(TABLE_SIZE)
    times = {form: [] for form in FORMS}
    with socket.create_server(("0.0.0.0", 0), backlog=512) as listener:
        own = listener.getsockname()[1]
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        covered = {"LD_PRELOAD": str(LIB), "SIDEKEY_PRELOAD_TABLE": str(table), "SIDEKEY_PRELOAD_PORT": str(own)}
        for _ in range(rounds):
            for form, (address, port, name) in FORMS.items():
                done = subprocess.run([program, address, str(port or own), str(CONNECTS), *name], env={} if form == "plain" else covered, check=True, capture_output=True)
                times[form].append(int(done.stdout) / 1000)
        listener.shutdown(socket.SHUT_RDWR)
    return {form: statistics.median(all_of_it) for form, all_of_it in times.items()}


def main():
    words = [w for w in sys.argv[1:] if w != "--judge"]
    with tempfile.TemporaryDirectory(prefix="sk-connect-") as folder:
        us = medians(folder, int(words[0]) if words else ROUNDS)
    print(f"connect {us['plain']:.1f} µs; the preload library adds {us['address'] - us['plain']:+.1f} µs to an address, {us['name'] - us['plain']:+.1f} µs to a name (target {TARGET_US})")
    held = max(us["address"], us["name"]) - us["plain"] <= TARGET_US
    return 0 if held or "--judge" not in sys.argv else 1


if __name__ == "__main__":
    sys.exit(main())
