"""RFC 9113 as data: what a client may send by hand, and what must come of it.  A row: (section, bytes, outcome); sections of RFC 9113, if no other is named.

The bytes come behind the preface and SETTINGS, and a good request on PROBE comes behind them.  Outcomes: "goaway CODE": the connection ends with it;
"rst CODE": stream 1 does, and the probe gets 200; "status N": stream 1 gets it, and the probe 200; "passes": the probe gets 200, and stream 1 nothing worse.
"rst CODE @N", "status N @N" are of stream N.  What is refused has the path /bad, and no whole request with it may reach the upstream."""
from frames import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HAS_PRIORITY, HEADERS, MOST, PADDED, PING, PREFACE, PRIORITY, PRIORITY_UPDATE, PUSH_PROMISE,
                    RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, block, credit, field, frame, goaway, integer, request, reset, settings, text, u32)
from harness import API

PROBE = 2001
BAD = "/bad"
NAMES = [(":method", "GET"), (":scheme", "https"), (":authority", API), (":path", BAD)]
HALF = block(NAMES)[:20]
LONG = "x" * 16384


def get(*more, fields=None, flags=WHOLE, before=b""):
    """A request on stream 1 with these fields."""
    return frame(HEADERS, flags, 1, before + block([*(NAMES if fields is None else fields), *more]))


def without(name, **changed):
    """The pseudo-fields but one, or with other values."""
    return [(n, changed.get(n[1:], v)) for n, v in NAMES if n != name]


def post(*more, path=BAD):
    """Stream 1 stays open."""
    return request(1, path, "POST", more, END_HEADERS)


def data(payload=b"x", flags=0, stream=1):
    return frame(DATA, flags, stream, payload)


def raw(block_bytes, flags=WHOLE, stream=1):
    return frame(HEADERS, flags, stream, block_bytes)


def cut(rest):
    """CONTINUATION frames with the rest of the head of stream 1."""
    pieces = [rest[at:at + 16000] for at in range(0, len(rest), 16000)]
    return b"".join(frame(CONTINUATION, END_HEADERS * (n == len(pieces)), 1, piece) for n, piece in enumerate(pieces, 1))


OPEN = post()
GOOD = request(1, "/good")
PATH_BAD = block(NAMES)

FRAMES = {
    # frame sizes
    "DATA of 16385 bytes": ("4.2", OPEN + data(b"x" * 16385), "goaway FRAME_SIZE_ERROR"),
    "HEADERS of 16385 bytes": ("4.2", raw(block(NAMES) + field("a", "x" * 16384)), "goaway FRAME_SIZE_ERROR"),
    "CONTINUATION of 16385 bytes": ("4.2", raw(block(NAMES), END_STREAM) + frame(CONTINUATION, END_HEADERS, 1, field("a", "x" * 16385)), "goaway FRAME_SIZE_ERROR"),
    "SETTINGS of 16386 bytes": ("4.2", settings(*[(1, 4096)] * 2731), "goaway FRAME_SIZE_ERROR"),
    "PING of 16392 bytes": ("4.2", frame(PING, 0, 0, b"x" * 16392), "goaway FRAME_SIZE_ERROR"),
    "an unknown frame of 16385 bytes": ("4.2", frame(200, 0, 0, b"x" * 16385), "goaway FRAME_SIZE_ERROR"),
    "a length of 2^24-1": ("4.2", frame(DATA, 0, 1, b"x", length=2**24 - 1), "goaway FRAME_SIZE_ERROR"),
    "DATA of 16384 bytes": ("4.2", post(path="/good") + data(b"x" * 16384, END_STREAM), "passes"),
    "the preface once more": ("3.4", PREFACE, "goaway FRAME_SIZE_ERROR"),
    # flags and types that nobody knows
    "an unknown type on the connection": ("4.1", frame(200, 255, 0, b"x"), "passes"),
    "an unknown type on an open stream": ("5.5", post(path="/good") + frame(99, 255, 1, b"x") + data(b"", END_STREAM), "passes"),
    "an unknown type on an idle stream": ("5.5", frame(99, 0, 7, b"x"), "passes"),
    "unknown flags of DATA": ("4.1", post(path="/good") + data(b"x", END_STREAM | 0xf6 & ~PADDED), "passes"),
    "unknown flags of PING": ("4.1", frame(PING, 0xfe, 0, b"12345678"), "passes"),
    "unknown flags of SETTINGS": ("4.1", settings(flags=0xfe), "passes"),
    "the reserved bit of the stream": ("4.1", frame(HEADERS, WHOLE, 1 | 1 << 31, request(1, "/good")[9:]), "passes"),
    "ALTSVC from a client": ("RFC 7838 4", frame(10, 0, 0, b"\0\1hclear"), "passes"),
    "ORIGIN from a client": ("RFC 8336 2.1", frame(12, 0, 0, b"\0\1h"), "passes"),
    # DATA
    "DATA on stream 0": ("6.1", data(stream=0), "goaway PROTOCOL_ERROR"),
    "DATA on an idle stream": ("5.1", data(stream=7), "goaway PROTOCOL_ERROR"),
    "DATA on a stream of the server": ("5.1.1", data(stream=2), "goaway PROTOCOL_ERROR"),
    "DATA behind END_STREAM": ("5.1", request(1, "/held") + data(), "goaway STREAM_CLOSED"),
    "DATA behind END_STREAM of DATA": ("5.1", post(path="/held") + data(b"x", END_STREAM) + data(), "goaway STREAM_CLOSED"),
    "DATA behind a reset of the client": ("5.1", OPEN + reset(1) + data(), "goaway STREAM_CLOSED"),
    "padding as long as DATA": ("6.1", OPEN + data(b"\2xx"[:2], PADDED), "goaway PROTOCOL_ERROR"),
    "padding longer than DATA": ("6.1", OPEN + data(b"\xffxx", PADDED), "goaway PROTOCOL_ERROR"),
    "padded DATA without a length of it": ("6.1", OPEN + data(b"", PADDED), "goaway FRAME_SIZE_ERROR"),
    "DATA of padding alone": ("6.1", post(path="/good") + data(b"\2\0\0", PADDED) + data(b"", END_STREAM), "passes"),
    "padding that is not zero": ("6.1", post(path="/good") + data(b"\2xAB", PADDED | END_STREAM), "passes"),
    "an empty DATA that ends": ("6.1", post(path="/good") + data(b"", END_STREAM), "passes"),
    # flow control
    "more than the window of a stream": ("6.9.1", post(path="/slow") + 14 * data(LONG.encode()), "rst FLOW_CONTROL_ERROR"),
    "WINDOW_UPDATE of 0 for the connection": ("6.9", credit(0, 0), "goaway PROTOCOL_ERROR"),
    "WINDOW_UPDATE of 0 for a stream": ("6.9", OPEN + credit(1, 0), "goaway PROTOCOL_ERROR"),
    "WINDOW_UPDATE of 3 bytes": ("6.9", frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), "goaway FRAME_SIZE_ERROR"),
    "WINDOW_UPDATE of 5 bytes": ("6.9", frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1\0"), "goaway FRAME_SIZE_ERROR"),
    "WINDOW_UPDATE for an idle stream": ("5.1", credit(7, 1), "goaway PROTOCOL_ERROR"),
    "WINDOW_UPDATE for a stream of the server": ("5.1.1", credit(2, 1), "goaway PROTOCOL_ERROR"),
    "a window of the connection over 2^31-1": ("6.9.1", credit(0, MOST), "goaway FLOW_CONTROL_ERROR"),
    "a window of the connection over 2^31-1 in two steps": ("6.9.1", credit(0, MOST - 65535) + credit(0, 1), "goaway FLOW_CONTROL_ERROR"),
    "a window of a stream over 2^31-1": ("6.9.1", OPEN + credit(1, MOST), "rst FLOW_CONTROL_ERROR"),
    "a window of a stream over 2^31-1 in two steps": ("6.9.1", OPEN + credit(1, MOST - 65535) + credit(1, 1), "rst FLOW_CONTROL_ERROR"),
    "a window of a stream over 2^31-1 by SETTINGS": ("6.9.2", request(1, "/held") + credit(1, MOST - 65535) + settings((4, 65536)), "goaway FLOW_CONTROL_ERROR"),
    "WINDOW_UPDATE with the reserved bit": ("6.9", credit(0, 1 | 1 << 31), "passes"),
    "WINDOW_UPDATE for a stream that is over": ("5.1", OPEN + reset(1) + credit(1, 100), "passes"),
    "no window, then some": ("6.9.2", settings((4, 0)) + request(1, "/good") + credit(1, 10) + settings((4, 65535)), "passes"),
    # HEADERS and the life of a stream
    "HEADERS on stream 0": ("6.2", raw(PATH_BAD, stream=0), "goaway PROTOCOL_ERROR"),
    "HEADERS on a stream of the server": ("5.1.1", raw(PATH_BAD, stream=2), "goaway PROTOCOL_ERROR"),
    "a stream below the last": ("5.1.1", request(5, "/held") + raw(PATH_BAD, stream=3), "goaway PROTOCOL_ERROR"),
    "a stream once more, behind END_STREAM": ("5.1", request(1, "/held") + get(), "goaway STREAM_CLOSED"),
    "trailers behind a reset of the client": ("5.1", OPEN + reset(1) + raw(field("x-sum", "1")), "goaway STREAM_CLOSED"),
    "DATA of a stream that was left out": ("5.1.1", request(5, "/held") + data(stream=3), "goaway PROTOCOL_ERROR"),
    "a stream once more, behind a reset": ("5.1", OPEN + reset(1) + get(), "goaway STREAM_CLOSED"),
    "HEADERS padded beyond its end": ("6.2", raw(b"\xff" + block(NAMES), WHOLE | PADDED), "goaway PROTOCOL_ERROR"),
    "padded HEADERS without a length of it": ("6.2", raw(b"", WHOLE | PADDED), "goaway FRAME_SIZE_ERROR"),
    "padded HEADERS": ("6.2", raw(b"\3" + request(1, "/good")[9:] + b"\0\0\0", WHOLE | PADDED), "passes"),
    "HEADERS with a priority of 4 bytes": ("6.2", raw(b"\0\0\0\0", WHOLE | HAS_PRIORITY), "goaway FRAME_SIZE_ERROR"),
    "HEADERS with a priority": ("6.2", raw(b"\0\0\0\0\x10" + request(1, "/good")[9:], WHOLE | HAS_PRIORITY), "passes"),
    "HEADERS padded over their priority": ("6.2", raw(b"\4\0\0\0\0\x10", WHOLE | HAS_PRIORITY | PADDED), "goaway PROTOCOL_ERROR"),
    "an empty HEADERS": ("8.1.1", raw(b""), "rst PROTOCOL_ERROR"),
    "the 257th stream": ("5.1.2", b"".join(request(n, "/held") for n in range(1, 513, 2)) + raw(PATH_BAD, stream=513) + reset(3), "rst REFUSED_STREAM @513"),
    # CONTINUATION
    "CONTINUATION without HEADERS": ("6.10", frame(CONTINUATION, END_HEADERS, 1, PATH_BAD), "goaway PROTOCOL_ERROR"),
    "CONTINUATION behind END_HEADERS": ("6.10", request(1, "/held") + frame(CONTINUATION, END_HEADERS, 1, field("a", "b")), "goaway PROTOCOL_ERROR"),
    "CONTINUATION on stream 0": ("6.10", raw(HALF, END_STREAM) + frame(CONTINUATION, END_HEADERS, 0, PATH_BAD[20:]), "goaway PROTOCOL_ERROR"),
    "CONTINUATION of another stream": ("6.10", raw(HALF, END_STREAM) + frame(CONTINUATION, END_HEADERS, 3, PATH_BAD[20:]), "goaway PROTOCOL_ERROR"),
    "DATA inside a head": ("6.10", raw(HALF, 0) + data(), "goaway PROTOCOL_ERROR"),
    "HEADERS inside a head": ("6.10", raw(HALF, END_STREAM) + raw(PATH_BAD, stream=3), "goaway PROTOCOL_ERROR"),
    "SETTINGS inside a head": ("6.10", raw(HALF, END_STREAM) + settings(), "goaway PROTOCOL_ERROR"),
    "PING inside a head": ("6.10", raw(HALF, END_STREAM) + frame(PING, 0, 0, b"12345678"), "goaway PROTOCOL_ERROR"),
    "WINDOW_UPDATE inside a head": ("6.10", raw(HALF, END_STREAM) + credit(0, 1), "goaway PROTOCOL_ERROR"),
    "RST_STREAM inside a head": ("6.10", raw(HALF, END_STREAM) + reset(1), "goaway PROTOCOL_ERROR"),
    "PRIORITY inside a head": ("6.10", raw(HALF, END_STREAM) + frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"), "goaway PROTOCOL_ERROR"),
    "an unknown frame inside a head": ("5.5", raw(HALF, END_STREAM) + frame(200, 0, 0, b"x"), "goaway PROTOCOL_ERROR"),
    "a head in three frames": ("6.10", raw(GOOD[9:29], END_STREAM) + frame(CONTINUATION, 0, 1, GOOD[29:40]) + frame(CONTINUATION, END_HEADERS, 1, GOOD[40:]), "passes"),
    "a head with empty pieces": ("6.10", raw(b"", END_STREAM) + frame(CONTINUATION, 0, 1) + frame(CONTINUATION, END_HEADERS, 1, GOOD[9:]), "passes"),
    # PRIORITY
    "PRIORITY on stream 0": ("6.3", frame(PRIORITY, 0, 0, b"\0\0\0\0\x10"), "goaway PROTOCOL_ERROR"),
    "PRIORITY of 4 bytes": ("6.3", frame(PRIORITY, 0, 1, b"\0\0\0\0"), "goaway FRAME_SIZE_ERROR"),
    "PRIORITY of 6 bytes": ("6.3", frame(PRIORITY, 0, 1, b"\0\0\0\0\x10\0"), "goaway FRAME_SIZE_ERROR"),
    "PRIORITY of an idle stream": ("5.1", frame(PRIORITY, 0, 9, b"\0\0\0\0\x10"), "passes"),
    "PRIORITY that depends on itself": ("RFC 7540 5.3.1", frame(PRIORITY, 0, 9, u32(9) + b"\x10"), "goaway PROTOCOL_ERROR"),
    "HEADERS that depend on themselves": ("RFC 7540 5.3.1", raw(u32(1) + b"\x10" + PATH_BAD, WHOLE | HAS_PRIORITY), "goaway PROTOCOL_ERROR"),
    "PRIORITY_UPDATE": ("RFC 9218 7.1", request(1, "/good") + frame(PRIORITY_UPDATE, 0, 0, u32(1) + b"u=0"), "passes"),
    "PRIORITY_UPDATE on a stream": ("RFC 9218 7.1", request(1, "/held") + frame(PRIORITY_UPDATE, 0, 1, u32(1) + b"u=0"), "goaway PROTOCOL_ERROR"),
    "PRIORITY_UPDATE of 3 bytes": ("RFC 9218 7.1", frame(PRIORITY_UPDATE, 0, 0, b"\0\0\1"), "goaway FRAME_SIZE_ERROR"),
    "PRIORITY_UPDATE for stream 0": ("RFC 9218 7.1", frame(PRIORITY_UPDATE, 0, 0, u32(0) + b"u=0"), "goaway PROTOCOL_ERROR"),
    "PRIORITY_UPDATE that is no structured field": ("RFC 9218 4", frame(PRIORITY_UPDATE, 0, 0, u32(PROBE) + b"\xff(=;"), "passes"),
    # RST_STREAM
    "RST_STREAM on stream 0": ("6.4", reset(0), "goaway PROTOCOL_ERROR"),
    "RST_STREAM of an idle stream": ("6.4", reset(7), "goaway PROTOCOL_ERROR"),
    "RST_STREAM of a stream of the server": ("5.1.1", reset(2), "goaway PROTOCOL_ERROR"),
    "RST_STREAM of 3 bytes": ("6.4", OPEN + frame(RST_STREAM, 0, 1, b"\0\0\0"), "goaway FRAME_SIZE_ERROR"),
    "RST_STREAM of 5 bytes": ("6.4", OPEN + frame(RST_STREAM, 0, 1, b"\0\0\0\0\0"), "goaway FRAME_SIZE_ERROR"),
    "RST_STREAM twice": ("5.1", OPEN + reset(1) + reset(1), "passes"),
    "RST_STREAM with a code that nobody knows": ("7", OPEN + reset(1, 0xfffffffe), "passes"),
    # SETTINGS
    "SETTINGS on a stream": ("6.5", frame(SETTINGS, 0, 1), "goaway PROTOCOL_ERROR"),
    "SETTINGS of 5 bytes": ("6.5", frame(SETTINGS, 0, 0, b"\0\1\0\0\0"), "goaway FRAME_SIZE_ERROR"),
    "SETTINGS of 7 bytes": ("6.5", frame(SETTINGS, 0, 0, b"\0\1\0\0\0\0\0"), "goaway FRAME_SIZE_ERROR"),
    "an acknowledgement that says something": ("6.5", settings((1, 4096), flags=ACK), "goaway FRAME_SIZE_ERROR"),
    "ENABLE_PUSH 2": ("6.5.2", settings((2, 2)), "goaway PROTOCOL_ERROR"),
    "ENABLE_PUSH 1": ("6.5.2", settings((2, 1)), "passes"),
    "INITIAL_WINDOW_SIZE 2^31": ("6.5.2", settings((4, 2**31)), "goaway FLOW_CONTROL_ERROR"),
    "INITIAL_WINDOW_SIZE 2^32-1": ("6.5.2", settings((4, 2**32 - 1)), "goaway FLOW_CONTROL_ERROR"),
    "INITIAL_WINDOW_SIZE 2^31-1": ("6.5.2", settings((4, MOST)), "passes"),
    "MAX_FRAME_SIZE 0": ("6.5.2", settings((5, 0)), "goaway PROTOCOL_ERROR"),
    "MAX_FRAME_SIZE 16383": ("6.5.2", settings((5, 16383)), "goaway PROTOCOL_ERROR"),
    "MAX_FRAME_SIZE 2^24": ("6.5.2", settings((5, 2**24)), "goaway PROTOCOL_ERROR"),
    "MAX_FRAME_SIZE 2^24-1": ("6.5.2", settings((5, 2**24 - 1)), "passes"),
    "HEADER_TABLE_SIZE 0": ("6.5.2", settings((1, 0)), "passes"),
    "HEADER_TABLE_SIZE 2^32-1": ("6.5.2", settings((1, 2**32 - 1)), "passes"),
    "MAX_CONCURRENT_STREAMS 0": ("6.5.2", settings((3, 0)), "passes"),
    "MAX_HEADER_LIST_SIZE 0": ("6.5.2", settings((6, 0)), "passes"),
    "ENABLE_CONNECT_PROTOCOL 2": ("RFC 8441 3", settings((8, 2)), "goaway PROTOCOL_ERROR"),
    "NO_RFC7540_PRIORITIES 2": ("RFC 9218 2.1", settings((9, 2)), "goaway PROTOCOL_ERROR"),
    "a setting that nobody knows": ("6.5.2", settings((0x7f7f, 7), (0, 1)), "passes"),
    "an acknowledgement that nobody asked for": ("6.5.3", 3 * settings(flags=ACK), "goaway PROTOCOL_ERROR"),
    # PUSH_PROMISE, PING, GOAWAY
    "PUSH_PROMISE": ("8.4", OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + PATH_BAD), "goaway PROTOCOL_ERROR"),
    "PUSH_PROMISE on stream 0": ("6.6", frame(PUSH_PROMISE, END_HEADERS, 0, u32(2) + PATH_BAD), "goaway PROTOCOL_ERROR"),
    "PUSH_PROMISE for a stream of the client": ("6.6", OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, u32(3) + PATH_BAD), "goaway PROTOCOL_ERROR"),
    "PING of 0 bytes": ("6.7", frame(PING), "goaway FRAME_SIZE_ERROR"),
    "PING of 7 bytes": ("6.7", frame(PING, 0, 0, b"1234567"), "goaway FRAME_SIZE_ERROR"),
    "PING of 9 bytes": ("6.7", frame(PING, 0, 0, b"123456789"), "goaway FRAME_SIZE_ERROR"),
    "PING on a stream": ("6.7", frame(PING, 0, 1, b"12345678"), "goaway PROTOCOL_ERROR"),
    "the answer to a PING that nobody sent": ("6.7", frame(PING, ACK, 0, b"12345678"), "passes"),
    "GOAWAY on a stream": ("6.8", frame(GOAWAY, 0, 1, bytes(8)), "goaway PROTOCOL_ERROR"),
    "GOAWAY of 7 bytes": ("6.8", frame(GOAWAY, 0, 0, bytes(7)), "goaway FRAME_SIZE_ERROR"),
    "GOAWAY, and on with it": ("6.8", goaway(0), "passes"),
    "GOAWAY with a text": ("6.8", frame(GOAWAY, 0, 0, bytes(8) + b"bye"), "passes"),
    "GOAWAY that grows": ("6.8", goaway(2) + goaway(4), "goaway PROTOCOL_ERROR"),
}

COMPRESSION = "goaway COMPRESSION_ERROR"
HPACK = {
    "index 0": ("RFC 7541 6.1", raw(PATH_BAD + b"\x80"), COMPRESSION),
    "an index beyond the tables": ("RFC 7541 2.3.3", raw(PATH_BAD + b"\xbe"), COMPRESSION),
    "an index far beyond the tables": ("RFC 7541 2.3.3", raw(PATH_BAD + b"\xff\xff\xff\x03"), COMPRESSION),
    "a name beyond the tables": ("RFC 7541 2.3.3", raw(PATH_BAD + integer(62, 6, 0x40) + text("x")), COMPRESSION),
    "an integer of 2^35": ("RFC 7541 5.1", raw(PATH_BAD + b"\xff\xff\xff\xff\xff\xff\x0f"), COMPRESSION),
    "an integer without an end": ("RFC 7541 5.1", raw(PATH_BAD + b"\xff\x80"), COMPRESSION),
    "an integer of zeros without an end": ("RFC 7541 5.1", raw(PATH_BAD + b"\xff" + b"\x80" * 40 + b"\0"), COMPRESSION),
    "a name that ends too soon": ("RFC 7541 5.2", raw(PATH_BAD + b"\0\x05ab"), COMPRESSION),
    "a value that ends too soon": ("RFC 7541 5.2", raw(PATH_BAD + b"\0\1a\x05b"), COMPRESSION),
    "a length of a string of 2^31": ("RFC 7541 5.2", raw(PATH_BAD + b"\0\1a" + integer(2**31, 7)), COMPRESSION),
    "a field without its value": ("RFC 7541 6.2", raw(PATH_BAD + b"\0\1a"), COMPRESSION),
    "a field without its name": ("RFC 7541 6.2", raw(PATH_BAD + b"\x40"), COMPRESSION),
    "Huffman with EOS": ("RFC 7541 5.2", raw(PATH_BAD + b"\0\1a\x84\xff\xff\xff\xfc"), COMPRESSION),
    "Huffman with 8 bits of padding": ("RFC 7541 5.2", raw(PATH_BAD + b"\0\1a\x82\x1f\xff"), COMPRESSION),
    "Huffman with padding of zeros": ("RFC 7541 5.2", raw(PATH_BAD + b"\0\1a\x81\x18"), COMPRESSION),
    "a table of more than 4096": ("RFC 7541 6.3", raw(integer(4097, 5, 0x20) + PATH_BAD), COMPRESSION),
    "a table of 2^31": ("RFC 7541 6.3", raw(integer(2**31, 5, 0x20) + PATH_BAD), COMPRESSION),
    "a table size behind a field": ("RFC 7541 4.2", raw(PATH_BAD + b"\x20"), COMPRESSION),
    "a table of 0 and of 4096": ("RFC 7541 4.2", request(1, "/good", before=b"\x20" + integer(4096, 5, 0x20)), "passes"),
    "an index of a table that was emptied": ("RFC 7541 4.3", OPEN + raw(PATH_BAD + b"\x40" + text("a") + text("b"), END_HEADERS, 3)
                                             + raw(b"\x20" + PATH_BAD + b"\xbe", stream=5), COMPRESSION),
    "an error in trailers": ("4.3", OPEN + raw(b"\x80"), COMPRESSION),
    "an error in a stream that is over": ("4.3", OPEN + reset(1) + raw(b"\x80", stream=3), COMPRESSION),
}

RST = "rst PROTOCOL_ERROR"
FIELDS = {
    # pseudo-fields
    "no :method": ("8.3.1", get(fields=without(":method")), RST),
    "no :scheme": ("8.3.1", get(fields=without(":scheme")), RST),
    "no :path": ("8.3.1", get(fields=without(":path")), RST),
    "no :authority and no Host": ("8.3.1", get(fields=without(":authority")), RST),
    "Host without :authority": ("8.3.1", get(("host", API), fields=without(":authority", path="/good")), "passes"),
    "two :method": ("8.3.1", get((":method", "GET")), RST),
    "two :scheme": ("8.3.1", get((":scheme", "https")), RST),
    "two :path": ("8.3.1", get((":path", BAD)), RST),
    "two :authority": ("8.3.1", get((":authority", API)), RST),
    "a pseudo-field behind a field": ("8.3", get(fields=[*NAMES[:3], ("a", "b"), NAMES[3]]), RST),
    ":status in a request": ("8.3", get((":status", "200")), RST),
    "a pseudo-field that nobody knows": ("8.3", get((":other", "x")), RST),
    ":protocol with GET": ("RFC 8441 4", get((":protocol", "websocket")), RST),
    "an empty :method": ("8.3.1", get(fields=without("", method="")), RST),
    "a :method with a space": ("8.3.1", get(fields=without("", method="GE T")), RST),
    "an empty :path": ("8.3.1", get(fields=without("", path="")), RST),
    "a :path without a slash": ("8.3.1", get(fields=without("", path="bad")), RST),
    "a :path of a URL": ("8.3.1", get(fields=without("", path=f"https://{API}/bad")), RST),
    "a :path with a space": ("8.3.1", get(fields=without("", path="/bad x")), RST),
    "a :path with a line end": ("8.3.1", get(fields=without("", path="/bad\r\nx: y")), RST),
    "a :path with a fragment": ("8.3.1", get(fields=without("", path="/bad#x")), "status 400"),
    "* as :path of GET": ("8.3.1", get(fields=without("", path="*")), RST),
    "* as :path of OPTIONS": ("8.3.1", get(fields=without("", path="*", method="OPTIONS")), "passes"),
    "another :authority": ("8.3.1", get(fields=without("", authority="other.sidekey.test")), "status 421"),
    "another port in :authority": ("8.3.1", get(fields=without("", authority=f"{API}:444")), "status 421"),
    "the port in :authority": ("8.3.1", get(fields=without("", authority=f"{API}:443", path="/good")), "passes"),
    ":authority in capitals": ("8.3.1", get(fields=without("", authority=API.upper(), path="/good")), "passes"),
    "a user in :authority": ("8.3.1", get(fields=without("", authority=f"user@{API}")), "status 400 or rst PROTOCOL_ERROR"),  # newer nghttp2 refuses it before sidekey does
    "an :authority with a space": ("8.3.1", get(fields=without("", authority=f"{API} x")), RST),
    "an empty :authority": ("8.3.1", get(fields=without("", authority="")), RST),
    "another Host": ("8.3.1", get(("host", "other.sidekey.test")), "status 400"),
    "two Host": ("8.3.1", get(("host", API), ("host", API)), RST),
    "the scheme http": ("8.3.1", get(fields=without("", scheme="http")), "status 421"),
    "the scheme ftp": ("8.3.1", get(fields=without("", scheme="ftp")), "status 421"),
    "a scheme of nothing": ("8.3.1", get(fields=without("", scheme="")), RST),
    # CONNECT
    "CONNECT": ("8.5", get(fields=[(":method", "CONNECT"), (":authority", f"{API}:443")]), "status 405"),
    "CONNECT with :path": ("8.5", get(fields=[(":method", "CONNECT"), (":authority", f"{API}:443"), (":path", BAD)]), RST),
    "CONNECT with :scheme": ("8.5", get(fields=[(":method", "CONNECT"), (":authority", f"{API}:443"), (":scheme", "https")]), RST),
    "CONNECT without :authority": ("8.5", get(fields=[(":method", "CONNECT")]), RST),
    # names and values
    "a name in capitals": ("8.2.1", get(("Upper", "x")), RST),
    "a name with one capital": ("8.2.1", get(("x-uppeR", "x")), RST),
    "an empty name": ("8.2.1", get(("", "x")), RST),
    "a name with a space": ("8.2.1", get(("a b", "x")), RST),
    "a name with a colon": ("8.2.1", get(("a:b", "x")), RST),
    "a name with a NUL": ("8.2.1", get(("a\0", "x")), RST),
    "a name with a line end": ("8.2.1", get(("a\r\nb", "x")), RST),
    "a name over 0x7f": ("8.2.1", get(("\xe4", "x")), RST),
    "a name with DEL": ("8.2.1", get(("a\x7f", "x")), RST),
    "a value with CR LF": ("8.2.1", get(("a", "x\r\nb: y")), RST),
    "a value with CR": ("8.2.1", get(("a", "x\ry")), RST),
    "a value with LF": ("8.2.1", get(("a", "x\ny")), RST),
    "a value with a NUL": ("8.2.1", get(("a", "x\0y")), RST),
    "a value behind a space": ("8.2.1", get(("a", " x")), RST),
    "a value before a tab": ("8.2.1", get(("a", "x\t")), RST),
    "a value over 0x7f": ("8.2.1", get(("a", "\xe4"), fields=without("", path="/good")), "passes"),
    "an empty value": ("8.2.1", get(("a", ""), fields=without("", path="/good")), "passes"),
    # what belongs to a connection
    "Connection": ("8.2.2", get(("connection", "close")), RST),
    "Connection: keep-alive": ("8.2.2", get(("connection", "keep-alive")), RST),
    "Keep-Alive": ("8.2.2", get(("keep-alive", "timeout=5")), RST),
    "Proxy-Connection": ("8.2.2", get(("proxy-connection", "keep-alive")), RST),
    "Transfer-Encoding: chunked": ("8.2.2", get(("transfer-encoding", "chunked")), RST),
    "Transfer-Encoding: identity": ("8.2.2", get(("transfer-encoding", "identity")), RST),
    "Upgrade": ("8.2.2", get(("upgrade", "websocket")), RST),
    "TE: gzip": ("8.2.2", get(("te", "gzip")), RST),
    "TE: trailers, gzip": ("8.2.2", get(("te", "trailers, gzip")), RST),
    "TE: trailers": ("8.2.2", get(("te", "trailers"), fields=without("", path="/good")), "passes"),
    # lengths
    "a length and no body": ("8.1.1", get(("content-length", "5")), RST),
    "a body that is shorter": ("8.1.1", post(("content-length", "5")) + data(b"1234", END_STREAM), RST),
    "a body that is longer": ("8.1.1", post(("content-length", "5")) + data(b"123456", END_STREAM), RST),
    "a body that is longer by a frame": ("8.1.1", post(("content-length", "5")) + data(b"12345") + data(b"6", END_STREAM), RST),
    "a body and the length 0": ("8.1.1", post(("content-length", "0"), path="/good") + data(b"1", END_STREAM), RST),
    "a body that trailers cut": ("8.1.1", post(("content-length", "5")) + data(b"1234") + raw(field("x-sum", "1")), RST),
    "a body of its length": ("8.1.1", post(("content-length", "5"), path="/good") + data(b"12") + data(b"345", END_STREAM), "passes"),
    "two lengths": ("8.1.1", post(("content-length", "5"), ("content-length", "5")), RST),
    "two lengths that differ": ("8.1.1", post(("content-length", "5"), ("content-length", "6")), RST),
    "a list of lengths": ("8.1.1", post(("content-length", "5, 5")), RST),
    "a length below zero": ("8.1.1", post(("content-length", "-5")), RST),
    "a length with a plus": ("8.1.1", post(("content-length", "+5")), RST),
    "a length in hex": ("8.1.1", post(("content-length", "0x5")), RST),
    "an empty length": ("8.1.1", post(("content-length", "")), RST),
    "a length of 2^64": ("8.1.1", post(("content-length", "18446744073709551616")), RST),
    "a length of 2^63": ("8.1.1", post(("content-length", "9223372036854775808")), RST),
    # trailers
    "trailers with a pseudo-field": ("8.1", OPEN + raw(field(":path", "/x")), RST),
    "trailers with :status": ("8.1", OPEN + raw(field(":status", "200")), RST),
    "trailers that do not end the stream": ("8.1", OPEN + raw(field("x-sum", "1"), END_HEADERS), RST),
    "trailers in capitals": ("8.2.1", OPEN + raw(field("X-Sum", "1")), RST),
    "trailers with Connection": ("8.2.2", OPEN + raw(field("connection", "close")), RST),
    "trailers with Transfer-Encoding": ("8.2.2", OPEN + raw(field("transfer-encoding", "chunked")), RST),
    "trailers with a line end in a value": ("8.2.1", OPEN + raw(field("x-sum", "1\n2")), RST),
    "trailers": ("8.1", post(path="/good") + data() + raw(field("x-sum", "1")), "passes"),
    # how much of it
    "201 fields": ("RFC 6585 5", get(*[("a", "b")] * 201), "status 431"),
    "a head of 70 KB": ("6.5.2", raw(PATH_BAD, END_STREAM) + cut(5 * field("a", "x" * 14000)), "status 431"),
    "a :path of 16.1 KB": ("RFC 9110 15.5.15", raw(block(without(":path")), END_STREAM) + cut(field(":path", "/bad" + "x" * 16400)), "status 414"),
    "trailers of 70 KB": ("6.5.2", OPEN + raw(b"", END_STREAM) + cut(5 * field("a", "x" * 14000)), RST),
}

# Instead of the preface and SETTINGS: nothing is behind them.
PREFACES = {
    "HTTP/1.1": ("3.4", b"GET /bad HTTP/1.1\r\nHost: " + API.encode() + b"\r\n\r\n", "goaway PROTOCOL_ERROR"),
    "a preface with an error in it": ("3.4", PREFACE[:-4] + b"XX\r\n" + settings(), "goaway PROTOCOL_ERROR"),
    "a preface with an error at its end": ("3.4", PREFACE[:-1] + b"x" + settings(), "goaway PROTOCOL_ERROR"),
    "PING before SETTINGS": ("3.4", PREFACE + frame(PING, 0, 0, b"12345678"), "goaway PROTOCOL_ERROR"),
    "HEADERS before SETTINGS": ("3.4", PREFACE + get(), "goaway PROTOCOL_ERROR"),
    "an acknowledgement before SETTINGS": ("3.4", PREFACE + settings(flags=ACK), "goaway PROTOCOL_ERROR"),
    "frames without a preface": ("3.4", settings() + get(), "goaway PROTOCOL_ERROR"),
}
