"""examples/docker and the relocatable tree: without a Docker engine, by what it would do."""
import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess

import harness
import pytest
from bare_debian import debian  # noqa: F401  a fixture
from harness import BUILD, ROOT, environment, run

DOCKER = ROOT / "examples/docker"
CHROOT = shutil.which("chroot") or "/usr/sbin/chroot"
NODE = {**os.environ, "SIDEKEY_NODE": str(harness.NODE_DIR)}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
release = pytest.mark.skipif(harness.SANITIZED, reason="judges the release build")


def yaml(path):
    script = "const need = require('module').createRequire(process.argv[1] + '/'); console.log(JSON.stringify(need('js-yaml').load(require('fs').readFileSync(process.argv[2], 'utf8'))))"
    done = run(["node", "-e", script, harness.NODE_DIR.resolve(), path], NODE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- compose ----------------------------------------------------------------------------------------------------------------------------------

def test_compose_mounts_what_its_configuration_names(place):
    services, config = yaml(DOCKER / "compose.yaml")["services"], yaml(DOCKER / "sidekey.yaml")
    targets = {v.split(":")[1] for v in services["sidekey"]["volumes"]}
    assert {config["ca"]["publish"], config["store"]["file"], "/etc/sidekey/sidekey.yaml"} <= targets
    secrets = [config["store"]["seal_key"]["file"], *(config["credentials"]["crm"][key]["file"] for key in ("client_secret", "refresh_token"))]
    assert all(os.path.dirname(path) in targets for path in secrets)
    assert config["store"]["redis"]["url"].split("//")[1].split(":")[0] in services
    app = services["app"]
    assert app["network_mode"] == "service:sidekey" and config["listen"]["proxy"].startswith("127.0.0.1:") and "ports" not in services["sidekey"]
    assert app["volumes"] == ["sidekey-ca:/run/sidekey:ro"] and not any("secret" in v for v in app["volumes"])
    assert services["sidekey"]["image"] == "sidekey:" + re.search(r"^VERSION +:= (\S+)$", (ROOT / "Makefile").read_text(), re.M)[1]


def test_the_variables_of_compose_are_what_sidekey_env_prints():
    done = run([harness.SIDEKEY, "env", "--format", "docker", "-c", DOCKER / "sidekey.yaml"], environment("/tmp"))
    assert done.returncode == 0 and done.stdout == (DOCKER / "sidekey.env").read_bytes(), f"build/sidekey env --format docker -c {DOCKER}/sidekey.yaml > {DOCKER}/sidekey.env"


# --- the Dockerfile -------------------------------------------------------------------------------------------------------------------------------

def ignored(name, patterns):
    """As Docker does it: the last pattern that matches the path, or a folder above it, decides."""
    hit = False
    parts = name.split("/")
    above = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    for pattern in patterns:
        plain = pattern.lstrip("!")
        names = [plain[3:], "*/" + plain[3:]] if plain.startswith("**/") else [plain]
        same_depth = lambda path, glob: "**/" in pattern or path.count("/") == glob.count("/")
        if any(same_depth(path, glob) and fnmatch.fnmatch(path, glob) for path in above for glob in names):
            hit = not pattern.startswith("!")
    return hit


def test_the_context_of_the_build_has_all_that_make_needs_and_no_secret(place):
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    sent = []
    for name in run(["git", "ls-files"], cwd=ROOT).stdout.decode().split("\n")[:-1]:
        if not ignored(name, patterns) and (ROOT / name).exists():
            (place / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / "src" / name)
            sent.append(name)
    assert "tests/tools/deps" in sent and "tests/rules.mk" in sent and not any(n.startswith("tests/e2e") for n in sent)
    assert ignored("examples/docker/secrets/seal-key", patterns) and ignored("build/sidekey", patterns) and ignored(".git/config", patterns)
    for goal in (["install", "DESTDIR=/out", "PREFIX=/usr"], ["tree", "TREE=/out/opt/sidekey"]):
        done = run(["make", "-n", *goal], cwd=place / "src", env={**os.environ, "MAKELEVEL": "1"})
        assert done.returncode == 0 and b"No rule" not in done.stderr, done.stderr


@pytest.fixture
def fake_docker(place):
    def make(says, status=0):
        (place / "bin").mkdir(exist_ok=True)
        (place / "bin/docker").write_text(f"#!/bin/sh\nprintf '%s\\n' \"$*\" >>{place}/asked\necho '{says}'\nexit {status}\n")
        (place / "bin/docker").chmod(0o755)
        shutil.copy(DOCKER / "Dockerfile", place / "Dockerfile")
        return run([DOCKER / "pin", place / "Dockerfile"], {"PATH": f"{place}/bin:/usr/bin:/bin"})
    return make


def test_pin_writes_what_a_registry_tells(fake_docker, place):
    digest = "sha256:" + "0123456789abcdef" * 4
    for _ in range(2):  # again, from the tag
        assert fake_docker(digest).returncode == 0
        text = (place / "Dockerfile").read_text()
        assert f"\nARG BUILDER=debian:13@{digest}\n" in text and f"\nARG RUNTIME=gcr.io/distroless/cc-debian13:nonroot@{digest}\n" in text
    assert set((place / "asked").read_text().split("\n")) == {"", *(f"buildx imagetools inspect --format {{{{.Manifest.Digest}}}} {i}" for i in ("debian:13", "gcr.io/distroless/cc-debian13:nonroot"))}


@pytest.mark.parametrize("says, status", [("sha256:1234", 0), ("", 0), ("sha256:" + "a" * 64, 1), ("error: no such host", 0)])
def test_pin_invents_nothing(fake_docker, place, says, status):
    done = fake_docker(says, status)
    assert done.returncode == 69 and b"nothing is changed" in done.stderr
    assert (place / "Dockerfile").read_bytes() == (DOCKER / "Dockerfile").read_bytes()


def test_the_readme_and_the_build_recipe_speak_of_what_is_there():
    readme, recipe = (DOCKER / "README.md").read_text(), (DOCKER / "build-behind-sidekey.Dockerfile").read_text()
    assert "COPY --from=build /out/opt/sidekey /opt/sidekey" in (DOCKER / "Dockerfile").read_text()
    assert "/opt/sidekey/bin/sidekey" in readme and "--mount=type=secret,id=sidekey-ca" in recipe and "--secret id=sidekey-ca" in recipe
    assert not re.search(r"^(ENV|ARG) .*(PROXY|CERT|CA_BUNDLE)", recipe, re.M), "neither proxy nor CA may stay in the image"


# --- the tree with its own loader ---------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    into = tmp_path_factory.mktemp("tree") / "sidekey"
    done = run([ROOT / "packaging/tree", into], {**os.environ, "BUILD": str(BUILD.resolve()), "CC": "cc"}, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return into


def plant(tree, root, at):
    target = root / at.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(tree, target, symlinks=True)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    return f"{at}/bin/sidekey"


def inside(root, *argv, seconds=120, network=False, env=None, proc=False):
    unshare = shutil.which("unshare")  # env is for the program inside
    namespaces = [unshare] if network else [unshare, "--net"]
    if proc:
        (root / "proc").mkdir(exist_ok=True)
        namespaces += ["--mount", "/bin/sh", "-c", f'/bin/mount -t proc proc "{root}/proc" && exec "$@"', "sh"]
    return subprocess.run([*namespaces, CHROOT, str(root), *map(str, argv)], capture_output=True, timeout=seconds, check=False, env=env or {})


SERVE = "listen: {proxy: '127.0.0.1:0', admin: 'off'}\nca: {publish: /tmp/ca}\nstore: {file: /tmp/state}\nrules: []\n"


def serves(root, program):
    for folder in ("state", "ca"):
        (root / "tmp" / folder).mkdir(mode=0o700)
    (root / "tmp/sidekey.yaml").write_text(SERVE)
    done = inside(root, program, "check", "-c", "/tmp/sidekey.yaml")
    assert done.returncode == 0, done
    process = subprocess.Popen(["unshare", "--net", CHROOT, root, program, "serve", "-c", "/tmp/sidekey.yaml"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, env={})
    try:
        line = next(line for line in process.stderr if line.startswith(b"ready ") or not line)
        assert line.startswith(b"ready proxy="), line
    finally:
        process.terminate()
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert b"BEGIN CERTIFICATE" in (root / "tmp/ca/bundle.pem").read_bytes() and (root / "tmp/ca/bundle.pem").stat().st_size > 100_000, "the roots of the tree are in the bundle"


@release
@needs_root
@pytest.mark.parametrize("at", ["/opt/sidekey", "/srv/some where/else"])
def test_the_tree_serves_in_an_empty_root(tree, place, at):
    program = plant(tree, place / "root", at)
    done = inside(place / "root", program, "version", "--verbose")
    assert done.returncode == 0 and b"libcurl/" in done.stdout and b"OpenSSL" in done.stdout, done
    serves(place / "root", program)


def programs_of(tree):
    return {str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file() and p.read_bytes()[:4] == b"\x7fELF"}


@release
def test_the_tree_is_complete_and_says_what_is_in_it(tree):
    assert b"statically linked" in run(["file", "-L", tree / "bin/sidekey"]).stdout or b"not a dynamic" in run(["ldd", tree / "bin/sidekey"]).stderr
    loader = next((tree / "lib").glob("ld-*.so*"))
    for name in ("lib/sidekey", "lib/libcurl.so.4"):
        listed = run([loader, "--inhibit-cache", "--library-path", tree / "lib", "--list", tree / name]).stdout.decode()
        paths = set(re.findall(r"=> (/\S+)", listed))
        assert paths and all(p.startswith(str(tree)) or "/ld-linux" in p for p in paths), (name, paths)
    packages = {p.name for p in (tree / "share/dpkg/status.d").iterdir() if p.suffix != ".md5sums"}
    assert {"libc6", "libcurl4", "libev4"} <= {re.sub(r"t64$", "", p) for p in packages} and any(p.startswith("libssl3") for p in packages)
    for name in packages:
        text = (tree / "share/dpkg/status.d" / name).read_text()
        assert re.search(r"^Version: \S+$", text, re.M) and (tree / "share/doc" / name / "copyright").is_file(), name


@release
@needs_root
@pytest.mark.world
def test_the_tree_covers_a_program_of_a_musl_root(tree, place, sidekey, make_config, auth):
    """`run` in a root whose libc is musl, as in Alpine: the library goes into the program, and the call carries the token."""
    root = place / "root"
    program = plant(tree, root, "/opt/sidekey")
    (root / "lib").mkdir(exist_ok=True)
    loader = next(pathlib.Path("/lib").glob("ld-musl-*.so.1"))
    shutil.copy(os.path.realpath(loader), root / "lib" / loader.name)
    (place / "client.c").write_text('#include <stdio.h>\n#include <stdlib.h>\nint main(void) { printf("%s\\n%s\\n", getenv("HTTPS_PROXY"), getenv("LD_PRELOAD")); return 7; }\n')
    assert run(["musl-gcc", "-o", root / "client", place / "client.c"]).returncode == 0
    (root / "tmp/run").mkdir()
    (root / "tmp/sidekey.yaml").write_text("listen: {admin: 'off'}\nstore: {file: /tmp/state}\nrules: []\n")
    done = inside(root, program, "run", "-c", "/tmp/sidekey.yaml", "--", "/client", env={"HOME": "/tmp", "XDG_RUNTIME_DIR": "/tmp/run", "PATH": "/"}, proc=True)
    assert done.returncode == 7, done
    proxy, preload = done.stdout.decode().split()
    assert proxy.startswith("http://") and preload == "/opt/sidekey/lib/libsidekey-preload.so", done


@release
@needs_root
@pytest.mark.seconds(1500)
@pytest.mark.world
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_the_tree_serves_in_a_bare_debian(tree, place, suite, debian):
    root = debian(suite)
    program = plant(tree, root, "/opt/sidekey")
    serves(root, program)
    assert inside(root, program, "run", "-c", "/tmp/sidekey.yaml", "--", "true", env={"HOME": "/tmp", "PATH": "/usr/bin:/bin"}).returncode == 0
