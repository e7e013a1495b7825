"""libsidekey-preload.so under real programs: where their connections arrive, under which name, and whom they trust.

A recording server stands in for the worker: it listens on every 127.x address of loopback, reads the token from getsockname() and looks it
up in the shared table (by a reader of its own: the layout of preload/table.h is part of what is tested)."""
import mmap
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness import PATIENCE_S

TOP = Path(__file__).resolve().parents[2]
LIB = (TOP / os.environ.get("BUILD", "build") / "libsidekey-preload.so").resolve()
CLIENT_C = TOP / "tests/e2e/preload_client.c"
NAMES, DESTS, MAGIC, NO_NAME = 131072, 1048576, b"sktable1", 0xFFFFFFFF
NAMES_AT, DESTS_AT = 4096, 4096 + NAMES * 256
SIZE = DESTS_AT + DESTS * 32
HOST = "api.example.test"
LITERAL = "192.0.2.7"  # TEST-NET-1: nothing of it may leave the machine


def run(*argv, **kwargs):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, **kwargs).stdout


class Server:
    """The worker's place: accepts, finds out where the program wanted to go, says so in its answer."""

    def __init__(self, where):
        self.dir, self.seen, self.lock, self.errors = where, [], threading.Lock(), []
        self.table = where / "table"
        self.reset()
        self.make_certificates()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        self.listener.bind(("0.0.0.0", 0))
        self.listener.listen(512)
        self.port = self.listener.getsockname()[1]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(where / "leaf.pem", where / "leaf.key")
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self):
        self.seen.clear()
        self.errors.clear()
        if self.table.exists():
            self.table.unlink()
        with open(self.table, "xb") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(MAGIC)
            f.truncate(SIZE)

    def make_certificates(self):
        d = self.dir
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test CA",
            "-keyout", d / "ca.key", "-out", d / "ca.pem", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={HOST}",
            "-keyout", d / "leaf.key", "-out", d / "leaf.csr")
        (d / "ext").write_text(f"subjectAltName=DNS:{HOST},DNS:*.example.test,IP:{LITERAL}\nextendedKeyUsage=serverAuth\n")
        run("openssl", "x509", "-req", "-in", d / "leaf.csr", "-CA", d / "ca.pem", "-CAkey", d / "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", d / "ext", "-out", d / "leaf.pem")
        (d / "merged.pem").write_text("# merged for the test\n" + (d / "ca.pem").read_text())

    def hint(self, address):
        index = struct.unpack("!I", socket.inet_aton(address))[0] - 0x7F400000
        assert 0 <= index < DESTS, f"{address} is no token"
        with open(self.table, "rb") as f:
            f.seek(DESTS_AT + index * 32)
            state, name, port, kind, family, ip = struct.unpack("=IIHBB16s", f.read(28))
            assert (state, kind) == (2, 1) and family in (4, 6)
            if name == NO_NAME:
                ip6 = socket.inet_ntop(socket.AF_INET6, ip)
                return ip6[7:] if ip6.startswith("::ffff:") else ip6, port
            f.seek(NAMES_AT + name * 256)
            state, length, text = struct.unpack("=BB254s", f.read(256))
            assert state == 2 and text[length] == 0
            return text[:length].decode(), port

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, s):
        try:
            s.settimeout(PATIENCE_S)
            host, port = self.hint(s.getsockname()[0])
            with self.lock:
                self.seen.append((host, port))
            if s.recv(1, socket.MSG_PEEK) == b"\x16":
                s = self.context.wrap_socket(s, server_side=True)
            data = b""
            while b"\r\n\r\n" not in data:
                more = s.recv(4096)
                if not more:
                    return
                data += more
            body = f"{host}:{port}".encode()
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        except Exception as e:  # told when a test fails
            self.errors.append(repr(e))
        finally:
            s.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    assert LIB.exists(), f"{LIB} is missing: make {LIB}"
    return Server(tmp_path_factory.mktemp("preload"))


@pytest.fixture(autouse=True)
def fresh(server):
    server.reset()


def build(cc, out, *flags):
    run(*cc.split(), "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-w", CLIENT_C, "-o", out, "-pthread", "-ldl", *flags)
    return out


@pytest.fixture(scope="module")
def clients(server):
    made = {"glibc": build(os.environ.get("CC", "cc"), server.dir / "client")}
    if shutil.which("musl-gcc"):
        made["musl"] = build("musl-gcc", server.dir / "client-musl")
    return made


@pytest.fixture(params=["glibc", "musl"])
def client(request, clients):
    if request.param not in clients:
        pytest.skip("musl-gcc is not installed")
    return clients[request.param]


def environment(server, **more):
    """Nothing of ours but the preload variables: no proxy, no CA variable."""
    env = {"PATH": os.environ["PATH"], "HOME": str(server.dir), "LANG": "C.UTF-8", "LD_PRELOAD": str(LIB), "SIDEKEY_PRELOAD_TABLE": str(server.table),
           "SIDEKEY_PRELOAD_PORT": str(server.port), "SIDEKEY_PRELOAD_CA": str(server.dir / "merged.pem")}
    env.update({k: str(v) for k, v in more.items()})
    return {k: v for k, v in env.items() if v != ""}


def go(server, *argv, expect=0, quiet=True, **more):
    """Runs a program with the library; returns its stdout.  It must be silent on stderr and see no FAIL."""
    p = subprocess.run([str(a) for a in argv], env=environment(server, **more), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert p.returncode == expect, f"exit {p.returncode}\n{p.stdout}\n{p.stderr}"
    assert "FAIL" not in p.stdout, (p.stdout, server.errors)
    if quiet:
        assert p.stderr == ""
    return p.stdout


# --- the object itself ---

def test_the_object_exports_what_the_map_says_and_needs_no_library():
    symbols = [line.split() for line in run("nm", "-D", LIB).splitlines()]
    exported = {s[-1] for s in symbols if s[-2] != "U"}
    undefined = {s[-1] for s in symbols if s[-2] == "U"}
    listed = set(re.findall(r"(\w+);", (TOP / "preload/exports.map").read_text().split("local:")[0]))
    hooks = set(re.findall(r"X\((\w+)\)", (TOP / "preload/preload.h").read_text().split("PRELOAD_HOOKS(X)")[1].split("enum hook")[0]))
    assert exported == listed == hooks
    assert "NEEDED" not in run("readelf", "-d", LIB)
    # Both libcs have these, and none allocates but strdup (fake canonical names).
    assert undefined <= set("""__errno_location __stack_chk_fail __stack_chk_guard bcmp __h_errno_location dlerror dlsym environ memchr memcmp memcpy memmem memmove memrchr memset mmap munmap dladdr dlclose
        stpcpy strchr strcmp strcpy strcspn strdup strlen strncmp strnlen strspn strstr strrchr syscall
        fgetxattr fstat getegid geteuid getgid getuid pread""".split())


def test_the_last_call_of_dlopen_is_a_jump(clients, server):
    """dlopen() searches the RUNPATH of its caller, which must stay the program."""
    (server.dir / "lib").mkdir(exist_ok=True)
    build("cc", server.dir / "lib/libdeep.so", "-shared", "-fPIC", "-DAS_LIBRARY")
    main = build("cc", server.dir / "client-runpath", f"-Wl,--enable-new-dtags,-rpath,{server.dir}/lib")
    assert go(server, main, "deepbind", HOST, "libdeep.so") == f"{HOST}:443\n"


# --- one socket at a time ---

@pytest.mark.parametrize("mode, times", [("blocking", 1), ("epoll", 1), ("v6only", 1), ("mapped", 1), ("fastopen", 4), ("descriptors", 2)])
def test_a_client_reaches_us_under_the_name_it_asked_for(server, client, mode, times):
    assert go(server, client, mode, HOST, 443) == f"{HOST}:443\n" * times
    assert server.seen == [(HOST, 443)] * times


def test_names_are_canonical(server, client):
    assert go(server, client, "blocking", "API.Example.Test.", 443) == f"{HOST}:443\n"


@pytest.mark.parametrize("address", [LITERAL, "2001:db8::7"])
def test_an_address_without_a_name_arrives_as_an_address(server, client, address):
    assert go(server, client, "literal", address, 443) == f"{address}:443\n"


def test_a_name_is_ours_on_every_port_when_the_port_was_unknown(server, client):
    assert go(server, client, "blocking", HOST, 8443, SIDEKEY_PRELOAD_PORTS="443,8443") == f"{HOST}:8443\n"


def test_a_service_out_of_policy_resolves_truly(server, client):
    assert re.match(r"getaddrinfo -\d+\n", go(server, client, "blocking", HOST, 5432, expect=2))
    assert server.seen == []


def test_loopback_is_left_alone(server, client):
    """Also on a port of the policy, and also the listener itself: it sees no token."""
    with socket.create_server(("127.0.0.1", 0)) as local:
        port = local.getsockname()[1]
        threading.Thread(target=lambda: local.accept()[0].sendall(b"HTTP/1.0 200 OK\r\n\r\nlocal"), daemon=True).start()
        p = subprocess.Popen([client, "literal", "127.0.0.1", str(port)], env=environment(server, SIDEKEY_PRELOAD_PORTS=port), stdout=subprocess.PIPE)
        out = p.communicate(timeout=PATIENCE_S)[0]
    assert b"FAIL line" not in out and server.seen == []


def test_udp_to_a_fake_address_fails_at_once(server, client):
    assert go(server, client, "udp", HOST, 443) == "refused\n"


def test_gethostbyname_and_friends_answer_fake_addresses_under_the_true_name(server, client):
    assert re.fullmatch(r"198\.1[89]\.\d+\.\d+\n", go(server, client, "hosts", HOST, 443))


def test_a_fake_address_means_its_name_in_every_process_of_the_run(server, clients):
    """Erlang resolves in one program and connects in another; addresses travel by argument, too."""
    address = go(server, clients["glibc"], "hosts", HOST, 443).strip()
    for client in clients.values():
        assert go(server, client, "literal", address, 443) == f"{HOST}:443\n"
        assert go(server, client, "literal", address, 8443) == f"{HOST}:8443\n"


def test_the_own_name_of_the_machine_stays_true(server):
    code = "import socket; print(sorted(a[4][0] for a in socket.getaddrinfo(socket.gethostname(), 443, type=socket.SOCK_STREAM)))"
    if subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True).returncode:
        pytest.skip("this machine does not know its own name")
    assert go(server, "/usr/bin/python3", "-c", code) == run("/usr/bin/python3", "-c", code)


def test_getaddrinfo_keeps_its_contract(server, client):
    try:
        socket.getaddrinfo("localhost", 443)
    except OSError:
        pytest.skip("this machine does not know localhost")
    assert re.fullmatch(r"198\.1[89]\.\d+\.\d+\n", go(server, client, "names", "a-name-longer-than-any-address.example.test", 443))


def test_150_threads_resolve_and_connect(server, client):
    assert go(server, client, "threads", HOST, 443) == "done\n"
    assert len(server.seen) == 450


# --- policy and failure ---

@pytest.mark.parametrize("bypass", [HOST, "x.test, .example.test", "*.example.test"])
def test_a_bypassed_name_resolves_truly(server, client, bypass):
    assert go(server, client, "blocking", HOST, 443, SIDEKEY_PRELOAD_BYPASS=bypass, expect=2).startswith("getaddrinfo -")


@pytest.mark.parametrize("how", ["missing", "short", "garbled", "no port", "no table"])
def test_without_its_table_nothing_goes_direct(server, client, how):
    more = {}
    if how == "missing":
        server.table.unlink()
    elif how == "short":
        os.truncate(server.table, 4096)
    elif how == "garbled":
        server.table.write_bytes(b"x" * 4096)
        os.truncate(server.table, SIZE)
    elif how == "no port":
        more["SIDEKEY_PRELOAD_PORT"] = "99999"
    else:
        more["SIDEKEY_PRELOAD_TABLE"] = ""
    assert go(server, client, "blocking", HOST, 443, expect=2, **more) == "getaddrinfo -4\n"
    assert go(server, client, "literal", LITERAL, 443, **more) == "connect 101\n"  # ENETUNREACH


def test_a_full_table_fails_and_does_not_go_direct(server, client):
    with open(server.table, "r+b") as f, mmap.mmap(f.fileno(), SIZE) as table:
        table[DESTS_AT:SIZE] = (b"\1" + bytes(31)) * DESTS
    assert go(server, client, "literal", LITERAL, 443) == "connect 101\n"
    with open(server.table, "r+b") as f, mmap.mmap(f.fileno(), SIZE) as table:
        table[NAMES_AT:DESTS_AT] = (b"\1" + bytes(255)) * NAMES
    assert go(server, client, "blocking", HOST, 443, expect=2) == "getaddrinfo -4\n"


# A network of its own, where a name has a true address that is not loopback and a server listens on it.
DIRECT = r"""
ip link set lo up && ip address add 192.0.2.50/32 dev lo && mount --bind "$HOSTS" /etc/hosts || exit 77
exec env LD_PRELOAD="$OBJECT" /usr/bin/python3 -c '
import socket, sys, threading
s = socket.create_server(("192.0.2.50", 443))
threading.Thread(target=lambda: [s.accept()[0].sendall(b"direct") for _ in (1, 2)], daemon=True).start()
def ask(host, **kw):
    try:
        c = socket.create_connection((host, 443), timeout=5)
        return c.recv(6).decode(), c.getpeername()[0]
    except OSError as e:
        return e.errno
print(ask("192.0.2.50"), ask("direct.example.test"), ask("192.0.2.50"), ask("other.example.test"))
'
"""


def test_a_bypassed_name_connects_directly_and_nothing_else_does(server):
    hosts = server.dir / "hosts"
    hosts.write_text("127.0.0.1 localhost\n192.0.2.50 direct.example.test other.example.test\n")
    env = environment(server, LD_PRELOAD="", OBJECT=LIB, HOSTS=hosts, SIDEKEY_PRELOAD_BYPASS="direct.example.test")
    p = subprocess.run(["unshare", "-Urnm", "sh", "-c", DIRECT], env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    if p.returncode != 0 and ("unshare" in p.stderr or p.returncode == 77):
        pytest.skip("no user namespaces here: " + p.stderr.strip())
    # No worker in that network: what is redirected is refused (111).
    assert p.stdout == "111 ('direct', '192.0.2.50') ('direct', '192.0.2.50') 111\n", p.stderr


# Two names of one address: one has a rule.  What looks a name up by itself gives an address alone.
SHARED = r"""
ip link set lo up && ip address add 192.0.2.50/32 dev lo && ip address add 192.0.2.51/32 dev lo && mount --bind "$HOSTS" /etc/hosts || exit 77
exec env LD_PRELOAD="$OBJECT" /usr/bin/python3 -c '
import socket, ssl, threading
s = socket.create_server(("192.0.2.50", 443))
def serve():
    while True:
        c, _ = s.accept()
        c.recv(1)
        c.close()
threading.Thread(target=serve, daemon=True).start()
def hello(host, name):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, 443), timeout=5) as c:
            return context.wrap_socket(c, server_hostname=name) and None
    except ssl.SSLEOFError:
        return "heard"
    except OSError as e:
        return "heard" if e.errno == 104 else e.errno
def udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
        return u.connect_ex((host, port))
print(hello("other.example.test", "other.example.test"), hello("192.0.2.50", "api.example.test"), hello("192.0.2.50", None), udp("192.0.2.50", 443), udp("192.0.2.51", 443), udp("192.0.2.51", 80))
'
"""


def test_an_address_that_another_name_has_too_is_no_way_around_a_rule(server):
    hosts = server.dir / "hosts"
    hosts.write_text("127.0.0.1 localhost\n192.0.2.50 other.example.test\n")
    env = environment(server, LD_PRELOAD="", OBJECT=LIB, HOSTS=hosts, SIDEKEY_PRELOAD_NAMES="api.example.test")
    p = subprocess.run(["unshare", "-Urnm", "sh", "-c", SHARED], env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    if p.returncode != 0 and ("unshare" in p.stderr or p.returncode == 77):
        pytest.skip("no user namespaces here: " + p.stderr.strip())
    assert p.stdout == "heard 13 heard 0 101 0\n", p.stderr  # EACCES, ENETUNREACH


def test_single_hooks_can_be_switched_off(server, client):
    assert go(server, client, "blocking", HOST, 443, SIDEKEY_PRELOAD_DISABLE="gethostbyname,getaddrinfo", expect=2).startswith("getaddrinfo -")
    assert go(server, client, "blocking", HOST, 443, SIDEKEY_PRELOAD_DISABLE="gethostbyname,nonsense") == f"{HOST}:443\n"


def test_unconfigured_the_library_does_nothing(server, client):
    out = go(server, client, "blocking", HOST, 443, expect=2, SIDEKEY_PRELOAD_TABLE="", SIDEKEY_PRELOAD_PORT="", SIDEKEY_PRELOAD_CA="")
    assert out.startswith("getaddrinfo -") and out != "getaddrinfo -4\n"


# --- children ---

def test_children_keep_the_library_whatever_environment_they_get(server, client):
    lines = go(server, client, "children", HOST, 443).splitlines()
    assert set(lines) == {f"{HOST}:443"} and len(lines) >= 12


def test_shells_of_a_program_without_environment_keep_it_too(server, client):
    assert go(server, client, "shells", HOST, 443) == f"{HOST}:443\n" * 2


def test_a_value_with_quotes_survives_the_shell(server, client):
    odd = server.dir / "it's $HOME `x`"
    odd.mkdir(exist_ok=True)
    table = odd / "table"
    if table.exists():
        table.unlink()
    os.link(server.table, table)
    assert go(server, client, "shells", HOST, 443, SIDEKEY_PRELOAD_TABLE=table) == f"{HOST}:443\n" * 2


def test_a_child_keeps_its_own_values(server, client):
    out = go(server, client, "keeps", HOST, 443, quiet=False, SIDEKEY_PRELOAD_BYPASS="parent.test", SSL_CERT_FILE="/x.pem", FOO="bar")
    env = dict(line.split("=", 1) for line in out.splitlines())
    assert env["SIDEKEY_PRELOAD_BYPASS"] == "own.test"
    assert env["LD_PRELOAD"] == f"{LIB}:/some/other.so"
    assert env["SSL_CERT_FILE"] == "/x.pem"
    assert env["SIDEKEY_PRELOAD_TABLE"] == str(server.table)
    assert "FOO" not in env and "HOME" not in env


def test_env_i_is_no_way_out(server):
    curl = need("curl")
    assert go(server, "env", "-i", curl, "-sS", f"https://{HOST}/") == f"{HOST}:443"
    assert go(server, "sh", "-c", f"unset LD_PRELOAD; exec env -i {curl} -sS https://{HOST}/") == f"{HOST}:443"


# --- trust ---

@pytest.mark.parametrize("path", ["/etc/ssl/certs/ca-certificates.crt", "/usr/lib/ssl/cert.pem", "/x/site-packages/certifi/cacert.pem"])
def test_reading_a_bundle_reads_the_merged_one(server, client, path):
    size = (server.dir / "merged.pem").stat().st_size
    assert go(server, client, "bundle", path, "-") == "# merged for the test\n" * 4 + f"{size}\n"


@pytest.mark.parametrize("name, count, more, ours", [("ca-certificates.crt", 120, "", True), ("roots.pem", 120, "", True), ("a few.pem", 12, "", False), ("roots.txt", 120, "", False),
                                                     ("with a key.pem", 120, "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", False)])
def test_a_copy_of_the_public_roots_is_known_by_its_content_and_a_few_pinned_roots_are_left_alone(server, client, tmp_path, name, count, more, ours):
    one = "-----BEGIN CERTIFICATE-----\n" + "A" * 900 + "\n-----END CERTIFICATE-----\n"
    (tmp_path / name).write_text(f"# of the SDK\n{more}" + one * count)
    first, path = ("# merged for the test\n", server.dir / "merged.pem") if ours else ("# of the SDK\n", tmp_path / name)
    assert go(server, client, "bundle", tmp_path / name, "-") == first * 4 + f"{path.stat().st_size}\n"


# A program that pins roots of its own, which are not ours: only the store itself can trust us.
PINNED = {
    "curl": ["curl", "-sS", "--cacert", "{pin}", "{url}"],
    "wget": ["wget", "-qO-", "--ca-certificate={pin}", "--ca-directory=/nonexistent", "{url}"],
    "gnutls-cli": ["sh", "-c", "gnutls-cli --x509cafile {pin} -p 443 {host} </dev/null | grep -q 'The certificate is trusted' && echo {host}:443"],
    "openssl": ["sh", "-c", "printf 'GET / HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -CAfile {pin} -servername {host} -connect {host}:443 | "
                "grep -o {host}:443$"],
    "python3": ["/usr/bin/python3", "-c", "import ssl, urllib.request as u; print(u.urlopen('{url}', context=ssl.create_default_context(cafile='{pin}')).read().decode())"],
    "perl": ["perl", "-MHTTP::Tiny", "-e", "print HTTP::Tiny->new(verify_SSL => 1, SSL_options => {{ SSL_ca_file => '{pin}' }})->get('{url}')->{{content}}"],
    "git": ["git", "-c", "http.sslCAInfo={pin}", "ls-remote", "{url}x.git"],
}


@pytest.mark.parametrize("program", PINNED)
def test_a_store_trusts_us_whatever_roots_the_program_gives_it(server, program, tmp_path):
    need(program)
    pin = tmp_path / "pin.pem"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=another CA", "-keyout", tmp_path / "key", "-out", pin)
    argv = [word.format(pin=pin, url=f"https://{HOST}/", host=HOST) for word in PINNED[program]]
    root = server.dir / "ca.pem"

    def ask(**more):
        server.seen.clear()
        done = subprocess.run(argv, env=environment(server, SIDEKEY_PRELOAD_CA="", **more), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert (HOST, 443) in server.seen, done
        return done
    without = ask()
    assert f"{HOST}:443" not in without.stdout, "the pinned root does not know us"
    off = ask(SIDEKEY_PRELOAD_ROOT=root, SIDEKEY_PRELOAD_DISABLE="X509_STORE_new,gnutls_certificate_allocate_credentials,gnutls_x509_trust_list_add_trust_file")
    assert off.returncode == without.returncode
    done = ask(SIDEKEY_PRELOAD_ROOT=root)
    if program == "git":  # the answer is no repository, but it was read
        assert "certificate" not in done.stderr.lower(), done
    else:
        assert f"{HOST}:443" in done.stdout, done


def test_the_error_queue_of_openssl_stays_clean(server, tmp_path):
    """Two libraries that were loaded for one object alone; a bundle that is missing, empty, or not PEM changes nothing."""
    code = r"""
        #include <dlfcn.h>
        #include <stdio.h>
        #define F(type, name) type (*name)() = (type (*)())dlsym(ssl, #name)
        int main(void)
        {
            void *ssl = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
            if (!ssl || dlsym(RTLD_DEFAULT, "SSL_CTX_new")) return 2;
            F(void *, TLS_client_method); F(void *, SSL_CTX_new); F(void *, SSL_CTX_get_cert_store); F(void *, X509_STORE_get0_objects);
            F(int, OPENSSL_sk_num); F(unsigned long, ERR_peek_error); F(void, SSL_CTX_free);
            if (dlerror()) return 3;
            for (int i = 0; i < 3; i++) {
                void *context = SSL_CTX_new(TLS_client_method());
                printf("%d %lu ", OPENSSL_sk_num(X509_STORE_get0_objects(SSL_CTX_get_cert_store(context))), ERR_peek_error());
                SSL_CTX_free(context);
            }
            printf("%s\n", dlerror() ? "dlerror" : "clean");
            return 0;
        }
    """
    (tmp_path / "store.c").write_text(code)
    run("cc", "-w", "-o", tmp_path / "store", tmp_path / "store.c", "-ldl")
    (tmp_path / "empty").write_text("")
    (tmp_path / "text").write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    (tmp_path / "two").write_text((server.dir / "ca.pem").read_text() + (server.dir / "leaf.pem").read_text())
    for path, count in ((server.dir / "ca.pem", 1), (tmp_path / "two", 2), (tmp_path / "empty", 0), (tmp_path / "text", 0), (tmp_path / "none", 0)):
        assert go(server, tmp_path / "store", SIDEKEY_PRELOAD_ROOT=path) == f"{count} 0 " * 3 + "clean\n", path


# --- other objects in the process ---

def test_a_library_loaded_with_deepbind_is_covered(server, clients):
    build("cc", server.dir / "libdeep.so", "-shared", "-fPIC", "-DAS_LIBRARY")
    escaped = go(server, clients["glibc"], "deepbind", HOST, server.dir / "libdeep.so", expect=2, SIDEKEY_PRELOAD_DISABLE="dlopen")
    assert escaped.startswith("getaddrinfo -")  # or this test would prove nothing
    assert go(server, clients["glibc"], "deepbind", HOST, server.dir / "libdeep.so") == f"{HOST}:443\n"


def test_a_constructor_that_runs_before_ours_is_covered(server, clients):
    early = build("cc", server.dir / "libearly.so", "-shared", "-fPIC", "-DAS_LIBRARY", "-DAT_START")
    out = go(server, clients["glibc"], "blocking", HOST, 443, LD_PRELOAD=f"{LIB}:{early}", EARLY_HOST="early.example.test")
    assert out == f"early.example.test:443\n{HOST}:443\n"


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_a_sanitized_program_has_nothing_to_say_about_us(server, sanitizer):
    options = {"ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}  # gcc wants libasan to be first of all
    try:
        client = build("gcc", server.dir / f"client-{sanitizer}", f"-fsanitize={sanitizer}")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no gcc with -fsanitize={sanitizer}")
    if b"FATAL" in subprocess.run([client, "names", "localhost", "443"], env=options, capture_output=True, check=False).stderr:
        pytest.skip(f"-fsanitize={sanitizer} does not run on this kernel")
    assert go(server, client, "threads", HOST, 443, **options) == "done\n"


# --- real programs, with nothing but the library ---

def need(program):
    found = "/usr/bin/" + program if os.path.exists("/usr/bin/" + program) else shutil.which(program)
    if not found:
        pytest.skip(f"{program} is not installed")
    return found


def test_curl(server):
    curl = need("curl")
    assert go(server, curl, "-sS", f"https://{HOST}/") == f"{HOST}:443"
    assert go(server, curl, "-sS", f"http://{HOST}/") == f"{HOST}:80"
    assert go(server, curl, "-sS", f"https://{LITERAL}/") == f"{LITERAL}:443"
    assert go(server, curl, "-sS", "-6", "-k", "https://[2001:db8::7]/") == "2001:db8::7:443"
    assert go(server, curl, "-sS", "--tcp-fastopen", f"https://{HOST}/") == f"{HOST}:443"
    assert go(server, curl, "-sS", "-w", "%{remote_ip}", "-o", "/dev/null", f"https://{HOST}/").startswith("198.1")


def test_curl_does_not_trust_us_without_the_bundle(server):
    p = subprocess.run([need("curl"), "-sS", f"https://{HOST}/"], env=environment(server, SIDEKEY_PRELOAD_CA=""), capture_output=True, text=True)
    assert p.returncode == 60, p.stderr


def test_wget(server):
    assert go(server, need("wget"), "-q", "-O", "-", f"https://{HOST}/") == f"{HOST}:443"


PYTHON = f"""
import asyncio, os, ssl, sys, urllib.request
url = "https://{HOST}/"
print(urllib.request.urlopen(url).read().decode())
async def main():
    r, w = await asyncio.open_connection("{HOST}", 443, ssl=ssl.create_default_context())
    w.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print((await r.read()).split(b"\\r\\n\\r\\n")[1].decode())
    print(w.get_extra_info("peername")[0][:4])
asyncio.run(main())
sys.stdout.flush()
os.environ.clear()
os.system("/usr/bin/python3 -c 'import urllib.request; print(urllib.request.urlopen(\\"" + url + "\\").read().decode())'")
"""


def test_python(server):
    assert go(server, need("python3"), "-c", PYTHON) == f"{HOST}:443\n{HOST}:443\n198.\n{HOST}:443\n"


NODE = """
const https = require('https'), { execFileSync } = require('child_process');
const get = url => new Promise((ok, no) => https.get(url, r => { let t = ''; r.on('data', d => t += d); r.on('end', () => ok(t)); }).on('error', no));
Promise.all([1, 2, 3].map(n => get(`https://host-${n}.example.test/`))).then(async all => {
    console.log(all.join(' '));
    if (globalThis.fetch) console.log(await (await fetch('https://api.example.test/')).text());
});
"""


def test_node(server):
    out = go(server, need("node"), "-e", NODE, NODE_EXTRA_CA_CERTS=server.dir / "ca.pem")
    assert out.splitlines()[0] == " ".join(f"host-{n}.example.test:443" for n in (1, 2, 3))
    assert out.splitlines()[1:] in ([], [f"{HOST}:443"])


JAVA = """
import java.net.*;
import java.net.http.*;
import javax.net.ssl.HttpsURLConnection;

public class Main {
    public static void main(String[] args) throws Exception {
        var c = (HttpsURLConnection) java.net.URI.create(args[0]).toURL().openConnection();
        System.out.println(new String(c.getInputStream().readAllBytes()));
        var client = HttpClient.newHttpClient();
        var answer = client.send(HttpRequest.newBuilder(URI.create(args[0])).build(), HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.body());
    }
}
"""


def test_java(server):
    java, keytool = need("java"), need("keytool")
    store = server.dir / "trust.jks"
    run(keytool, "-importcert", "-noprompt", "-alias", "ca", "-storetype", "JKS", "-keystore", store,
            "-storepass", "changeit", "-file", server.dir / "ca.pem")
    source = server.dir / "Main.java"
    source.write_text(JAVA)
    # Without any property: the JVM's own cacerts is read from our store.
    out = go(server, java, source, f"https://{HOST}/", SIDEKEY_PRELOAD_JKS=store)
    assert out == f"{HOST}:443\n" * 2
    go(server, java, source, f"https://{HOST}/", expect=1, quiet=False)


def test_programs_that_do_not_connect_behave_as_ever(server, tmp_path):
    for argv in (["ls", "/"], ["sh", "-c", "cat /etc/ssl/certs/ca-certificates.crt | head -1; (exit 3); echo $?"], ["sort", "/dev/null"],
                 ["python3", "-c", "import socket, sys; s = socket.socketpair(); s[0].send(b'x'); print(s[1].recv(1), s[0].getpeername())"]):
        go(server, *argv)


@pytest.mark.serial
@pytest.mark.release
def test_a_connect_costs_little_more_than_without_us(tmp_path):
    """tests/bench/connect.py has the target; the test allows half as much again."""
    sys.path.append(str(TOP / "tests/bench"))
    import connect
    us = connect.medians(tmp_path)
    print(us)
    assert max(us["address"], us["name"]) - us["plain"] < 1.5 * connect.TARGET_US, us


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_connect_makes_no_system_call_for_a_page_of_the_table_that_is_there(server, clients):
    program = server.dir / "connects"
    run(*os.environ.get("CC", "cc").split(), "-D_GNU_SOURCE", "-w", "-o", program, TOP / "tests/bench/connect.c")
    counted = []
    for times in (1, 100):
        traced = ["strace", "-f", "-o", server.dir / "calls", "-e", "trace=madvise", "-E", f"LD_PRELOAD={LIB}", program, LITERAL, "443", times]
        go(server, *traced, LD_PRELOAD="")
        counted.append((server.dir / "calls").read_text().count("madvise("))
    assert counted[0] == counted[1] > 0, counted
