"""arm64: built by a cross compiler in a bare Debian and run under qemu-user: the program, the unit tests that need no other programs, the preload library."""
import os
import shutil

import harness
import pytest
from bare_debian import debian, inside  # noqa: F401  debian is a fixture
from harness import ROOT, run

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root"), pytest.mark.skipif(harness.SANITIZED, reason="judges the release build"), pytest.mark.world,
              pytest.mark.seconds(3000)]

LIBRARIES = ["libev-dev", "libssl-dev", "libcurl4-openssl-dev", "libhiredis-dev", "libjansson-dev", "zlib1g-dev", "libc-ares-dev", "libyaml-dev", "libnghttp2-dev", "libcmocka-dev"]
PACKAGES = ["make", "bash", "pkgconf", "gcc-aarch64-linux-gnu", "binutils-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static", "node-llhttp", "ca-certificates",
            *(f"{name}:arm64" for name in LIBRARIES)]
CROSS = "make -s -j2 CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar PKG_CONFIG=aarch64-linux-gnu-pkg-config MAKELEVEL=1"
QEMU = "qemu-aarch64-static"
# light ones: under qemu the others take minutes
UNIT = [f"test_{name}" for name in ("account", "authority", "buf", "inject", "message", "preload_decide", "rule", "rules", "schedule", "tree", "units", "websocket")]
CLIENT = """#include <stdio.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <string.h>
int main(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(443) };
    to.sin_addr.s_addr = htonl(0x0a090807);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    printf("%d\\n", connect(fd, (struct sockaddr *)&to, sizeof to));
    puts("ended by itself");
    return 0;
}
"""


def must(done):
    assert done.returncode == 0, (done.stdout[-2500:], done.stderr[-2500:])
    return done.stdout.decode()


def test_the_arm64_build_runs(debian, place):  # noqa: F811
    root = debian("bookworm")
    must(inside(root, "sh", "-ec", f"dpkg --add-architecture arm64; apt-get update -q; apt-get install -yq --no-install-recommends {' '.join(PACKAGES)}", seconds=1500))
    done = run(["git", "clone", "-q", "--no-hardlinks", ROOT, root / "src"])
    assert done.returncode == 0, done.stderr
    shutil.rmtree(root / "src/.git")
    programs = " ".join(f"build/tests/unit/{name}" for name in UNIT)
    must(inside(root, "sh", "-ec", f"cd /src; {CROSS} all {programs}", seconds=1500))

    assert "libcurl/" in must(inside(root, QEMU, "/src/build/sidekey", "version", "--verbose"))
    (root / "tmp/sidekey.yaml").write_text("listen: {proxy: '127.0.0.1:0', admin: 'off'}\nca: {publish: /tmp/ca}\nstore: {file: /tmp/state}\nrules: []\n")
    serve = f"mkdir -m 700 /tmp/ca /tmp/state; {QEMU} /src/build/sidekey serve -c /tmp/sidekey.yaml 2>/tmp/err & pid=$!; for i in $(seq 600); do grep -q ^ready /tmp/err && break; kill -0 $pid || break; sleep 0.1; done; kill $pid; wait $pid; status=$?; cat /tmp/err; exit $status"
    assert "ready proxy=" in must(inside(root, "sh", "-c", serve, seconds=180))

    for name in UNIT:
        must(inside(root, "sh", "-c", f"cd /src; exec {QEMU} build/tests/unit/{name}", seconds=600))

    (root / "src/client.c").write_text(CLIENT)
    must(inside(root, "sh", "-ec", "cd /src; aarch64-linux-gnu-gcc -o client client.c"))
    done = inside(root, "sh", "-c", f"cd /src; {QEMU} -E LD_PRELOAD=/src/build/libsidekey-preload.so ./client")
    assert "ended by itself" in must(done) and b"ld.so" not in done.stderr, done
    assert "aarch64" in must(inside(root, "aarch64-linux-gnu-readelf", "-h", "/src/build/libsidekey-preload.so")).lower()
