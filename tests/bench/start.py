#!/usr/bin/env python3
"""What `sidekey run` adds to the start and end of a program, and what --isolate and --guard add to that: medians of 30, the forms in turn.

BUILD=build tests/bench/start.py [ROUNDS]; with --judge the exit status says whether the targets hold."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e")]
import harness  # noqa: E402

ROUNDS = 30
TARGET_RUN_MS = 40      # over a plain exec
TARGET_ISOLATE_MS = 15  # over run
FORMS = {"plain": None, "run": [], "isolate": ["--isolate"], "guard": ["--guard"]}
CONFIG = {"store": {"file": "state", "seal_key": {"file": "seal"}}, "credentials": {"fixed": {"grant": "static", "token": {"file": "token"}}},
          "rules": [{"match": {"host": "api.sidekey.test"}, "credential": "fixed", "inject": [{"in": "header", "name": "authorization", "format": "Bearer {access_token}"}]}]}


def medians(folder, rounds=ROUNDS):
    """Milliseconds for `true` in each form, as a dict."""
    folder = pathlib.Path(folder)
    for name, text in (("seal", "9f3c1e7a5b2d4806c1f0e3a79b5d8246717c0a9e3f6b8d52e4a1c7095d3b6f28"), ("token", "a-token-of-the-bench")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    config = json.loads(json.dumps(CONFIG))
    config["store"] = {"file": str(folder / "state"), "seal_key": {"file": str(folder / "seal")}}
    config["credentials"]["fixed"]["token"] = {"file": str(folder / "token")}
    (folder / "state").mkdir(mode=0o700)
    path = folder / "bench.yaml"
    path.write_text(json.dumps(config))
    times = {form: [] for form in FORMS}
    for _ in range(rounds):
        for form, flags in FORMS.items():
            argv = ["/bin/true"] if flags is None else [harness.SIDEKEY, "run", "-c", path, *flags, "--", "/bin/true"]
            began = time.monotonic()
            subprocess.run(argv, check=True, env=harness.environment(folder), stdin=subprocess.DEVNULL)
            times[form].append((time.monotonic() - began) * 1000)
    return {form: statistics.median(all_of_it) for form, all_of_it in times.items()}


def main():
    words = [w for w in sys.argv[1:] if w != "--judge"]
    with tempfile.TemporaryDirectory(prefix="sk-start-") as folder:
        ms = medians(folder, int(words[0]) if words else ROUNDS)
    print(f"true {ms['plain']:.1f} ms; sidekey run adds {ms['run'] - ms['plain']:.1f} ms (target {TARGET_RUN_MS}); "
          f"--isolate adds {ms['isolate'] - ms['run']:+.1f} ms to that (target {TARGET_ISOLATE_MS}), --guard {ms['guard'] - ms['run']:+.1f} ms")
    held = ms["run"] - ms["plain"] <= TARGET_RUN_MS and ms["isolate"] - ms["run"] <= TARGET_ISOLATE_MS
    return 0 if held or "--judge" not in sys.argv else 1


if __name__ == "__main__":
    sys.exit(main())
