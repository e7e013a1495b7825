#!/usr/bin/env python3
"""The house rules that a script can check (docs/architecture.md): who includes whom, which room may know which library, sizes, guards.

Prints each break as FILE:LINE: what, and a warning for what is only long.  Exit status 1 when a rule is broken.
"""
import pathlib
import re
import sys

FLOOR = {"base": 0, "net": 1, "http": 1, "crypto": 1, "certs": 1, "refresh": 2, "proxy": 2, "app": 3}
# A library's headers, and the folders (or files) that may include them.
LIBRARIES = [
    ("OpenSSL", r"openssl/", ("sidecar/net/tls", "sidecar/crypto", "certs")),
    ("llhttp", r"llhttp(\.h|/)", ("sidecar/http",)),
    ("nghttp2", r"nghttp2/", ("sidecar/http",)),
    ("libcurl", r"curl/", ("sidecar/refresh/fetch",)),
    ("hiredis", r"hiredis/|hiredis\.h", ("sidecar/refresh/redis",)),
    ("c-ares", r"ares", ("sidecar/net/dial",)),
    ("libyaml", r"yaml\.h", ("sidecar/app/config",)),
    ("jansson", r"jansson\.h", ("sidecar/refresh", "sidecar/app", "sidecar/http", "sidecar/proxy", "sidecar/base/json_safe.c", "sidecar/base/json_safe.h")),
    ("zlib", r"zlib\.h", ("sidecar/refresh/grant",)),
    ("libev", r"ev\.h", ("sidecar/net", "sidecar/proxy", "sidecar/refresh", "sidecar/app")),
]
# A wing inside a floor, and the wings of that floor that it may include beside itself and the floor's own files.  Left out: any of them.
WINGS = {
    "sidecar/net/ipc": (),
    "sidecar/net/tls": (),
    "sidecar/net/dial": ("sidecar/net/tls",),
    "sidecar/refresh/grant": (),
    "sidecar/refresh/store": (),
    "sidecar/refresh/redis": ("sidecar/refresh/store",),
    "sidecar/refresh/fetch": ("sidecar/refresh/grant",),
    "sidecar/refresh/flight": ("sidecar/refresh/grant", "sidecar/refresh/store", "sidecar/refresh/fetch"),
    "sidecar/refresh/login": ("sidecar/refresh/grant", "sidecar/refresh/store", "sidecar/refresh/fetch", "sidecar/refresh/flight"),
    "sidecar/app/config": (),
}
# Who may include the flight: its own wing, and the account.
FLIGHT, FLIGHT_USERS = "sidecar/refresh/flight", ("sidecar/refresh/flight", "sidecar/refresh/account", "sidecar/refresh/login")
# Files that call each other in circles are one family, and a family is at most so large.
FAMILY = 4
C_LINES = 500
FUNCTION_LINES = 60
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^">]+)[">]')


def room_of(path):
    parts = path.split("/")
    return parts[1] if parts[0] == "sidecar" and len(parts) > 2 else parts[0] if parts[0] in ("certs", "preload") else None


def wing_of(path):
    """The folder inside a floor's folder: sidecar/refresh/store.  None for the floor's own files."""
    parts = path.split("/")
    return "/".join(parts[:3]) if parts[0] == "sidecar" and len(parts) == 4 else None


def inside(path, place):
    return path == place or path.startswith(place + "/")


def wing_fault(path, target):
    here, there = wing_of(path), wing_of(target)
    if there == FLIGHT and room_of(path) == "refresh" and not any(inside(path, u) or path.startswith(u + ".") for u in FLIGHT_USERS):
        return f"only {' and '.join(FLIGHT_USERS)} include {FLIGHT}"
    if here in WINGS and there not in (None, here) and room_of(target) == room_of(path) and there not in WINGS[here]:
        return f"{here} does not include {there}"
    return None


def module_of(path, families):
    """A module is one .h and one .c.  One that has outgrown a screenful is a family: X_private.h (or X_room.h) and every X_*.[ch] are X."""
    stem = re.sub(r"\.[ch]$", "", path)
    return next((f for f in families if stem == f or stem.startswith(f + "_")), stem)


def families_of(files):
    """Longest first, so that the nearest family wins."""
    return sorted({m[1] for m in (re.match(r"(.*)_(?:private|room)\.h$", f) for f in files) if m}, key=len, reverse=True)


def resolve(root, name):
    for at in (f"sidecar/{name}", name):
        if (root / at).is_file():
            return at
    return None


def functions(lines):
    """(first line, name, length) of each function: house style opens its body with "{" in the first column."""
    start, name = None, "?"
    for n, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = n
            for back in range(n - 2, max(n - 8, -1), -1):
                found = re.match(r"^[A-Za-z_].*?(\w+)\(", lines[back])
                if found:
                    name, start = found[1], back + 1
                    break
        elif line.startswith("}") and start:
            yield start, name, n - start + 1
            start = None


def bare_prototypes(text):
    """(line, name) of each prototype without a comment: none above it, nor above those that it stands with, nor on its own lines."""
    lines, said, n = text.splitlines(), False, 0
    while n < len(lines):
        start, line = n, lines[n].strip()
        if not line:
            said = False
        elif line.startswith("/*"):
            while "*/" not in lines[n]:
                n += 1
            said = True
        elif line.startswith("#"):
            while lines[n].endswith("\\"):
                n += 1
        else:
            depth = 0
            while True:
                code = re.sub(r"/\*.*?(\*/|$)", "", lines[n])
                depth += code.count("{") - code.count("}")
                if depth == 0 and re.search(r"[;}]\s*\\?$", code) or n + 1 == len(lines):
                    break
                n += 1
            whole = "\n".join(lines[start:n + 1])
            name = re.match(r"(?!typedef|static|enum \w+ \{|struct \w+ \{|_Static_assert)[\w\s*]*?\b(\w+)\(", re.sub(r"/\*.*?\*/|__attribute__\(\(.*?\)\)", "", whole))
            if name and not said and "/*" not in whole:
                yield start + 1, name[1]
            said = said and "{" not in whole
        n += 1


def stem_of(path):
    """What the names of a header begin with: its file's name, the family's for a private header."""
    return pathlib.PurePosixPath(path).stem.removesuffix("_private")


def strangers(headers, sources):
    """(path, line, what) of each function of a header that is named neither after it nor after the .c file that has it: dial_start() and dialer_new()
    are of dial.h, leaf_new() is not.  Nor may it look like one of another header: fetch_url_host() in grant.h."""
    shared = {stem_of(path) for path in headers if not path.endswith("_private.h")}
    home = {name: stem_of(path) for path, text in sources.items() for _, name, _ in functions(text.splitlines())}
    for path, text in headers.items():
        stem = stem_of(path)
        plain = re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), text, flags=re.S)
        plain = re.sub(r"__attribute__\(\(.*?\)\)|\\\n", lambda found: "\n" * found[0].count("\n"), plain)
        for found in re.finditer(r"^(?!typedef|#|\s|_Static_assert)[\w *]*?\b(\w+)\([^;{]*\)\s*[;{]", plain, re.M):
            name, line = found[1], plain.count("\n", 0, found.start()) + 1
            own = [s for s in (stem, home.get(name, stem)) if name.startswith(s.removesuffix("s"))]
            other = max((s for s in shared if name == s or name.startswith(f"{s}_")), key=len, default="")
            if not own:
                yield path, line, f"{name}() should begin with the name of its file, {stem}"
            elif len(other) > max(map(len, own)) and not other.startswith(f"{stem}_"):
                yield path, line, f"{name}() has the name of {other}.h"


def crowded(text):
    """The lines where an expression has a second "?:".  Arguments, and members in braces, are expressions of their own; what is in brackets belongs to its expression."""
    blank = lambda found: re.sub(r"[^\n]", " ", found[0])
    line, word, last, stack = 1, "", "", [[0, 0, ""]]  # each: "?:" since the last comma, the most before that, the bracket
    for c in re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", blank, text, flags=re.S):
        if c.isalnum() or c == "_":
            word += c
            continue
        before_it, word = word or last, ""
        last = before_it if c.isspace() else ""
        if c == "\n":
            line += 1
        elif c == "?":
            stack[-1][0] += 1
            if stack[-1][0] == 2:
                yield line
        elif c in "([{":
            stack.append([0, 0, "statement" if c == "(" and before_it in ("if", "while", "for", "switch") else c])
        elif c in ")]}" and len(stack) > 1:
            count, most, bracket = stack.pop()
            before = stack[-1][0]
            if bracket in ("(", "["):
                stack[-1][0] += max(count, most)
            if before < 2 <= stack[-1][0] and max(count, most) < 2:
                yield line
            if c == "}":
                stack[-1][0] = 0
        elif c in ",;":
            stack[-1][0:2] = [0, max(stack[-1][0:2])]


def circle(graph, part):
    """One shortest way round through the first module of the part."""
    start, queue = part[0], [[part[0]]]
    while queue:
        way = queue.pop(0)
        for w in sorted(graph.get(way[-1], ())):
            if w == start:
                return " -> ".join([*way, start])
            if w in part and w not in way:
                queue.append([*way, w])
    return " ".join(part)


def cycles(graph):
    """Strongly connected parts with more than one module (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in graph.get(v, ()):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in stack:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            part = []
            while True:
                part.append(stack.pop())
                if part[-1] == v:
                    break
            if len(part) > 1:
                found.append(sorted(part))

    sys.setrecursionlimit(10_000)
    for v in sorted(graph):
        if v not in index:
            visit(v)
    return found


def call_graph(root, files):
    """{file: the files whose functions it names}, over the .c files.  Functions that are called through a table are no edge."""
    code = {f: (root / f).read_text(encoding="utf-8") for f in files if f.endswith(".c")}
    home, named = {}, {}
    for f, text in code.items():
        lines = text.splitlines()
        for start, name, _ in functions(lines):
            if not any(line.startswith("static") for line in lines[max(0, start - 2):start]):
                home.setdefault(name, f)
        named[f] = set(re.findall(r"[a-z_]\w+", re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', " ", text, flags=re.S)))
    return {f: {home[word] for word in words if word in home} - {f} for f, words in named.items()}


def check_includes(root, path, lines, graph, families, complain):
    room = room_of(path)
    for n, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        quote, name = found.groups()
        for library, headers, where in LIBRARIES:
            if quote == "<" and re.match(headers, name) and room != "preload" and not any(inside(path, w) for w in where):
                complain(path, n, f"only {', '.join(where)} may include {library} ({name})")
        if quote == "<":
            if room == "preload" and "/" in name and not name.startswith(("sys/", "linux/", "netinet/", "arpa/", "asm/", "net/", "bits/")):
                complain(path, n, f"preload knows libc only ({name})")
            continue
        target = resolve(root, name) or resolve(root, str(pathlib.PurePosixPath(path).parent / name))
        if not target:
            complain(path, n, f'"{name}" is neither below sidecar/ nor below the top')
            continue
        here, there = module_of(path, families), module_of(target, families)
        graph.setdefault(here, set()).update({there} - {here})
        if fault := wing_fault(path, target):
            complain(path, n, fault)
        other = room_of(target)
        if room == "preload" and other != "preload":
            complain(path, n, "preload stands alone")
        elif room in FLOOR and other in FLOOR:
            if FLOOR[other] > FLOOR[room]:
                complain(path, n, f"{room} (floor {FLOOR[room]}) includes {other} (floor {FLOOR[other]})")
            elif FLOOR[other] == FLOOR[room] == 2 and other != room:
                complain(path, n, f"{room} and {other} never include each other: the only door is a message")


def check_shape(path, lines, complain, warn):
    if path.endswith(".h"):
        guard = "SIDEKEY_" + re.sub(r"\W", "_", path.removeprefix("sidecar/")).upper()
        text = "\n".join(lines)
        if f"#ifndef {guard}\n#define {guard}" not in text and "#pragma once" not in text:
            complain(path, 1, f"the guard should be {guard}")
        for line, name in bare_prototypes(text):
            complain(path, line, f"{name}() has no comment: what it does, units, who owns what, what fails")
        return
    if len(lines) > C_LINES:
        complain(path, len(lines), f"{len(lines)} lines; a module has {C_LINES} at most: more than one room?")
    for start, name, length in functions(lines):
        if length > FUNCTION_LINES:
            warn(path, start, f"{name}() has {length} lines; one screen is {FUNCTION_LINES}")


def check(root):
    broken, warned, graph = [], [], {}
    complain = lambda path, line, what: broken.append(f"{path}:{line}: {what}")
    warn = lambda path, line, what: warned.append(f"{path}:{line}: warning: {what}")
    files = sorted(str(p.relative_to(root)) for top in ("sidecar", "certs", "preload") for p in (root / top).rglob("*.[ch]"))
    families = families_of(files)
    for path in files:
        lines = (root / path).read_text(encoding="utf-8").splitlines()
        check_includes(root, path, lines, graph, families, complain)
        check_shape(path, lines, complain, warn)
        for line in crowded("\n".join(lines)):
            complain(path, line, "more than one ?: in an expression")
    texts = {f: (root / f).read_text(encoding="utf-8") for f in files}
    for path, line, what in strangers(*({f: text for f, text in texts.items() if f.endswith(end)} for end in (".h", ".c"))):
        complain(path, line, what)
    names = [stem_of(f) for f in files if f.endswith(".h")]
    broken += [f"{name}.h: two modules have this name" for name in sorted({n for n in names if names.count(n) > 1 and not any(f.endswith(f"/{n}_private.h") for f in files)})]
    for part in cycles(graph):
        broken.append(f"{part[0]}: {len(part)} modules include each other in a circle: {circle(graph, part)}")
    families = cycles(call_graph(root, files))
    for part in families:
        if len(part) > FAMILY:
            broken.append(f"{part[0]}: {len(part)} files call each other in circles, {FAMILY} may: {' '.join(part)}")
    worst = max(families, key=len, default=[])
    return broken, warned, files, worst


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    root = root if root.is_dir() else root.parents[2]
    broken, warned, files, worst = check(root)
    print("\n".join(warned + broken + [f"floors: {len(files)} files, {len(broken)} rules broken, {len(warned)} warnings; at most {len(worst)} files call in circles"]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
