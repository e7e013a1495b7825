"""HTTP/2 frames and HPACK by hand (RFC 9113 §4, RFC 7541): to send what no library would, and to see what is really sent."""
import collections
import contextlib
import socket
import ssl

import harness
import wire
from harness import API

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 16
ACK = END_STREAM = 1
END_HEADERS, PADDED, HAS_PRIORITY = 4, 8, 32
WHOLE = END_HEADERS | END_STREAM
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM",
         "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]
MOST = 2**31 - 1  # of a window

Frame = collections.namedtuple("Frame", "kind flags stream payload")
Field = collections.namedtuple("Field", "name value how")  # how: indexed, kept, plain, never (RFC 7541 §6)


# --- frames ----------------------------------------------------------------------------------------------------------------------------------


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """length: what the head says, when it lies."""
    return (len(payload) if length is None else length).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def u32(n):
    return n.to_bytes(4, "big")


def settings(*pairs, flags=0):
    return frame(SETTINGS, flags, 0, b"".join(key.to_bytes(2, "big") + u32(value) for key, value in pairs))


def reset(stream, code=8):
    return frame(RST_STREAM, 0, stream, u32(code))


def credit(stream, n):
    return frame(WINDOW_UPDATE, 0, stream, u32(n))


def goaway(last, code=0):
    return frame(GOAWAY, 0, 0, u32(last) + u32(code))


# --- HPACK -----------------------------------------------------------------------------------------------------------------------------------


def integer(n, bits, first=0):
    """RFC 7541 §5.1."""
    most = (1 << bits) - 1
    if n < most:
        return bytes((first | n,))
    out, n = bytes((first | most,)), n - most
    while n >= 128:
        out, n = out + bytes((n % 128 | 128,)), n // 128
    return out + bytes((n,))


def text(value):
    value = value if isinstance(value, bytes) else value.encode("latin-1")
    return integer(len(value), 7) + value


def field(name, value, never=False):
    """Neither indexed nor from a table (RFC 7541 §6.2.2, §6.2.3)."""
    return (b"\x10" if never else b"\0") + text(name) + text(value)


def block(fields):
    return b"".join(field(*one) for one in fields)


STATIC = [line.partition("=")[::2] for line in (
    ":authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https :status=200 :status=204 :status=206 :status=304 :status=400 "
    ":status=404 :status=500 accept-charset accept-encoding=gzip,+deflate accept-language accept-ranges accept access-control-allow-origin age allow "
    "authorization cache-control content-disposition content-encoding content-language content-length content-location content-range content-type cookie "
    "date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link location max-forwards "
    "proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary "
    "via www-authenticate").replace("+", "\0").split(" ")]
STATIC = [(name, value.replace("\0", " ")) for name, value in STATIC]

# RFC 7541 appendix B, as far as it has the characters of these tests: the code is canonical, so its lengths say all.
HUFFMAN = {}
BY_LENGTH = {5: "012aceiost", 6: " %-./3456789=A_bdfghlmnpru", 7: ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", 8: "&*,;XZ", 10: '!"()?', 11: "'+|", 12: "#>",
             13: "\0$@[]~", 14: "^}", 15: "<`{"}


def number_codes():
    code, last = 0, 0
    for length, symbols in BY_LENGTH.items():
        code, last = code << (length - last), length
        for symbol in symbols:
            HUFFMAN[length, code] = symbol
            code += 1


number_codes()


def unpack(data):
    out, code, length = "", 0, 0
    for byte in data:
        for at in range(7, -1, -1):
            code, length = code << 1 | byte >> at & 1, length + 1
            if (length, code) in HUFFMAN:
                out, code, length = out + HUFFMAN[length, code], 0, 0
    assert length < 8 and code == (1 << length) - 1, "the padding is not of ones, or the character is not known here"
    return out


class Hpack:
    """What one end has sent, field by field, with how it was written."""

    def __init__(self):
        self.table, self.data, self.at = [], b"", 0

    def integer(self, bits):
        most = (1 << bits) - 1
        n = self.data[self.at] & most
        self.at += 1
        shift = 0
        while n >= most:
            byte = self.data[self.at]
            self.at += 1
            n += (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        return n

    def text(self):
        packed = self.data[self.at] & 128
        length = self.integer(7)
        piece = self.data[self.at:self.at + length]
        self.at += length
        return unpack(piece) if packed else piece.decode("latin-1")

    def entry(self, index):
        return STATIC[index - 1] if index <= len(STATIC) else self.table[index - len(STATIC) - 1]

    def literal(self, bits, how):
        index = self.integer(bits)
        name = self.entry(index)[0] if index else self.text()
        return Field(name, self.text(), how)

    def keep(self, one):
        self.table.insert(0, (one.name, one.value))
        while sum(len(name) + len(value) + 32 for name, value in self.table) > 4096:
            self.table.pop()
        return one

    def decode(self, data):
        self.data, self.at, fields = data, 0, []
        while self.at < len(data):
            first = data[self.at]
            if first & 0x80:
                fields.append(Field(*self.entry(self.integer(7)), "indexed"))
            elif first & 0x40:
                fields.append(self.keep(self.literal(6, "kept")))
            elif first & 0x20:
                self.integer(5)  # a size of the table
            else:
                fields.append(self.literal(4, "never" if first & 0x10 else "plain"))
        return fields


# --- one end of a connection -----------------------------------------------------------------------------------------------------------------


class Stream:
    def __init__(self):
        self.fields, self.trailers, self.interim = [], None, []
        self.body, self.reset, self.ended = bytearray(), None, False

    def get(self, name):
        return next((one.value for one in self.fields if one.name == name), None)

    @property
    def status(self):
        return int(self.get(":status") or 0)

    @property
    def over(self):
        return self.ended or self.reset is not None


class Link:
    """Reads frames and knows what came on each stream.  Credit is given only by keeps_up."""

    def __init__(self, sock, keeps_up=True):
        self.sock, self.keeps_up = sock, keeps_up
        self.received, self.hpack = bytearray(), Hpack()
        self.streams = collections.defaultdict(Stream)
        self.settings, self.acks, self.pongs = {}, 0, 0
        self.goaway = None  # (last stream, code)
        self.ended = None  # how the connection did: eof, broken
        self.pending, self.pending_ends = b"", False

    def send(self, *data):
        with contextlib.suppress(OSError):  # whoever has ended it says why in what can still be read
            self.sock.sendall(b"".join(data))

    def take(self, n):
        while len(self.received) < n:
            try:
                piece = self.sock.recv(65536)
            except (TimeoutError, socket.timeout):
                raise
            except (ssl.SSLError, OSError):
                self.ended = "broken"
                return None
            if not piece:
                self.ended = "eof"
                return None
            self.received += piece
        piece = bytes(self.received[:n])
        del self.received[:n]
        return piece

    def read(self):
        """The next frame; None at the end."""
        head = self.take(9)
        body = self.take(int.from_bytes(head[:3], "big")) if head else None
        if body is None:
            return None
        got = Frame(head[3], head[4], int.from_bytes(head[5:], "big"), body)
        self.note(got)
        return got

    def note(self, got):
        one = self.streams[got.stream] if got.stream else None
        if got.kind == DATA:
            one.body += got.payload
            one.ended |= bool(got.flags & END_STREAM)
            if self.keeps_up and got.payload:
                self.send(credit(0, len(got.payload)), b"" if one.ended else credit(got.stream, len(got.payload)))
        elif got.kind in (HEADERS, CONTINUATION):
            self.pending += got.payload[5:] if got.flags & HAS_PRIORITY and got.kind == HEADERS else got.payload
            self.pending_ends |= bool(got.kind == HEADERS and got.flags & END_STREAM)
            if got.flags & END_HEADERS:
                self.note_head(one)
        elif got.kind == RST_STREAM:
            one.reset = int.from_bytes(got.payload, "big")
        elif got.kind == SETTINGS and not got.flags & ACK:
            pairs = [got.payload[at:at + 6] for at in range(0, len(got.payload), 6)]
            self.settings.update({int.from_bytes(p[:2], "big"): int.from_bytes(p[2:], "big") for p in pairs})
            self.send(settings(flags=ACK))
        elif got.kind == SETTINGS:
            self.acks += 1
        elif got.kind == PING and got.flags & ACK:
            self.pongs += 1
        elif got.kind == PING:
            self.send(frame(PING, ACK, 0, got.payload))
        elif got.kind == GOAWAY:
            self.goaway = int.from_bytes(got.payload[:4], "big"), int.from_bytes(got.payload[4:8], "big")

    def note_head(self, one):
        fields, ends = self.hpack.decode(self.pending), self.pending_ends
        self.pending, self.pending_ends = b"", False
        if any(f.name == ":status" and f.value[0] == "1" for f in fields):
            one.interim.append(fields)
        elif one.fields:
            one.trailers = fields
        else:
            one.fields = fields
        one.ended |= ends

    def until(self, what):
        """Reads until what() holds; at the end of the connection it has to hold too, or has goaway to say why not."""
        while not what():
            if not self.read():
                return what()
        return True


def client(sidekey, host=API, keeps_up=True, alpn=("h2",), seconds=harness.PATIENCE_S):
    """A Link in a tunnel; nothing has been sent."""
    sock, head = sidekey.tunnel(f"{host}:443", seconds)
    assert head.startswith(b"HTTP/1.1 200"), head
    context = sidekey.context()
    context.set_alpn_protocols(list(alpn))
    secured = context.wrap_socket(sock, server_hostname=host)
    assert secured.selected_alpn_protocol() == "h2", secured.selected_alpn_protocol()
    return Link(secured, keeps_up)


def request(stream, path="/", method="GET", more=(), flags=WHOLE, host=API, before=b""):
    fields = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path), *more]
    return frame(HEADERS, flags, stream, before + block(fields))


def answer(link, stream):
    link.send(frame(HEADERS, END_HEADERS, stream, b"\x88"), frame(DATA, END_STREAM, stream, b"ok"))


class Upstream:
    """A server of HTTP/2 by hand: each request gets 200 and "ok", or what answers has for its path: a function (link, stream), called at the request's
    head, which sends what it likes."""

    def __init__(self, world, *pairs):
        self.pairs, self.answers = pairs, {}
        self.completed, self.links = [], []  # completed: paths of requests that came whole
        self.server = world.server(self.script, context=wire.server_context(world.pki, alpn=("h2", "http/1.1")))
        self.port = self.server.port

    def script(self, peer):
        link = Link(peer.sock)
        assert link.take(len(PREFACE)) == PREFACE
        link.answered, link.whole = set(), set()
        self.links.append(link)
        link.send(settings(*self.pairs), credit(0, MOST - 65535))
        while got := link.read():
            one = link.streams[got.stream] if got.stream else None
            if one and one.fields:
                self.serve(link, got.stream, one)

    def serve(self, link, stream, one):
        path = one.get(":path")
        if one.ended and stream not in link.whole:
            link.whole.add(stream)
            self.completed.append(path)
        if stream in link.answered or one.reset is not None or not (one.ended or path in self.answers):
            return
        link.answered.add(stream)
        self.answers.get(path, answer)(link, stream)
