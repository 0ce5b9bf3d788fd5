"""The Python side of ../python_test.go: python3 conformance.py STORY BROKER. Prints a line of JSON for what happens,
reads lines that say how to go on, and ends with status 0 when all was as it should be."""

import json
import logging
import socket
import ssl
import sys
import threading

import trefoil
from trefoil import Code, Error

PATIENCE = 120
printing = threading.Lock()


def say(event, **facts):
    with printing:
        print(json.dumps({"event": event, **facts}), flush=True)


def wait():
    """Waits for a line of the test; it closes our input to end us."""
    return sys.stdin.readline().strip()


def refused(code, says, *args, **options):
    """Checks that a call is refused, with that code and words, by the peer."""
    try:
        options.pop("client").call(*args, **options)
    except Error as error:
        assert (error.code, error.from_peer, error.sent) == (code, True, "yes"), error
        assert says in error.message, error
        return error
    raise AssertionError(f"{args} is not refused")


def calls(client):
    """Python calls Go."""
    assert client.call("math.add", {"num1": 20, "num2": 30}) == 50
    assert client.call("math.add", {"num1": 2**62, "num2": 2**62 - 1}) == 2**63 - 1, "64 bits survive"
    assert client.call("math.add", {"num1": 2.0, "num2": -(2**63)}) == 2 - 2**63
    for value in ("", "héllo \"世界\"\n\t\0 \U0001F600 \u2028 </script>", [1, [2, {"a": None}]], {"ü": 1.5}, 2**63 - 1, -(2**63), True, "x" * (6 << 20)):
        assert client.call("echo", {"value": value}) == value
    for field, wrong in (("num1", "x"), ("num2", 2.5), ("num1", True), ("num2", None), ("num1", [1]), ("num2", 2**64)):
        refused(Code.INVALID_PARAMS, field, "math.add", {"num1": 1, "num2": 1, field: wrong}, client=client)
    refused(Code.INVALID_PARAMS, "num2", "math.add", {"num1": 1}, client=client)
    assert refused(Code.DENIED, "not you", "refuse", client=client).details == {"why": ["because"]}
    refused(Code.INTERNAL, "", "panic", client=client)

    futures = [client.call_async("math.add", {"num1": n, "num2": 1}) for n in range(500)]
    assert [f.result(PATIENCE) for f in futures] == [n + 1 for n in range(500)]
    told = threading.Event()
    client.call_async("math.add", {"num1": 1, "num2": 2}).add_done_callback(lambda f: f.result() == 3 and told.set())
    assert told.wait(PATIENCE)

    hanging = client.call_async("hang", {"name": "cancelled"})
    assert wait() == "it hangs"
    assert hanging.cancel()
    assert wait() == "it was told"
    try:
        client.call("hang", {"name": "late"}, timeout=2)
    except Error as error:
        assert (error.code, error.sent) in ((Code.TIMEOUT, "unknown"), (Code.TIMEOUT, "yes")), error
    assert wait() == "it was told"

    assert client.call("broker.serves", direct=True) == "itself"
    assert client.call("relayed", {"value": [1]}, relay=True) == [1]
    refused(Code.SERVICE_NOT_FOUND, "nobody", "nobody.provides", direct=True, client=client)
    try:
        client.call("nobody.provides")
    except Error as error:
        assert error.code == Code.SERVICE_NOT_FOUND, error


def provide(client, **options):
    """Go calls Python."""
    provider = trefoil.Provider(client, zone="west", tags=["blue"], **options)

    @provider.method("py.add")
    def add(num1: int, num2: int) -> int:
        return num1 + num2

    @provider.method("py.echo")
    def echo(value):
        return value

    @provider.method("py.refuse")
    def refuse():
        raise Error(Code.DENIED, "not you", details={"why": ["because"]})

    @provider.method("py.fail")
    def fail():
        raise KeyError("a secret")

    @provider.method("py.hang")
    def hang(name: str, call: trefoil.Call):
        say("hangs", name=name, deadline=call.deadline is not None)
        say("told", cancelled=call.cancelled.wait(PATIENCE))

    provider.start()
    say("ready", port=provider.address[1], instance=provider.instance)
    wait()
    provider.close()
    say("closed")


def relayed(client):
    """A provider that is called through the broker only."""
    provide(client, relay=True)


def topics(client):
    """Both publish, both are subscribed."""
    heard = threading.Semaphore(0)
    client.create_topic("news")
    subscription = client.subscribe("news", lambda message: (say("heard", message=message), heard.release()))
    for message in ("m0", {"n": 2**63 - 1, "text": "héllo 世界"}, [], None, "x" * (1 << 20)):
        client.publish("news", message)
        assert heard.acquire(timeout=PATIENCE)
    say("ready")
    assert wait() == "published"
    assert heard.acquire(timeout=PATIENCE)
    subscription.close()
    client.publish("news", "for others")
    try:
        client.publish("nowhere", 1)
    except Error as error:
        assert (error.code, error.from_peer) == (Code.TOPIC_NOT_FOUND, True), error
    try:
        client.subscribe("nowhere", print)
    except Error as error:
        assert error.code == Code.TOPIC_NOT_FOUND, error
    say("cancelled")
    wait()


def readers(client):
    """Reads from an offset, goes on after a cut, shares messages, and acknowledges them."""
    client.create_topic("kept", history={"count": 100}, dedup_ms=60000)
    receipts = [client.publish("kept", n, ident=f"id-{n}", meta={"odd": str(n % 2)}) for n in (1, 2, 3, 3)]
    assert [(r.offset, r.duplicate) for r in receipts] == [(1, False), (2, False), (3, False), (3, True)], receipts
    say("ready")
    client.read("kept", lambda m: say("read", value=m.value, offset=m.offset, meta=m.meta), lambda n: say("gap", missed=n), start=2)
    assert wait() == "more"
    client.read("odds.*", lambda m: say("odd", value=m.value, topic=m.topic), where={"odd": "1"})
    tries = []

    def work(message):
        tries.append(message.delivered)
        say("work", value=message.value, delivered=message.delivered)
        if len(tries) == 1:
            raise ValueError("it comes again")

    client.create_topic("jobs")
    logging.getLogger("trefoil").setLevel(logging.CRITICAL)  # the callback that fails
    group = client.read("jobs", work, group="workers")
    say("reading")
    assert wait() == "close"
    group.close()
    say("closed")
    wait()


def watch(client):
    """Is told who comes and goes."""
    client.watch("greet", lambda h: say("online", host=str(h), hello=h.hello, zone=h.traits.get("zone", "")), lambda h: say("offline", host=str(h)))
    say("ready")
    wait()


def restart(client):
    """Keeps everything through a restart of the broker."""
    provider = trefoil.Provider(client)
    provider.method("py.hello")(lambda: "hello")
    provider.start()
    client.create_topic("news")
    client.subscribe("news", lambda message: say("heard", message=message))
    client.subscribe("news", lambda message: say("heard too", message=message))
    there = threading.Event()
    client.watch("greet", lambda h: (say("online", host=str(h)), there.set()), lambda h: say("offline", host=str(h)))
    assert there.wait(PATIENCE)
    say("ready", port=provider.address[1])
    while True:
        line = wait()
        if not line:
            break
        try:
            say("greeted", result=client.call("greet", timeout=PATIENCE))
        except Error as error:
            say("failed", code=error.code, message=str(error))
    provider.close()


def moves_on(client):
    """Calls go to the next provider when one is unreachable, and each has one connection."""
    hosts = client.discover("greet")
    say("ready", hosts=len(hosts))
    for _ in range(10):
        assert client.call("greet") == "hello"
    say("called")
    assert wait() == "gone"
    for _ in range(10):
        try:
            client.call("greet")
        except Error as error:
            assert (error.code, error.sent) == (Code.UNAVAILABLE, "no"), error
        else:
            raise AssertionError("nobody is left")


def talk(client):
    """Two clients of one process call each other."""
    with trefoil.connect(sys.argv[2]) as other, trefoil.Provider(other) as provider:

        @provider.method("py.twice")
        def twice(value: str) -> str:
            return 2 * value

        provider.start()
        assert client.call("py.twice", {"value": "世界"}) == "世界世界"
        refused(Code.INVALID_PARAMS, 'parameter "value" of py.twice must be string, not integer', "py.twice", {"value": 1}, client=client)
    while client.discover("py.twice"):
        pass
    try:
        client.call("py.twice", {"value": ""})
    except Error as error:
        assert error.code == Code.SERVICE_NOT_FOUND, error


def legacy(client):
    """Speaks as the existing programs do, without HELLO."""
    assert client.call("broker.serves", direct=True) == "itself"
    assert client.call("math.add", {"num1": 20, "num2": 30}) == 50
    refused(Code.INVALID_PARAMS, "num1", "math.add", {"num1": "x", "num2": 1}, client=client)
    heard, messages = threading.Semaphore(0), []
    client.create_topic("news")
    client.subscribe("news", lambda message: (messages.append(message), heard.release()))
    for message in ("m0", {"n": 1}):
        client.publish("news", message)
        assert heard.acquire(timeout=PATIENCE)
    assert messages == ["m0", '{"n":1}'], messages
    try:
        client.publish("news", "x" * 70_000)
    except Error as error:
        assert (error.code, error.sent) == (Code.TOO_LARGE, "no"), error
    else:
        raise AssertionError("existing programs do not take such a frame")


def secure(address, cert, key):
    """All of it over TLS."""
    ours = trefoil.tls_context(cert)
    with trefoil.connect(address, tls=ours) as client, trefoil.connect(address, tls=ours) as other:
        assert client.call("broker.echo", {"value": "x" * (4 << 20)}, direct=True) == "x" * (4 << 20)
        with trefoil.Provider(other, tls=trefoil.tls_context(cert, cert, key, server=True)) as provider:
            provider.method("py.echo")(lambda value: value)
            provider.start()
            assert client.call("py.echo", {"value": "y" * (4 << 20)}) == "y" * (4 << 20)
            futures = [client.call_async("py.echo", {"value": n}) for n in range(200)]
            assert [f.result(PATIENCE) for f in futures] == list(range(200))

    def fails(says, address, **options):
        try:
            trefoil.connect(address, **options).close()
        except Error as error:
            assert (error.code, error.sent) == (Code.UNAVAILABLE, "no") and says in str(error), error
        else:
            raise AssertionError(says)

    fails("certificate", address, tls=trefoil.tls_context(None))
    foreign = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    foreign.load_cert_chain(cert, key)  # the right certificate, and another service
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard = []

        def serve():
            with foreign.wrap_socket(listener.accept()[0], server_side=True) as conn:
                heard.append(conn.recv(100))
        thread = threading.Thread(target=serve)
        thread.start()
        fails("ALPN", "127.0.0.1:%d" % listener.getsockname()[1], tls=ours, token="a secret")
        thread.join(PATIENCE)
        assert heard == [b""], heard


def main():
    logging.basicConfig(level=logging.CRITICAL)
    story, address = sys.argv[1:3]
    if story == "secure":
        secure(address, *sys.argv[3:])
        say("done")
        return
    options = {"token": sys.argv[3]} if len(sys.argv) > 3 else {}
    with trefoil.connect(address, hello=story != "legacy", backoff=(0.01, 0.1), connect_timeout=PATIENCE, timeout=PATIENCE, on_problem=lambda problem: None, **options) as client:
        {f.__name__: f for f in (calls, provide, relayed, topics, readers, watch, restart, moves_on, talk, legacy)}[story](client)
    left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread() and "handler" not in thread.name]
    assert not left, left
    say("done")


if __name__ == "__main__":
    main()
