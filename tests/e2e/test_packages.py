"""What is handed out: the Debian package in bare Debian 12 and 13, the release tarball, the SBOM; and that two builds give the same bytes."""
import hashlib
import json
import os
import re
import shutil
import subprocess

import harness
import pytest
from bare_debian import copied, debian, inside  # noqa: F401  debian is a fixture
from harness import BUILD, ROOT, run

pytestmark = [pytest.mark.skipif(harness.SANITIZED, reason="judges the release build")]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
VERSION = re.search(r"^VERSION +:= (\S+)$", (ROOT / "Makefile").read_text(), re.M)[1]
LONG = 1500


def clone(into):
    done = run(["git", "clone", "-q", "--no-hardlinks", ROOT, into])
    assert done.returncode == 0, done.stderr


# --- SBOM ---------------------------------------------------------------------------------------------------------------------------------------

def test_the_sbom_names_each_library_that_the_program_loads():
    done = run([ROOT / "packaging/sbom", BUILD.resolve() / "sidekey"], {**os.environ, "SOURCE_DATE_EPOCH": "86400"})
    document = json.loads(done.stdout)
    assert document["spdxVersion"] == "SPDX-2.3" and document["creationInfo"]["created"] == "1970-01-02T00:00:00Z"
    names = {p["name"]: p for p in document["packages"]}
    assert names["sidekey"]["versionInfo"] == VERSION and names["sidekey"]["licenseDeclared"] == "Apache-2.0"
    for each in ("libcurl4", "libev4", "libssl3", "libjansson4", "libc6", "libyaml-0-2", "zlib1g"):  # libssl3t64 on Debian 13
        assert any(name.startswith(each) for name in names), each
    ids = [p["SPDXID"] for p in document["packages"]]
    related = {r["relatedSpdxElement"] for r in document["relationships"]}
    assert len(ids) == len(set(ids)) and related == set(ids) and all(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", i) for i in ids)
    for p in document["packages"]:
        assert {"downloadLocation", "versionInfo", "licenseConcluded", "licenseDeclared", "copyrightText", "externalRefs"} <= set(p)


# --- the same bytes, whoever builds -------------------------------------------------------------------------------------------------------------------

def sums(folder, *globs):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for pattern in globs for path in sorted(folder.glob(pattern))}


@pytest.mark.world
@pytest.mark.seconds(3000)
def test_two_builds_in_other_folders_at_other_times_are_the_same(place):
    made = []
    for folder, zone, mask, locale in (("a", "UTC", "022", "C"), ("b/much/deeper", "Pacific/Auckland", "002", "C.UTF-8")):
        clone(place / folder)
        env = {**os.environ, "TZ": zone, "LC_ALL": locale, "DEB_BUILD_OPTIONS": "parallel=2", "BUILD": "build", "MAKELEVEL": "0"}
        env.pop("MAKEFLAGS", None)
        script = f"umask {mask}; packaging/deb && make -s -j2 OPT=-O1 dist"
        done = subprocess.run(["bash", "-c", script], cwd=place / folder, env=env, capture_output=True, timeout=LONG, check=False)
        assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
        made.append(sums(place / folder / "build", "deb/*.deb", "*.tar.gz", "*.spdx.json", "SHA256SUMS"))
        checked = run(["sha256sum", "-c", "SHA256SUMS"], cwd=place / folder / "build")
        assert checked.returncode == 0, checked.stdout
    assert len(made[0]) == 5 and made[0] == made[1]


# --- the Debian package -------------------------------------------------------------------------------------------------------------------------------

def must(done):
    assert done.returncode == 0, (done.stdout[-2500:], done.stderr[-2500:])
    return done.stdout.decode()


def built(suite, place):
    """The package, built in a bare root of that release with nothing but what the package says it needs.  Kept for an unchanged HEAD."""
    head = run(["git", "rev-parse", "HEAD"], cwd=ROOT).stdout.decode().strip()
    kept = BUILD.resolve() / "roots" / f"{suite}-{head}.deb"
    if not kept.exists():
        for old in kept.parent.glob(f"{suite}-*.deb"):
            old.unlink()
        root = copied(suite, place / "builder")
        clone(root / "src")
        shutil.rmtree(root / "src/.git")
        (root / "src/debian").symlink_to("packaging/debian")  # for build-dep, which reads the control file
        must(inside(root, "sh", "-ec", "apt-get update -q && apt-get install -yq --no-install-recommends dpkg-dev && apt-get build-dep -yq --no-install-recommends /src", seconds=LONG))
        (root / "src/debian").unlink()
        must(inside(root, "sh", "-ec", "cd /src && make deb", seconds=LONG, env={"DEB_BUILD_OPTIONS": "parallel=2"}))
        made = [path for path in (root / "src/build/deb").glob("sidekey_*.deb")]
        assert len(made) == 1, made
        shutil.copy(made[0], kept)
        shutil.rmtree(place / "builder")
    return kept


def newer(deb, into, version):
    must(run(["dpkg-deb", "-R", deb, into / "unpacked"]))
    control = into / "unpacked/DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(), flags=re.M))
    must(run(["dpkg-deb", "--root-owner-group", "-b", into / "unpacked", into / "newer.deb"]))
    return into / "newer.deb"


CONFIG = "listen: {proxy: '127.0.0.1:0', admin: 'off'}\nca: {publish: /run/sidekey}\nstore: {file: /var/lib/sidekey}\nrules: []\n"


def start_as_the_unit_says(root):
    """The unit's ExecStart with its directories, until it is ready; then SIGTERM.  Returns what it said."""
    unit = (root / "usr/lib/systemd/system/sidekey.service")
    unit = unit if unit.exists() else root / "lib/systemd/system/sidekey.service"
    command = re.search(r"^ExecStart=(.*)$", unit.read_text(), re.M)[1]
    script = f"mkdir -p -m 755 /run/sidekey; mkdir -p -m 700 /var/lib/sidekey; {command} 2>/tmp/err & pid=$!; for i in $(seq 600); do grep -q '^ready' /tmp/err && break; kill -0 $pid || break; sleep 0.1; done; kill $pid; wait $pid; status=$?; cat /tmp/err; exit $status"
    return must(inside(root, "sh", "-c", script, seconds=120))


@needs_root
@pytest.mark.world
@pytest.mark.seconds(3000)
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_the_package_is_built_installed_started_upgraded_and_removed(suite, debian, place):  # noqa: F811
    deb = built(suite, place)
    if suite == "bookworm":
        checked = run(["lintian", "--allow-root", "--fail-on", "none", deb])
        assert checked.returncode == 0, checked.stdout.decode()
        # The lintian of a later release wants /usr/lib/systemd, which this release's debhelper does not know.
        told = [line for line in checked.stdout.decode().splitlines() if line[:2] in ("E:", "W:") and "aliased-location" not in line]
        assert not told, told
    fields = must(run(["dpkg-deb", "-f", deb]))
    assert re.search(r"^Depends:.*\blibcurl4(t64)?\b", fields, re.M), "the library that is loaded at run time"
    root = debian(suite)
    shutil.copy(deb, root / "tmp/sidekey.deb")
    must(inside(root, "sh", "-ec", "apt-get update -q && apt-get install -yq --no-install-recommends /tmp/sidekey.deb"))
    told = must(inside(root, "sidekey", "version", "--verbose"))
    assert told.startswith(f"sidekey {VERSION}") and "libcurl/" in told
    assert not list((root / "etc/systemd/system").rglob("sidekey.service")), "it is not enabled before there is a configuration"
    must(inside(root, "sh", "-ec", "test -e /usr/share/man/man1/sidekey.1.gz -o -e /etc/dpkg/dpkg.cfg.d/docker; test -e /usr/lib/sidekey/libsidekey-preload.so; test -e /usr/share/bash-completion/completions/sidekey"))

    must(inside(root, "apt-get", "install", "-yq", "--no-install-recommends", "ca-certificates"))
    (root / "etc/sidekey/sidekey.yaml").write_text(CONFIG)
    assert "ready proxy=" in start_as_the_unit_says(root)
    state = sorted(p.relative_to(root) for p in (root / "var/lib/sidekey").rglob("*"))
    assert state

    shutil.copy(newer(deb, place, f"{VERSION}+next1"), root / "tmp/newer.deb")
    must(inside(root, "apt-get", "install", "-yq", "/tmp/newer.deb"))
    assert f"{VERSION}+next1" in must(inside(root, "dpkg-query", "-W", "sidekey"))
    assert (root / "etc/sidekey/sidekey.yaml").read_text() == CONFIG and state == sorted(p.relative_to(root) for p in (root / "var/lib/sidekey").rglob("*"))
    assert "ready proxy=" in start_as_the_unit_says(root)

    must(inside(root, "apt-get", "remove", "-yq", "sidekey"))
    assert not (root / "usr/bin/sidekey").exists() and (root / "var/lib/sidekey").exists() and (root / "etc/sidekey/sidekey.yaml").exists()
    must(inside(root, "apt-get", "purge", "-yq", "sidekey"))
    assert not (root / "var/lib/sidekey").exists() and (root / "etc/sidekey/sidekey.yaml").exists(), "what the user wrote stays"


