"""The examples are read, checked and run, so that none of them goes stale."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import harness
import pytest
from harness import BUILD, ROOT, environment, run

EXAMPLES = ROOT / "examples"
KUBERNETES = EXAMPLES / "kubernetes"
release = pytest.mark.skipif(harness.SANITIZED, reason="judges the release build")


def manifests(*files):
    return run(["node", ROOT / "tests/e2e/manifests.mjs", *files], {**os.environ, "SIDEKEY_NODE": str(harness.NODE_DIR)})


CONFIG = KUBERNETES / "base/sidekey.yaml"
PRINTED = {"base": ["deployment", "networkpolicy", "pdb", "redis"], "job": ["job"], "monitoring": ["podmonitor", "rules", "prometheusrule", "dashboard"],
           "component": ["component"], "policy": ["policy"], "helm/sidekey": ["helm"]}
FILES = {"dashboard": "dashboard.json", "component": "kustomization.yaml", "helm": "values.yaml"}  # others: KIND.yaml


def k8s(*args):
    return run([harness.SIDEKEY, "k8s", *args, "-c", CONFIG], environment("/tmp"))


@pytest.fixture(scope="module")
def docs():
    done = manifests(*sorted(KUBERNETES.glob("base/*.yaml")), *sorted(KUBERNETES.glob("job/*.yaml")))
    assert done.returncode == 0, done.stderr.decode()
    return [doc for doc in json.loads(done.stdout) if doc.get("kind")]


def of_kind(docs, kind):
    return next(doc for doc in docs if doc["kind"] == kind)


@pytest.fixture(scope="module", params=["Deployment", "Job"])
def pod(request, docs):
    return of_kind(docs, request.param)["spec"]["template"]["spec"]


def sidecar_of(pod):
    return pod["initContainers"][0]


@pytest.mark.parametrize("part, kind", [(part, kind) for part, all_kinds in PRINTED.items() for kind in all_kinds])
def test_each_manifest_is_what_the_command_prints(part, kind):
    done = k8s(kind)
    assert done.returncode == 0 and not done.stderr, done
    shipped = KUBERNETES / part / FILES.get(kind, f"{kind}.yaml")
    assert done.stdout == shipped.read_bytes(), f"build/sidekey k8s {kind} -c {CONFIG} > {shipped}"


def test_the_command_takes_names_and_refuses_what_is_not_one():
    done = k8s("--name", "shop", "--image", "registry.test/shop@sha256:1f", "--replicas", "3")
    text = done.stdout.decode()
    assert done.returncode == 0 and "name: shop\n" in text and "registry.test/shop@sha256:1f" in text and "replicas: 3" in text and text.count("\n---\n") == 2
    for bad in (["--name", "No"], ["--container", "a b"], ["--image", "a b"], ["--image", "x\ny"], ["--replicas", "many"], ["pods"], ["job", "pdb"]):
        done = k8s(*bad)
        assert done.returncode == 64 and not done.stdout, bad


def test_the_validator_sees_unknown_fields_and_wrong_types(place):
    text = (KUBERNETES / "base/deployment.yaml").read_text()
    for good, bad, complaint in (("image: my-app", "imagee: my-app", "unknown field"), ("runAsUser: 65532", "runAsUser: root", "must be integer")):
        (place / "bad.yaml").write_text(text.replace(good, bad))
        done = manifests(place / "bad.yaml")
        assert done.returncode == 1 and complaint in done.stderr.decode(), done


@pytest.mark.parametrize("part", ["base", "job"])
def test_the_kustomization_names_files_that_are_there(part):
    text = (KUBERNETES / part / "kustomization.yaml").read_text()
    files = re.findall(r"^  - (\S+\.yaml)$", text, re.M) + re.findall(r"files: \[(\S+)\]", text)
    assert files and all((KUBERNETES / part / f).is_file() for f in files)


def test_sidekey_is_a_native_sidecar_that_starts_first(pod):
    first = sidecar_of(pod)
    assert first["name"] == "sidekey" and first["restartPolicy"] == "Always"
    assert first["startupProbe"]["httpGet"]["path"] == "/readyz" and first["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_the_sidecar_fits_the_restricted_standard_and_the_app_is_left_as_it_is(pod):
    assert pod["securityContext"] == {"fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    security = sidecar_of(pod)["securityContext"]
    assert security["runAsNonRoot"] is True and security["runAsUser"] == 65532 and security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False and security["capabilities"] == {"drop": ["ALL"]}
    assert not any("hostPath" in volume for volume in pod["volumes"])
    assert not pod.get("hostNetwork") and not pod.get("hostPID") and "securityContext" not in pod["containers"][0]


def test_the_app_holds_no_secret(pod):
    app = pod["containers"][0]
    assert {m["name"] for m in app["volumeMounts"]} == {"sidekey-ca"}
    assert all("valueFrom" not in variable for variable in app["env"])
    memory = next(v for v in pod["volumes"] if v["name"] == "sidekey-ca")["emptyDir"]
    assert memory["medium"] == "Memory"


def test_the_app_is_told_what_sidekey_env_prints(pod):
    done = run([harness.SIDEKEY, "env", "--format", "k8s", "-c", CONFIG], environment("/tmp"))
    assert done.returncode == 0, done.stderr
    printed = dict(re.findall(r'^- \{name: (\S+), value: "(.*)"\}$', done.stdout.decode(), re.M))
    assert {v["name"]: v["value"] for v in pod["containers"][0]["env"]} == printed and len(printed) > 35
    assert {".svc", ".cluster.local", "$(KUBERNETES_SERVICE_HOST)", "169.254.169.254"} <= set(printed["NO_PROXY"].split(","))


def test_the_policy_lets_out_what_the_configuration_needs(docs):
    ports = {p["port"] for rule in of_kind(docs, "NetworkPolicy")["spec"]["egress"] for p in rule["ports"]}
    assert ports == {53, 443, 6379} and of_kind(docs, "NetworkPolicy")["spec"]["policyTypes"] == ["Egress"]


def test_the_ca_volume_holds_what_is_published_twice(pod, sidekey, place):
    size = sum(f.stat().st_size for f in (place / "ca").iterdir())
    limit = next(v for v in pod["volumes"] if v["name"] == "sidekey-ca")["emptyDir"]["sizeLimit"]
    assert limit.endswith("Mi") and 2 * size < int(limit[:-2]) << 20, size


def test_the_probes_of_the_pod_are_answered_by_its_configuration(start, auth, pod, place, make_config):
    """The real configuration, but for paths, ports, the store and the token endpoint."""
    config = make_config()
    given = config["credentials"]["crm"]
    text = CONFIG.read_text()
    for path in ("/run/secrets/sidekey", "/run/sidekey", "/var/lib/sidekey"):
        (place / path.strip("/")).mkdir(parents=True, mode=0o700)
    for name, source in (("client-secret", given["client_secret"]), ("refresh-token", given["refresh_token"]), ("seal-key", config["store"]["seal_key"])):
        shutil.copy(source["file"], place / "run/secrets/sidekey" / name)
    for old, new in (("/run/", f"{place}/run/"), ("/var/lib/", f"{place}/var/lib/"), ("127.0.0.1:8118", "127.0.0.1:0"), ("[::]:9118", "127.0.0.1:0"),
                     ("https://login.example.com/oauth2/token", auth.token_url), ("client_id: my-app", f"client_id: {auth.client_id}"),
                     ('redis: {url: "redis://sidekey-redis:6379/0"}', "lease: 60s")):
        assert old in text, old
        text = text.replace(old, new)
    (place / "pod.yaml").write_text(text)
    sidekey = harness.Sidekey(place, {"see": "pod.yaml"}, name="pod-sidekey", args=["-c", place / "pod.yaml"])
    try:
        sidekey.ready()
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = sidecar_of(pod)[probe]["httpGet"]["path"]
            harness.until(path, lambda path=path: sidekey.get_admin(path)[0] == 200)
    finally:
        assert sidekey.stop() == 0


# --- the image ------------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """What the Dockerfile's last stage would hold: make install, the collected libraries, and what the base image brings."""
    into = tmp_path_factory.mktemp("image")
    done = run(["make", "-s", f"BUILD={os.path.relpath(BUILD, ROOT)}", "install", f"DESTDIR={into}", "PREFIX=/usr"], cwd=ROOT, env={**os.environ, "MAKELEVEL": "0"})
    assert done.returncode == 0, done.stderr
    done = run([EXAMPLES / "docker/collect-libraries", into, into / "usr/bin/sidekey", LOADED])
    assert done.returncode == 0, done.stderr
    return into, done.stdout.decode().split()


LOADED = "libcurl.so.4"  # by the keeper, when it runs


def loaded_path():
    listed = run(["/sbin/ldconfig", "-p"]).stdout.decode()
    return re.search(rf"^\s*{re.escape(LOADED)} .*=> (\S+)$", listed, re.M)[1]


def needed_paths(program):
    """What the loader maps for the program, now and when the keeper loads its library."""
    listed = run(["ldd", program]).stdout.decode() + run(["ldd", loaded_path()]).stdout.decode()
    return {*re.findall(r"=> (/\S+)", listed), loaded_path()}, listed


def dockerfile():
    return (EXAMPLES / "docker/Dockerfile").read_text()


def test_the_dockerfile_copies_what_is_there(image):
    into, _ = image
    for source, target in re.findall(r"^COPY --from=build (?:--chown=\S+ )?/out(\S+) (\S+)$", dockerfile(), re.M):
        if target == "/opt/sidekey":
            continue  # test_container.py
        assert source.rstrip("/") == target.rstrip("/")
        made_there = re.search(rf"^RUN install -d .*/out{re.escape(target)}\b", dockerfile(), re.M)
        assert (into / source.strip("/")).exists() or made_there, source


@release
def test_the_image_says_which_packages_its_libraries_are_of(image):
    into, collected = image
    sums = {line.split()[1] for path in (into / "var/lib/dpkg/status.d").glob("*.md5sums") for line in path.read_text().splitlines()}
    for library in collected:
        real = os.path.realpath("/usr" + library if not library.startswith("/usr") else library)
        assert {real[1:], real.removeprefix("/usr/")} & sums, library  # /lib is a link to /usr/lib, and dpkg knows one of the two names
    for path in (into / "var/lib/dpkg/status.d").iterdir():
        assert path.suffix == ".md5sums" or path.read_text().startswith(f"Package: {path.name}\n")


def test_the_dockerfile_is_a_non_root_distroless_multi_stage_build():
    text = dockerfile()
    final = text[text.rindex("\nFROM "):]
    assert "distroless/cc-debian13:nonroot" in text and re.search(r"^FROM \$\{BUILDER\} AS build$", text, re.M)
    assert re.search(r"^USER 65532:65532$", final, re.M) and not re.search(r"^RUN ", final, re.M), "there is no shell in the base"
    assert '"/usr/bin/sidekey", "healthcheck"' in final and "STOPSIGNAL SIGTERM" in final
    for label in ("title", "description", "version", "revision", "created", "source", "licenses", "base.name"):
        assert f"org.opencontainers.image.{label}" in final


@release
def test_the_libraries_of_the_image_are_all_that_the_program_needs(image):
    into, collected = image
    assert f"collect-libraries /out /out/usr/bin/sidekey {LOADED}" in dockerfile()
    needed = {os.path.basename(p) for p in needed_paths(into / "usr/bin/sidekey")[0]}
    base = {n for n in needed if re.match(r"(ld-linux|libc|libm|libdl|libpthread|librt|libresolv|libgcc_s|libssl|libcrypto)\b", n)}
    assert {os.path.basename(p) for p in collected} == needed - base
    assert all((into / p.lstrip("/")).is_file() for p in collected)


@release
def test_packagers_are_told_what_is_loaded_at_run_time():
    """The ELF note ".note.dlopen" of systemd's and the distributions' tools."""
    notes = run(["readelf", "-nW", BUILD / "sidekey"], env={**os.environ, "LC_ALL": "C"})
    assert b"orrupt" not in notes.stdout + notes.stderr, (notes.stdout, notes.stderr)
    assert b"FDO" in notes.stdout, notes.stdout
    told = re.search(rb'FDO\0(\[\{"feature":[^\0]*\])\0', (BUILD / "sidekey").read_bytes())[1]
    assert [loaded["soname"] for loaded in json.loads(told)] == [[LOADED]]


@release
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_the_image_runs_in_a_chroot_without_a_network(image):
    into, _ = image
    for base in re.findall(r"(/\S*(?:ld-linux|lib(?:c|m|dl|pthread|rt|resolv|gcc_s|ssl|crypto)\.so)\S*)", needed_paths(into / "usr/bin/sidekey")[1]):
        target = into / ("usr/lib/" + base.split("/lib/", 1)[1] if "/lib/" in base and not base.startswith("/lib64") else base.lstrip("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(os.path.realpath(base), target)
    if not (into / "lib").exists():
        (into / "lib").symlink_to("usr/lib")
    (into / "tmp").mkdir(exist_ok=True)
    done = run([shutil.which("unshare"), "--net", shutil.which("chroot"), into, "/usr/bin/sidekey", "version"], {})
    assert done.returncode == 0 and b"sidekey" in done.stdout, done
    roots = into / "etc/ssl/certs/ca-certificates.crt"
    roots.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", roots)
    (into / "tmp/state").mkdir(mode=0o700, exist_ok=True)
    (into / "tmp/sidekey.yaml").write_text("listen: {proxy: '127.0.0.1:0', admin: 'off'}\nca: {publish: /tmp}\nstore: {file: /tmp/state}\nrules: []\n")
    done = run([shutil.which("unshare"), "--net", shutil.which("chroot"), into, "/usr/bin/sidekey", "check", "-c", "/tmp/sidekey.yaml"], {})
    assert done.returncode == 0, done
    served = subprocess.run(["timeout", "-s", "TERM", "3", shutil.which("unshare"), "--net", shutil.which("chroot"), into, "/usr/bin/sidekey", "serve", "-c", "/tmp/sidekey.yaml"],
                            capture_output=True, timeout=harness.PATIENCE_S, check=False)
    assert b"ready proxy=" in served.stderr, (served.stdout, served.stderr)


@release
def test_install_and_uninstall_leave_nothing_behind(place):
    make = lambda target: run(["make", "-s", f"BUILD={os.path.relpath(BUILD, ROOT)}", target, f"DESTDIR={place}/root"], cwd=ROOT, env={**os.environ, "MAKELEVEL": "0"})
    assert make("install").returncode == 0
    assert (place / "root/usr/local/bin/sidekey").is_file() and (place / "root/usr/local/lib/sidekey/libsidekey-preload.so").is_file()
    pages = {str(p.relative_to(place / "root/usr/local/share/man")) for p in (place / "root/usr/local/share/man").rglob("*") if p.is_file()}
    assert pages == {f"man{p.suffix[1:]}/{p.name}" for p in (ROOT / "docs").iterdir() if re.fullmatch(r"\.[1-8]", p.suffix)}
    assert {"man1/sidekey.1", "man5/sidekey.yaml.5", "man7/sidekey-preload.7"} <= pages
    for page in sorted(pages) if shutil.which("man") else ():
        shown = run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", place / "root/usr/local/share/man" / page], env={**os.environ, "MANPAGER": "cat", "GROFF_NO_SGR": "1"})
        assert shown.returncode == 0 and b"\nNAME\n" in re.sub(rb".\x08", b"", shown.stdout) and shown.stderr == b"", (page, shown)
    assert make("uninstall").returncode == 0
    assert [str(p) for p in (place / "root").rglob("*") if not p.is_dir()] == []


# --- systemd, demo, client programs -------------------------------------------------------------------------------------------------------

@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_unit_is_confined(place):
    shutil.copy(EXAMPLES / "systemd/sidekey.service", place / "sidekey.service")
    done = run(["systemd-analyze", "security", "--offline=true", "--threshold=20", place / "sidekey.service"])
    assert done.returncode == 0, done.stdout[-500:]
    assert re.search(rb"exposure level for sidekey.service: [01]\.\d", done.stdout), done.stdout[-300:]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit, manager", [("sidekey.service", "system"), ("sidekey.socket", "system"), ("user/sidekey.service", "user")])
def test_the_units_are_what_systemd_understands(unit, manager, place):
    """But for the program, which is not installed here."""
    for name in {unit, "sidekey.service" if manager == "system" else unit}:
        text = (EXAMPLES / "systemd" / name).read_text().replace("/usr/local/bin/sidekey", str(BUILD / "sidekey"))
        (place / pathlib.Path(name).name).write_text(text)
    done = run(["systemd-analyze", "verify", f"--{manager}", "--man=no", "--recursive-errors=no", place / pathlib.Path(unit).name],
               {**os.environ, "XDG_RUNTIME_DIR": str(place), "SYSTEMD_UNIT_PATH": f"{place}:/lib/systemd/{manager}"})
    assert done.returncode == 0 and b"sidekey" not in done.stderr, done.stderr


def test_no_unit_hides_the_users_of_the_socket():
    """In a user namespace of its own SO_PEERCRED has 65534 for every other uid (user_namespaces(7))."""
    for unit in EXAMPLES.glob("systemd/**/*.service"):
        assert "\nPrivateUsers=" not in unit.read_text(), unit


def test_the_unit_speaks_of_files_and_options_that_exist():
    unit = (EXAMPLES / "systemd/sidekey.service").read_text()
    for line in ("Type=notify", "WatchdogSec=", "LoadCredential=", "DynamicUser=yes", "RestartPreventExitStatus=78"):
        assert line in unit


@release
@pytest.mark.slow
def test_the_demo_happens():
    done = subprocess.run([sys.executable, EXAMPLES / "quickstart/demo.py"], capture_output=True, timeout=270, check=False, env={**os.environ, "BUILD": str(BUILD)})
    assert done.returncode == 0, done.stdout.decode()
    assert "✘" not in done.stdout.decode() and done.stdout.decode().count("✔") >= 12


@pytest.mark.parametrize("shell, name", [("bash", "sidekey.bash"), ("zsh", "_sidekey"), ("fish", "sidekey.fish")])
def test_a_completion_file_parses(shell, name):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    done = run([shell, "-n", ROOT / "docs/completions" / name])
    assert done.returncode == 0, done.stderr


COMPLETED = {  # what the shell makes of a line; the cursor is at its end
    "bash": """. {file}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _sidekey; printf '%s\\n' "${{COMPREPLY[@]}}" """,
    "fish": "source {file}; complete -C '{line}' | string replace -r '\\t.*' ''",
    # zsh completes only in its line editor: the function is run with a compadd of our own
    "zsh": """functions[compadd]='print -rl -- ${{names}}'; functions[_arguments]='' ; source {file} 2>/dev/null; words=({words}); _sidekey_credentials""",
}


@pytest.mark.parametrize("shell", list(COMPLETED))
@pytest.mark.parametrize("line", ["sidekey -c {config} refresh ", "sidekey refresh --config {config} ", "sidekey reset -c {config} "])
def test_names_of_credentials_are_completed(shell, line, place, make_config):
    config = make_config()
    config["credentials"]["second-one"] = config["credentials"]["crm"]
    (place / "names.yaml").write_text(json.dumps(config))
    (place / "bin").mkdir()
    (place / "bin/sidekey").symlink_to(pathlib.Path(harness.SIDEKEY).resolve())
    line = line.format(config=place / "names.yaml")
    name = {"bash": "sidekey.bash", "zsh": "_sidekey", "fish": "sidekey.fish"}[shell]
    script = COMPLETED[shell].format(file=ROOT / "docs/completions" / name, line=line, words=line + '""')
    done = run([shell, "-c", script], {**environment(place), "PATH": f"{place}/bin:{os.environ['PATH']}"})
    assert {"crm", "second-one"} <= set(done.stdout.decode().split()), done


def flags_of(command):
    return sorted(set(re.findall(r"(?m)^  (?:-\w, )?(--[a-z-]+)", run([harness.SIDEKEY, "help", command]).stdout.decode())))


def test_every_flag_of_the_help_is_completed_and_in_the_manual(place):
    """--config and its like go without saying in some shells."""
    commands = re.findall(r"(?m)^  ([a-z0-9]+) {2,}", run([harness.SIDEKEY, "help"]).stdout.decode())
    zsh, manual = ((ROOT / "docs" / name).read_text() for name in ("completions/_sidekey", "sidekey.1"))
    (place / "bin").mkdir()
    (place / "bin/sidekey").symlink_to(pathlib.Path(harness.SIDEKEY).resolve())
    env, missing, seen = {**environment(place), "PATH": f"{place}/bin:{os.environ['PATH']}"}, [], 0
    for command in commands:
        line = f"sidekey {command} --"
        offered = {shell: run([shell, "-c", COMPLETED[shell].format(file=ROOT / "docs/completions" / f"sidekey.{shell}", line=line, words=line)], env).stdout.decode().split()
                   for shell in ("bash", "fish")}
        for flag in flags_of(command):
            seen += 1
            missing += [(shell, command, flag) for shell in offered if flag not in offered[shell]]
            missing += [("zsh", command, flag)] if flag not in zsh else []
            missing += [("manual", command, flag)] if flag.removeprefix("--") not in manual else []
    assert seen > 40 and not missing, (seen, missing)


# --- the README -------------------------------------------------------------------------------------------------------------------------

def test_the_pictures_are_what_their_texts_say():
    done = run([sys.executable, ROOT / "docs/pictures/draw.py", "--check"])
    assert done.returncode == 0, done.stderr


def test_the_readme_leads_to_pages_that_are_there():
    for page in (ROOT / "README.md", ROOT / "docs/README.md", KUBERNETES / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page, target)


def test_the_configuration_of_the_readme_is_a_good_one(place):
    text = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    (place / "sidekey.yaml").write_text(text)
    (place / "secrets").mkdir()
    for name in ("crm-client", "crm-refresh"):
        (place / "secrets" / name).write_text("a-secret-value")
        (place / "secrets" / name).chmod(0o600)
    (place / "sidekey.yaml").chmod(0o600)
    sidekey = harness.SIDEKEY.resolve()
    done = run([sidekey, "check"], environment(place), cwd=place)
    assert done.returncode == 0, done
    why = run([sidekey, "why", "GET", "https://api.crm.example.com/v2/x"], environment(place), cwd=place)
    assert why.returncode == 0, why
