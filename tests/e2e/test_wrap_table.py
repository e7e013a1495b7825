"""The table of programs and layers, measured as for docs/programs.md (make wrap-table): nothing goes around sidekey without a line."""
import json
import os
import re
import subprocess
import sys

import pytest
import skips
from harness import ROOT, run

sys.path.insert(0, str(ROOT / "tests/wrap"))
from rows import ROWS  # noqa: E402

# What the default layers do not reach, and how it shows.
NOT_REACHED = {"static glibc": "announced", "static-pie glibc": "announced", "lynx": "failed"}


def excused(row):
    """Its control fails for a reason: a package that no release here has, or a Node that the packages are too new for."""
    major = subprocess.run(["node", "-p", "process.versions.node.split('.')[0]"], capture_output=True, text=True, check=False).stdout.strip()
    return any(skips.not_offered(package)() for package in row.packages.split()) or (row.name.startswith("node ") and major.isdigit() and int(major) < 20)


@pytest.mark.world
@pytest.mark.slow
@pytest.mark.seconds(1800)
def test_no_program_goes_around_sidekey_without_a_line(place):
    if os.geteuid():
        pytest.skip("needs root for a network and for mounts")
    done = run([sys.executable, ROOT / "tests/wrap/table.py", "--json", place / "table.json"], seconds=1700)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    print(done.stderr.decode())
    results = {r["name"]: r for r in json.loads((place / "table.json").read_text())}
    assert set(results) == {row.name for row in ROWS}
    bad = {row.name: results[row.name]["control"] for row in ROWS if results[row.name]["control"] and not excused(row)}
    assert not bad, "without sidekey they do not work either"
    measured = {name: r for name, r in results.items() if not r["control"]}
    assert not {(name, layer) for name, r in measured.items() for layer in ("env", "preload", "auto") if r[layer]["what"] == "direct"}
    assert {name: r["auto"]["what"] for name, r in measured.items() if r["auto"]["what"] != "injected"} == {n: w for n, w in NOT_REACHED.items() if n in measured}


def test_the_page_has_every_row():
    page = (ROOT / "docs/programs.md").read_text(encoding="utf-8")
    listed = {m[1]: m[2] for m in re.finditer(r"^\| ([^|]*) \|[^|]*\|[^|]*\| ([^|]*) \|$", page, re.M)}
    assert set(listed) - {"program"} - {name for name in listed if name.startswith("**of ")} == {row.name for row in ROWS}
    assert {name for name, cell in listed.items() if cell != "✓"} - {"program"} - {name for name in listed if name.startswith("**of ")} == set(NOT_REACHED)
    assert "**direct**" not in page
