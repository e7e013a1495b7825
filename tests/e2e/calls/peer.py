"""gRPC by grpcio, without a schema: `peer.py serve KEY CERT CONTROL` prints its port; `peer.py call HOST` makes calls until its input ends.

The service has four methods: /t.T/Unary and Collect give the messages they got as one, Spread each byte of it as a message, Talk each message back.
A caller prints "calls N" now and then, and at the end how many ended with which status, as JSON."""
import concurrent.futures
import json
import sys
import threading
import urllib.request

import grpc

CALLERS = 4
TIME_S = 60


def serve(key, cert, control):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def admit(context):
        token = dict(context.invocation_metadata()).get("authorization", "")
        with opener.open(urllib.request.Request(control + "/live", json.dumps({"token": token.removeprefix("Bearer ")}).encode())) as answer:
            if not json.load(answer)["live"]:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "this token is not good")

    def unary(message, context):
        admit(context)
        return message

    def collect(messages, context):
        admit(context)
        return b"".join(messages)

    def spread(message, context):
        admit(context)
        for byte in message:
            yield bytes((byte,))

    def talk(messages, context):
        admit(context)
        yield from messages

    handlers = {"Unary": grpc.unary_unary_rpc_method_handler(unary), "Collect": grpc.stream_unary_rpc_method_handler(collect),
                "Spread": grpc.unary_stream_rpc_method_handler(spread), "Talk": grpc.stream_stream_rpc_method_handler(talk)}
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2 * CALLERS))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handlers),))
    with open(key, "rb") as k, open(cert, "rb") as c:
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(k.read(), c.read())]))
    server.start()
    print(json.dumps({"port": port}), flush=True)
    server.wait_for_termination()


def call(host):
    channel = grpc.secure_channel(f"{host}:443", grpc.ssl_channel_credentials())
    unary, collect = channel.unary_unary("/t.T/Unary"), channel.stream_unary("/t.T/Collect")
    spread, talk = channel.unary_stream("/t.T/Spread"), channel.stream_stream("/t.T/Talk")
    own = {"metadata": (("authorization", "Bearer placeholder"),), "timeout": TIME_S}
    pieces = [b"one", b"two", b"three" * 3000]
    kinds = [
        lambda: unary(b"hello", **own) == b"hello",
        lambda: collect(iter(pieces), **own) == b"".join(pieces),
        lambda: list(spread(b"hello", **own)) == [b"h", b"e", b"l", b"l", b"o"],
        lambda: list(talk(iter(pieces), **own)) == pieces,
    ]
    counts, lock, over = {}, threading.Lock(), threading.Event()

    def work(kind):
        while not over.is_set():
            try:
                word = "OK" if kind() else "WRONG"
            except grpc.RpcError as error:
                word = f"{error.code().name} {error.details()}"
            with lock:
                counts[word] = counts.get(word, 0) + 1
                if sum(counts.values()) % 20 == 0:
                    print("calls", sum(counts.values()), flush=True)

    threads = [threading.Thread(target=work, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
