"""The cases of framing.py, and what chance makes of them: a few bytes more, fewer, others, or somewhere else."""
import random

from cases import framing

PIECES = [b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b"\x0b", b"\x0c", b":", b";", b",", b'"', b"\\", b"0", b"1", b"a", b"\x7f", b"\x80", b"\xa0", b"\xff", b"+", b"-", b"0x", b"_", b"#", b"?", b"//", b"*", b"(",
          b"chunked", b"0\r\n\r\n", b"HTTP/1.1", b"HTTP/1.0", b"%0d%0a", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: X-A\r\n", b"X-A: 1\r\n", b"Host: evil\r\n",
          b"Trailer: X\r\n", b"TE: trailers\r\n", b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n"]
REQUESTS = [raw.encode("latin-1") for raw, _ in [*framing.REFUSED_REQUESTS.values(), *list(framing.PASSED_REQUESTS.values()) * 8] if len(raw) < 3000]
ANSWERS = [(method, raw.encode("latin-1")) for method, raw, *_ in [*framing.REFUSED_ANSWERS.values(), *framing.BROKEN_ANSWERS.values(), *list(framing.PASSED_ANSWERS.values()) * 6]
           if len(raw) < 3000]


def changed(chance, data):
    data = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 2, 3, 5])):
        at, how = chance.randrange(len(data) + 1), chance.random()
        if how < 0.45:
            data[at:at] = chance.choice(PIECES)
        elif how < 0.65:
            del data[at:at + chance.choice([1, 1, 2, 5])]
        elif how < 0.85:
            data[at:at + 1] = chance.choice(PIECES)
        else:
            to, length = chance.randrange(len(data) + 1), chance.choice([1, 3, 10, 30])
            data[to:to] = data[at:at + length]
    return bytes(data)


def request(seed):
    """The same bytes for the same seed."""
    chance = random.Random(seed)
    return changed(chance, chance.choice(REQUESTS))


def answer(seed):
    """(method, bytes), likewise."""
    chance = random.Random(seed)
    method, raw = chance.choice(ANSWERS)
    return method, changed(chance, raw)
