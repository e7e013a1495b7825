#!/usr/bin/env python3
"""Draws the pictures of the README from texts:   draw.py [--check]

demo.svg     what `make demo` prints (docs/pictures/demo.txt, one run of it)
pod.svg      who sees which secret, port and volume in a pod
callers.svg  fifty callers at one expiry (docs/pictures/callers.txt, written by tests/bench/callers.py)
--check: draws nothing, fails when a picture is not what would be drawn."""
import html
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"
SANS = "system-ui,-apple-system,Segoe UI,Roboto,sans-serif"


def svg(width, height, body, label):
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{html.escape(label)}">\n' + "\n".join(body) + "\n</svg>\n"


def text(x, y, words, size=14, fill="#1f2328", anchor="start", family=SANS, weight="normal"):
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" font-family="{family}" font-weight="{weight}" xml:space="preserve">{html.escape(words)}</text>'


def box(x, y, w, h, fill, stroke="#57606a", radius=8, dash=""):
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{radius}" fill="{fill}" stroke="{stroke}"{" stroke-dasharray=" + chr(34) + dash + chr(34) if dash else ""}/>'


def demo():
    lines = (HERE / "demo.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    width, line_height = 960, 19
    height = 56 + line_height * len(lines)
    body = [box(0.5, 0.5, width - 1, height - 1, "#0d1117", "#30363d", 10)]
    body += [f'<circle cx="{22 + 20 * i}" cy="20" r="6" fill="{c}"/>' for i, c in enumerate(("#ff5f57", "#febc2e", "#28c840"))]
    body.append(text(width / 2, 25, "$ make demo", 13, "#8b949e", "middle", MONO))
    for i, line in enumerate(lines):
        tick, numbered = line.strip().startswith("✔"), line[:1].isdigit()
        colour = "#7ee787" if tick else "#79c0ff" if numbered else "#c9d1d9"
        body.append(text(20, 54 + i * line_height, line, 13, colour, family=MONO))
    return svg(width, height, body, "What make demo prints: one token request for fifty calls, a revoked token replaced, processes killed, nothing lost")


def arrow(x1, y1, x2, y2, words, above=True, colour="#1f2328"):
    return [f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="1.6" marker-end="url(#tip)"/>',
            text((x1 + x2) / 2, (y1 + y2) / 2 + (-8 if above else 18), words, 12, colour, "middle")]


def pod():
    body = ['<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#1f2328"/></marker></defs>',
            box(0.5, 0.5, 939, 399, "#ffffff", "#d0d7de"),
            box(20, 44, 600, 330, "#f6f8fa", "#57606a", 10, "6 4"), text(36, 34, "pod", 13, "#57606a"),
            box(44, 90, 170, 130, "#ddf4ff"), text(129, 118, "app", 16, anchor="middle", weight="600"), text(129, 142, "unchanged image", 12, "#57606a", "middle"),
            text(129, 166, "holds: placeholder", 12, anchor="middle"), text(129, 186, "HTTPS_PROXY, CA file", 12, anchor="middle"),
            box(330, 70, 270, 290, "#fff8c5"), text(465, 96, "sidekey (native sidecar)", 15, anchor="middle", weight="600"),
            box(350, 112, 230, 84, "#ffffff"), text(465, 134, "worker", 14, anchor="middle", weight="600"), text(465, 154, "holds: access tokens", 12, anchor="middle"),
            text(465, 174, "parses the network; 127.0.0.1:8118", 12, "#57606a", "middle"),
            box(350, 236, 230, 108, "#ffffff"), text(465, 258, "keeper", 14, anchor="middle", weight="600"), text(465, 278, "holds: refresh token, client secret,", 12, anchor="middle"),
            text(465, 295, "seal key, CA key", 12, anchor="middle"), text(465, 318, "never parses a client's bytes", 12, "#57606a", "middle"),
            '<line x1="465" y1="196" x2="465" y2="234" stroke="#1f2328" stroke-width="1.6" marker-end="url(#tip)"/>', text(474, 220, "typed messages", 11, "#57606a"),
            box(36, 270, 278, 90, "#ffffff"), text(175, 292, "volumes", 13, anchor="middle", weight="600"), text(48, 312, "CA (memory): app reads, sidecar writes", 11),
            text(48, 330, "Secret, state: mounted by the sidecar alone", 11), text(48, 348, "state: journal and CA, sealed", 11),
            box(720, 76, 190, 60, "#dafbe1"), text(815, 100, "API", 15, anchor="middle", weight="600"), text(815, 120, "sees the real token", 12, "#57606a", "middle"),
            box(720, 196, 190, 60, "#dafbe1"), text(815, 220, "token endpoint", 15, anchor="middle", weight="600"), text(815, 240, "one request each expiry", 12, "#57606a", "middle"),
            box(720, 300, 190, 60, "#dafbe1"), text(815, 324, "Redis", 15, anchor="middle", weight="600"), text(815, 344, "sealed state, lease", 12, "#57606a", "middle")]
    body += arrow(214, 150, 348, 150, "placeholder") + arrow(582, 140, 718, 112, "token") + arrow(582, 280, 718, 232, "refresh") + arrow(582, 316, 718, 328, "", False)
    body.append(text(465, 394, "admin :9118 for kubelet and Prometheus", 12, "#57606a", "middle"))
    return svg(940, 400, body, "A pod: the app holds a placeholder, the worker access tokens, the keeper refresh tokens and keys")


def callers():
    rows = [line.split("\t") for line in (HERE / "callers.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    most = max(int(count) for _, count, _ in rows)
    body = [box(0.5, 0.5, 719, 59 + 56 * len(rows), "#ffffff", "#d0d7de"), text(20, 30, "Fifty callers, one expiry, a token that rotates: token requests sent", 15, weight="600")]
    for i, (name, count, note) in enumerate(rows):
        y = 52 + 56 * i
        width = max(3, 330 * int(count) / most)
        good = "one" in note or int(count) == 1
        body += [text(20, y + 20, name, 13), box(240, y + 4, width, 24, "#2da44e" if good else "#cf222e", "none", 3), text(250 + width, y + 21, count, 13, weight="600"), text(240, y + 44, note, 11, "#57606a")]
    return svg(720, 60 + 56 * len(rows), body, "Token requests at one expiry, with and without sidekey")


def main():
    stale = []
    for name, draw in (("demo", demo), ("pod", pod), ("callers", callers)):
        path, drawn = HERE / f"{name}.svg", draw()
        if "--check" not in sys.argv:
            path.write_text(drawn, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != drawn:
            stale.append(path.name)
    if stale:
        sys.exit(f"draw.py: not what would be drawn: {', '.join(stale)}")


if __name__ == "__main__":
    main()
