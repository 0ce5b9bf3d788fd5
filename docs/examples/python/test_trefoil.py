"""Tests of trefoil.py against servers and callers that lie, are silent or are old: python3 -m unittest test_trefoil.

They wait for events, with a deadline that is never reached when all is well.
"""

import concurrent.futures
import json
import os
import pathlib
import socket
import threading
import unittest

import trefoil
from trefoil import Code, Error, Frame

PATIENCE = 120
GOLDEN = pathlib.Path(__file__).resolve().parents[3] / "concrete" / "lv" / "testdata"
HELLO = {"rcode": 0, "version": 1, "max_frame": 1 << 20}


def golden(name):
    lines = (GOLDEN / f"{name}.hex").read_text().splitlines()
    return bytes.fromhex("".join(line.split("#")[0].strip() for line in lines))


def decode(data, max_frame=1 << 20):
    return list(trefoil.Decoder(max_frame).feed(data))


class Peer:
    """The other side of a connection, as bytes."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self._decoder = trefoil.Decoder(64 << 20)
        self._frames = []

    def read(self, *skipped):
        """Returns the next frame that is of none of the types skipped; None at the end."""
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame.mtype not in skipped:
                    return frame
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionError:
                return None
            if not data:
                return None
            self._frames += self._decoder.feed(data)

    def send(self, mtype, body, ident=b""):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.sock.sendall(trefoil.encode_frame(Frame(mtype, ident, raw)))

    def answer(self, body, *skipped):
        """Answers the next request, and returns it."""
        frame = self.read(*skipped)
        self.send(trefoil.ANSWERS[frame.mtype], body, frame.ident)
        return frame

    def close(self):
        self.sock.close()


class Liar:
    """A server that does what a function says: it gets the Peer once HELLO is answered."""

    def __init__(self, script, hello=HELLO):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._script, self._hello = script, hello
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self.fault = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        sock, _ = self._listener.accept()
        peer = Peer(sock)
        try:
            if self._hello is not None:
                peer.answer(self._hello)
            self._script(peer)
        except BaseException as fault:
            self.fault = fault
        finally:
            peer.close()

    def close(self):
        """Waits until the function has returned; twice is once."""
        self._thread.join(PATIENCE)
        self._listener.close()
        if self.fault is not None:
            raise self.fault


class Bodies(unittest.TestCase):
    def test_numbers_keep_64_bits_and_integral_ones_are_integers(self):
        body = trefoil.parse_body(b'{"a":9223372036854775807,"b":-9223372036854775808,"c":2.0,"d":2e0}')
        self.assertEqual((body["a"], body["b"]), (2**63 - 1, -(2**63)))
        self.assertTrue(trefoil._is_kind(body["c"], "integer") and trefoil._is_kind(body["d"], "integer"))
        self.assertEqual(trefoil.encode_body({"a": 2**63 - 1}), b'{"a":9223372036854775807}')

    def test_the_last_of_equal_keys_counts(self):
        self.assertEqual(trefoil.parse_body(b' {"a":1,"a":2} '), {"a": 2})

    def test_what_is_no_character_is_replaced(self):
        for raw in (b'{"a":"\\ud83d"}', b'{"a":"\\uDE00"}', b'{"a":"\xff"}'):
            self.assertEqual(trefoil.parse_body(raw), {"a": "\ufffd"}, raw)
        self.assertEqual(trefoil.parse_body(b'{"a":"\\ud83d\\ude00 \\\\ud83d"}'), {"a": "\U0001F600 \\ud83d"})
        self.assertEqual(trefoil.encode_body({"a": "x\ud83dy"}), '{"a":"x\ufffdy"}'.encode())

    def test_what_is_not_one_object_is_refused(self):
        for raw in (b"", b"[]", b"5", b"null", b"{} {}", b'\xef\xbb\xbf{}', b'{"a":NaN}', b"{/**/}", b'{"a":1,}', b'{"a":"\n"}'):
            with self.assertRaises(ValueError, msg=raw):
                trefoil.parse_body(raw)

    def test_depth_is_limited_and_braces_in_strings_do_not_count(self):
        def nested(levels):
            return b'{"a":' * levels + b"1" + b"}" * levels

        trefoil.parse_body(nested(128))
        for levels in (129, 100_000):
            with self.assertRaises(trefoil.TooDeep):
                trefoil.parse_body(nested(levels))
        text = '[{"' * 1000
        self.assertEqual(trefoil.parse_body(trefoil.encode_body({"a": text})), {"a": text})

    def test_endless_digits_cost_nothing(self):
        self.assertEqual(trefoil.parse_body(b'{"a":' + b"9" * 100_000 + b"}"), {"a": float("inf")})

    def test_what_is_no_json_is_not_written(self):
        for value in (float("nan"), float("inf"), {1, 2}, b"bytes"):
            with self.assertRaises(Error, msg=value) as caught:
                trefoil.encode_body({"a": value})
            self.assertEqual(caught.exception.code, Code.INVALID_MESSAGE)


class Frames(unittest.TestCase):
    def test_golden_frames_are_read_and_written_as_they_are(self):
        names = sorted(f.stem for f in GOLDEN.glob("*.hex"))
        self.assertGreater(len(names), 30)
        for name in names:
            if name == "29-little-endian" or "packed" in name:
                with self.assertRaises(Error, msg=name):
                    decode(golden(name))
                continue
            (frame,) = decode(golden(name))
            self.assertEqual(trefoil.encode_frame(frame), golden(name), name)
            body = trefoil.parse_body(frame.body)
            self.assertEqual(trefoil.parse_body(trefoil.encode_body(body)), body, name)

    def test_golden_frames_mean_what_they_say(self):
        (request,) = decode(golden("01-req-rpc"))
        self.assertEqual((request.mtype, trefoil.parse_body(request.body)), (0, {"method": "Add", "parameters": {"num1": 20, "num2": 30}}))
        (hosts,) = decode(golden("12-rsp-service-two-hosts"))
        self.assertEqual([str(trefoil.Host.of(h)) for h in trefoil.parse_body(hosts.body)["host"]], ["127.0.0.1:8081", "127.0.0.1:8082"])
        (push,) = decode(golden("22-req-topic-push"))
        self.assertTrue(trefoil._is_notice(push, trefoil.parse_body(push.body), False))

    def test_pieces_make_no_difference(self):
        data = golden("01-req-rpc") + golden("22-req-topic-push")
        decoder = trefoil.Decoder(1 << 20)
        self.assertEqual([f for i in range(len(data)) for f in decoder.feed(data[i:i + 1])], decode(data))

    def test_lengths_that_cannot_be_are_refused_before_they_cost_memory(self):
        pack = trefoil.HEADER.pack
        cases = {
            "below 8": (pack(7, 0, 0), "length 7"), "negative": (pack(-1, 0, 0), "length -1"),
            "above the limit": (pack(2**31 - 1, 0, 0), "above the limit"), "HTTP": (b"GET / HTTP/1.1\r\n", "above the limit"),
            "id above the frame": (pack(20, 0, 13), "id of length 13"), "negative id": (pack(20, 0, -1), "id of length -1"),
            "long id": (pack(5000, 0, 1025), "id of length 1025"), "compressed": (pack(20, 2 << 28, 0), "compressed"),
            "negative type": (pack(20, -1, 0), "negative"),
        }
        for name, (data, says) in cases.items():
            with self.assertRaisesRegex(Error, says, msg=name):
                decode(data)
        self.assertEqual(len(decode(golden("01-req-rpc"), max_frame=122)), 1)
        with self.assertRaisesRegex(Error, "above the limit of 121"):
            decode(golden("01-req-rpc"), max_frame=121)


class LyingServers(unittest.TestCase):
    """What a client makes of a server that does other than docs/protocol.md says."""

    def against(self, script, hello=HELLO, **options):
        self.liar = liar = Liar(script, hello)
        self.addCleanup(liar.close)
        problems = []
        client = trefoil.connect(liar.address, on_problem=problems.append, timeout=PATIENCE, backoff=(PATIENCE, PATIENCE), **options)
        self.addCleanup(client.close)
        return client, problems

    def test_a_bad_stream_ends_the_connection_with_a_clear_error(self):
        cases = {
            "not JSON": (lambda p, i: p.send(1, b"{", i), "no JSON object"),
            "an array": (lambda p, i: p.send(1, b"[]", i), "not an object"),
            "no frame": (lambda p, i: p.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n"), "above the limit"),
            "a type that is never used": (lambda p, i: p.send(7, {}, i), "type 7"),
            "compressed": (lambda p, i: p.send(2 << 28 | 1, {}, i), "compressed"),
            "too long": (lambda p, i: p.sock.sendall(trefoil.HEADER.pack(9 << 20, 1, 0)), "above the limit"),
            "closed": (lambda p, i: None, "closed the connection"),
            "a second HELLO": (lambda p, i: p.send(16, {"version": 1}, b"x"), "second HELLO"),
        }
        for name, (lie, says) in cases.items():
            with self.subTest(name):
                def script(peer):
                    lie(peer, peer.read().ident)
                    if name != "closed":
                        while peer.read() is not None:
                            pass
                client, _ = self.against(script)
                with self.assertRaisesRegex(Error, says) as caught:
                    client.call("m", direct=True)
                self.assertEqual((caught.exception.code, caught.exception.sent), (Code.DISCONNECTED, "unknown"))

    def test_answers_that_make_no_sense_fail_their_call_only(self):
        def script(peer):
            for mtype, body in ((1, {"result": 1}), (1, {"rcode": "0"}), (3, {"rcode": 0}), (1, b'{"a":' * 200 + b"1" + b"}" * 200), (21, {"rcode": 25})):
                peer.send(mtype, body, peer.read().ident)
            peer.send(1, {"rcode": 0}, b"nobody waits for this")
            peer.send(1, {"rcode": 42, "message": "unheard of"}, peer.read().ident)
            peer.answer({"rcode": 0, "result": "well"})
            peer.read()
        client, problems = self.against(script)
        for code in (Code.INVALID_MESSAGE, Code.INVALID_MESSAGE, Code.WRONG_MESSAGE_TYPE, Code.INVALID_MESSAGE, Code.UNSUPPORTED, 42):
            with self.assertRaises(Error) as caught:
                client.call("m", direct=True)
            self.assertEqual((caught.exception.code, caught.exception.sent), (code, "yes"))
        self.assertEqual(client.call("m", direct=True), "well")
        self.assertEqual(problems, [])

    def test_hello_that_is_refused_or_answered_with_something_else(self):
        cases = {
            "refused": ({"rcode": 21, "message": "who are you?"}, None, Code.DENIED, "who are you"),
            "another type": (None, lambda p: (p.read(), p.send(1, {"rcode": 0}, b"1"), p.read()), Code.DISCONNECTED, "answered HELLO with a message of type 1"),
            "closed": (None, lambda p: p.read(), Code.DISCONNECTED, "hello=False"),
            "silent": (None, lambda p: (p.read(), p.read()), Code.TIMEOUT, "no answer"),
        }
        for name, (hello, script, code, says) in cases.items():
            with self.subTest(name):
                liar = Liar(script or (lambda p: p.read()), hello)
                with self.assertRaisesRegex(Error, says) as caught:
                    trefoil.connect(liar.address, connect_timeout=1 if name == "silent" else PATIENCE)
                self.assertEqual(caught.exception.code, code)
                liar.close()

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        with self.assertRaisesRegex(Error, "cannot connect") as caught:
            trefoil.connect(f"127.0.0.1:{port}")
        self.assertEqual((caught.exception.code, caught.exception.sent), (Code.UNAVAILABLE, "no"))

    def test_a_silent_server_is_asked_for_a_sign_of_life_and_given_up(self):
        pings = []

        def script(peer):
            peer.read()  # the call
            while (frame := peer.read()) is not None:
                pings.append(frame.mtype)
        client, _ = self.against(script, {**HELLO, "ping_ms": 100, "misses": 3})
        with self.assertRaisesRegex(Error, "silent for 3 intervals"):
            client.call("m", direct=True)
        self.liar.close()
        self.assertEqual(pings[:2], [trefoil.PING, trefoil.PING])

    def test_pings_are_answered_and_unknown_types_refused(self):
        got = []

        def script(peer):
            call = peer.read()
            peer.send(trefoil.PING, {}, b"a")
            peer.send(99, {}, b"b")
            peer.send(0, {"method": "m", "parameters": {}}, b"c")
            got.extend(peer.read() for _ in range(3))
            peer.send(1, {"rcode": 0, "result": 1}, call.ident)
            peer.read()
        client, _ = self.against(script)
        self.assertEqual(client.call("m", direct=True), 1)
        self.assertEqual([(f.mtype, f.ident) for f in got], [(trefoil.PONG, b"a"), (trefoil.RSP_UNSUPPORTED, b"b"), (1, b"c")])

    def test_a_frame_that_is_never_finished_ends_the_connection(self):
        def script(peer):
            peer.read()
            peer.sock.sendall(golden("02-rsp-rpc-ok")[:20])
            peer.read()
        client, _ = self.against(script, frame_timeout=0.05)
        with self.assertRaisesRegex(Error, "not finished a frame"):
            client.call("m", direct=True)

    def test_a_server_that_does_not_read_ends_the_connection(self):
        over = threading.Event()
        client, _ = self.against(lambda peer: over.wait(PATIENCE), write_timeout=0.05, hello={**HELLO, "max_frame": 64 << 20})
        self.addCleanup(over.set)
        with self.assertRaisesRegex(Error, "has not read") as caught:
            client.call("m", {"text": "x" * (16 << 20)}, direct=True)
        self.assertEqual(caught.exception.sent, "unknown")

    def test_limits_are_kept_before_anything_is_sent(self):
        over, two = threading.Event(), threading.Event()
        client, _ = self.against(lambda peer: (peer.read(), peer.read(), two.set(), over.wait(PATIENCE)), hello={**HELLO, "max_frame": 2000}, max_pending=2)
        self.addCleanup(over.set)
        with self.assertRaisesRegex(Error, "takes up to 2000") as caught:
            client.call("m", {"text": "x" * 2000}, direct=True)
        self.assertEqual((caught.exception.code, caught.exception.sent), (Code.TOO_LARGE, "no"))
        first = [client.call_async("m", direct=True) for _ in range(2)]
        self.assertTrue(two.wait(PATIENCE))
        with self.assertRaisesRegex(Error, "are under way") as caught:
            client.call("m", direct=True)
        self.assertEqual((caught.exception.code, caught.exception.sent), (Code.OVERLOADED, "no"))
        self.assertTrue(all(f.cancel() for f in first))

    def test_what_waits_to_be_sent_is_bounded(self):
        over = threading.Event()
        client, _ = self.against(lambda peer: over.wait(PATIENCE), hello={**HELLO, "max_frame": 64 << 20}, max_queue=8 << 20)
        self.addCleanup(over.set)
        calls = [client.call_async("m", {"text": "x" * (4 << 20)}, direct=True) for _ in range(16)]
        concurrent.futures.wait(calls, PATIENCE, concurrent.futures.FIRST_EXCEPTION)
        refused = [f.exception() for f in calls if f.done()]
        self.assertTrue(refused)
        for error in refused:
            self.assertEqual((error.code, error.sent), (Code.OVERLOADED, "no"))
        for f in calls:
            f.cancel()

    def test_deadline_and_cancel_are_told(self):
        got, third, told = [], threading.Event(), threading.Event()

        def script(peer):
            got.extend(peer.read() for _ in range(3))
            third.set()
            for frame in (peer.read(), peer.read()):  # in any order: they come from two threads
                if frame.mtype == trefoil.REQ_RPC:
                    peer.send(1, {"rcode": 0, "result": 1}, frame.ident)
                else:
                    got.append(frame)
                    told.set()
            peer.read()
        client, _ = self.against(script)
        with self.assertRaises(Error) as caught:
            client.call("m", direct=True, timeout=1.5)
        self.assertEqual((caught.exception.code, caught.exception.sent), (Code.TIMEOUT, "unknown"))
        future = client.call_async("m", direct=True)
        self.assertTrue(third.wait(PATIENCE))
        self.assertTrue(future.cancel())
        self.assertEqual(client.call("m", direct=True), 1)
        self.assertTrue(told.wait(PATIENCE))
        self.assertEqual([f.mtype for f in got], [0, trefoil.CANCEL, 0, trefoil.CANCEL])
        self.assertEqual([got[0].ident, got[2].ident], [got[1].ident, got[3].ident])
        self.assertLessEqual(trefoil.parse_body(got[0].body)["timeout_ms"], 1500)

    def test_goodbye_ends_new_requests_and_lets_old_ones_finish(self):
        said = threading.Event()
        got = []

        def script(peer):
            call = peer.read()
            peer.send(trefoil.GOODBYE, {"rcode": 19, "message": "shutting down"})
            peer.send(trefoil.PING, {}, b"now")
            got.append(peer.read())  # PONG: GOODBYE has been handled
            said.set()
            peer.send(1, {"rcode": 0, "result": "late"}, call.ident)
            got.append(peer.read())
        client, _ = self.against(script)
        future = client.call_async("m", direct=True)
        self.assertTrue(said.wait(PATIENCE))
        self.assertEqual(future.result(PATIENCE), "late")
        with self.assertRaises(Error) as caught:
            client.call("m", direct=True, timeout=0.05)
        self.assertEqual((caught.exception.sent), "no")
        client.close()
        self.liar.close()
        self.assertEqual([f.mtype for f in got], [trefoil.PONG, trefoil.GOODBYE])
        self.assertEqual(trefoil.parse_body(got[1].body)["rcode"], Code.DRAINING)

    def test_gaps_are_told_before_the_next_message(self):
        heard, done = [], threading.Event()

        def script(peer):
            peer.answer({"rcode": 0})
            peer.send(2, {"optype": 4, "topic_key": "t", "topic_msg": 1})
            peer.send(trefoil.GAP, {"topic_key": "t", "missed": 17})
            peer.send(2, {"optype": 4, "topic_key": "t", "topic_msg": 2})
            peer.read()
        client, _ = self.against(script)
        client.subscribe("t", lambda m: (heard.append(m), m == 2 and done.set()), lambda n: heard.append(f"gap {n}"))
        self.assertTrue(done.wait(PATIENCE))
        self.assertEqual(heard, [1, "gap 17", 2])

    def test_a_slow_callback_loses_its_oldest_messages_and_is_told(self):
        begun, queued, done = threading.Event(), threading.Event(), threading.Event()
        heard = []

        def script(peer):
            peer.answer({"rcode": 0})
            peer.send(2, {"optype": 4, "topic_key": "t", "topic_msg": 0})
            begun.wait(PATIENCE)
            for n in range(1, 101):
                peer.send(2, {"optype": 4, "topic_key": "t", "topic_msg": n, "more": "x" * 1000})
            peer.send(trefoil.PING, {})
            peer.read()
            queued.set()
            peer.read()

        def slow(message):
            heard.append(message)
            begun.set()
            queued.wait(PATIENCE)
            if message == 100:
                done.set()
        client, _ = self.against(script, subscriber_queue=10_000)
        client.subscribe("t", slow, lambda n: heard.append(-n))
        self.assertTrue(done.wait(PATIENCE))
        self.assertEqual((heard[0], heard[-1]), (0, 100))
        self.assertEqual(heard[2:], list(range(-heard[1] + 1, 101)), "the gap says how many are missing, and all others are there")

    def test_a_reader_goes_on_where_it_was(self):
        seen, said, second = [], threading.Semaphore(0), []
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            for script in (first_life, second_life):
                peer = Peer(listener.accept()[0])
                peer.answer(HELLO)
                script(peer)
                peer.close()

        def subscribed(peer, answer):
            request = peer.read()
            body = trefoil.parse_body(request.body)
            peer.send(trefoil.RSP_TOPIC, answer, request.ident)
            n = answer["offset"] + 1
            peer.send(2, {"optype": 4, "topic_key": "t", "topic_msg": n, "offset": n, "sub": body["sub"]})
            return body

        def first_life(peer):
            body = subscribed(peer, {"rcode": 0, "offset": 5, "epoch": "e1", "recovered": True})
            self.assertEqual((body["topic_key"], body["from"]), ("t", 6))
            peer.send(2, {"optype": 4, "topic_key": "t", "topic_msg": 7, "offset": 7, "sub": body["sub"], "delivery": 1})
            ack = trefoil.parse_body(peer.read().body)
            self.assertEqual((ack["optype"], ack["sub"], ack["deliveries"]), (19, body["sub"], [1]))
            second.append(body["sub"])

        def second_life(peer):
            body = subscribed(peer, {"rcode": 0, "offset": 8, "epoch": "e2", "recovered": False})
            self.assertEqual((body["from"], body["epoch"]), (8, "e1"))
            self.assertNotEqual(body["sub"], second[0], "deliveries of the first can no longer be acknowledged")
            while peer.read() is not None:
                pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with trefoil.connect("127.0.0.1:%d" % listener.getsockname()[1], on_problem=lambda _: None, backoff=(0.01, 0.1)) as client:
            client.read("t", lambda m: (seen.append((m.value, m.offset)), said.release()), lambda n: (seen.append(n), said.release()), start=6)
            for _ in range(4):
                self.assertTrue(said.acquire(timeout=PATIENCE), seen)
        self.assertEqual(seen, [(6, 6), (7, 7), 0, (9, 9)])
        thread.join(PATIENCE)
        listener.close()

    def test_notices_with_a_gap_are_asked_for(self):
        online, offline = [], []
        done = threading.Event()
        a, b = {"ip": "127.0.0.1", "port": 1}, {"ip": "127.0.0.1", "port": 2}

        def script(peer):
            peer.answer({"optype": 1, "rcode": 0, "method": "m", "host": [a], "revision": 7})
            peer.send(4, {"optype": 2, "method": "m", "host": b, "revision": 9})  # 8, of a, is lost
            peer.answer({"optype": 1, "rcode": 0, "method": "m", "host": [b], "revision": 9})
            peer.read()
        client, problems = self.against(script)
        client.watch("m", lambda h: online.append(h.port), lambda h: (offline.append(h.port), done.set()))
        self.assertTrue(done.wait(PATIENCE), problems)
        self.assertEqual((online[-1], offline), (2, [1]))

    def test_close_ends_every_call_and_every_thread(self):
        came, over = threading.Event(), threading.Event()
        before = set(threading.enumerate())
        client, _ = self.against(lambda peer: (peer.read(), came.set(), over.wait(PATIENCE)), threads=2)
        self.addCleanup(over.set)
        calls = [client.call_async("m", direct=True) for _ in range(10)]
        self.assertTrue(came.wait(PATIENCE))
        client.close()
        self.assertEqual({f.exception(PATIENCE).code for f in calls}, {Code.DISCONNECTED, Code.CANCELLED})
        with self.assertRaisesRegex(Error, "closed"):
            client.call("m")
        with self.assertRaisesRegex(Error, "closed"):
            client.publish("t", 1)
        self.assertEqual(client.call_async("m").exception(PATIENCE).code, Code.CANCELLED)
        client.close()  # twice is once
        self.assertFalse([t.name for t in set(threading.enumerate()) - before if t.name.startswith("trefoil")])

    def test_a_callback_of_a_future_may_call(self):
        def script(peer):
            peer.answer({"rcode": 0, "result": 1})
            peer.answer({"rcode": 0, "result": 2})
            peer.read()
        client, _ = self.against(script)
        seen, done = [], threading.Event()
        future = client.call_async("m", direct=True)
        future.add_done_callback(lambda f: (seen.extend([f.result(), client.call("m", direct=True)]), done.set()))
        self.assertTrue(done.wait(PATIENCE))
        self.assertEqual(seen, [1, 2])


class Providers(unittest.TestCase):
    """What a provider makes of its callers, without a broker."""

    def serve(self, **options):
        provider = trefoil.Provider(None, **options)
        self.addCleanup(provider.close, 0)

        @provider.method("add")
        def add(num1: int, num2: int = 1) -> int:
            return num1 + num2

        @provider.method("kinds")
        def kinds(b: bool, n: float, s: str, a: list, o: dict, x) -> dict:
            return {"all": [b, n, s, a, o, x]}

        @provider.method("nothing")
        def nothing():
            pass

        @provider.method("wrong")
        def wrong() -> int:
            return "text"

        @provider.method("large")
        def large() -> str:
            return "x" * 100_000

        @provider.method("fails")
        def fails():
            raise KeyError("secret")

        @provider.method("refuses")
        def refuses():
            raise Error(Code.DENIED, "not you", details={"why": 1})

        self.begun, self.told = threading.Event(), threading.Event()

        @provider.method("hangs")
        def hangs(call: trefoil.Call):
            self.begun.set()
            call.cancelled.wait(PATIENCE)
            self.told.set()
        provider.start()
        return provider

    def dial(self, provider, hello=True):
        peer = Peer(socket.create_connection(provider.address))
        self.addCleanup(peer.close)
        if hello:
            peer.send(16, {"version": 1, "max_frame": 50_000 if hello == "small" else 0}, b"h")
            self.assertEqual(trefoil.parse_body(peer.read().body)["rcode"], 0)
        return peer

    def ask(self, peer, method, params, **more):
        peer.send(0, {"method": method, "parameters": params, **more}, b"id")
        frame = peer.read(trefoil.PING)
        self.assertEqual((frame.mtype, frame.ident), (1, b"id"))
        return trefoil.parse_body(frame.body)

    def test_parameters_are_checked_and_the_field_is_named(self):
        peer = self.dial(self.serve())
        good = {"b": True, "n": 1.5, "s": "s", "a": [], "o": {}, "x": None}
        self.assertEqual(self.ask(peer, "kinds", good)["result"], {"all": [True, 1.5, "s", [], {}, None]})
        for field, wrong, kind, found in (("b", 1, "bool", "integer"), ("n", "1", "number", "string"), ("s", 1.5, "string", "number"), ("a", {}, "array", "object"),
                                          ("o", [], "object", "array"), ("n", True, "number", "bool"), ("s", None, "string", "null")):
            with self.subTest(field=field, wrong=wrong):
                body = self.ask(peer, "kinds", {**good, field: wrong})
                self.assertEqual((body["rcode"], body["result"], body["message"]), (5, None, f'parameter "{field}" of kinds must be {kind}, not {found}'))
        missing = {k: v for k, v in good.items() if k != "x"}
        self.assertIn('kinds needs a parameter "x" (any)', self.ask(peer, "kinds", missing)["message"])
        for wrong in (2.5, "2", True, None, [2], 1e400):
            body = self.ask(peer, "add", {"num1": 0 if wrong == 1e400 else wrong}) if wrong != 1e400 else None
            if body is not None:
                self.assertEqual((body["rcode"], 'parameter "num1" of add must be integer, not ' in body["message"]), (5, True), wrong)
        for params in (None, [], "x"):
            self.assertEqual(self.ask(peer, "add", params)["rcode"], 5)

    def test_parameters_that_are_taken(self):
        peer = self.dial(self.serve())
        self.assertEqual(self.ask(peer, "add", {"num1": 2**62, "num2": 2**62 - 1})["result"], 2**63 - 1)
        self.assertEqual(self.ask(peer, "add", {"num1": 2.0})["result"], 3, "integral numbers are integers, and defaults are used")
        self.assertEqual(self.ask(peer, "add", {"num1": 1, "unheard": 2})["result"], 2)
        self.assertEqual(self.ask(peer, "nothing", {})["result"], {})

    def test_what_fails_is_answered(self):
        peer = self.dial(self.serve(), "small")
        for method, code, says in (("unknown", 6, "unknown"), ("wrong", 9, "description"), ("fails", 9, "failed"), ("refuses", 21, "not you"), ("large", 23, "takes up to 50000")):
            body = self.ask(peer, method, {})
            self.assertEqual((body["rcode"], body["result"], says in body["message"]), (code, None, True), body)
            self.assertNotIn("secret", body["message"])
        self.assertEqual(self.ask(peer, "refuses", {})["details"], {"why": 1})
        self.assertEqual(self.ask(peer, "add", {"num1": 1}, instance="another")["rcode"], Code.WRONG_INSTANCE)
        peer.send(0, {"method": 5}, b"n")
        self.assertEqual(trefoil.parse_body(peer.read().body)["rcode"], 6)
        peer.send(0, b'{"a":' * 200 + b"1" + b"}" * 200, b"d")
        self.assertEqual(trefoil.parse_body(peer.read().body)["rcode"], 3)
        peer.send(2, {"optype": 0, "topic_key": "t"}, b"t")
        frame = peer.read()
        self.assertEqual((frame.mtype, trefoil.parse_body(frame.body)["rcode"]), (3, 2))

    def test_a_legacy_caller_gets_what_it_knows(self):
        peer = self.dial(self.serve(), hello=False)
        self.assertEqual(self.ask(peer, "add", {"num1": 1})["result"], 2)
        self.assertEqual(self.ask(peer, "refuses", {})["rcode"], Code.SERVICE_NOT_FOUND)
        self.assertEqual(self.ask(peer, "large", {})["rcode"], Code.INTERNAL)
        peer.send(trefoil.PING, {})
        self.assertIsNone(peer.read(), "types from 16 up are for peers that said HELLO")

    def test_bad_streams_are_closed(self):
        provider = self.serve()
        for name, data in {"HTTP": b"GET / HTTP/1.1\r\n\r\n", "a gap in the types": trefoil.encode_frame(Frame(6, b"", b"{}")),
                           "no JSON": trefoil.encode_frame(Frame(0, b"", b"[]")), "compressed": golden("44-packed-s2")}.items():
            peer = self.dial(provider, hello=False)
            peer.sock.sendall(data)
            self.assertIsNone(peer.read(), name)
        self.assertEqual(self.ask(self.dial(provider), "add", {"num1": 1})["result"], 2)

    def test_hello_for_somebody_else_is_refused(self):
        provider = self.serve()
        for hello, code in (({"version": 1, "instance": "another"}, Code.WRONG_INSTANCE), ({"version": 0}, Code.UNSUPPORTED), ({}, Code.UNSUPPORTED)):
            peer = self.dial(provider, hello=False)
            peer.send(16, hello)
            self.assertEqual(trefoil.parse_body(peer.read().body)["rcode"], code)
            self.assertIsNone(peer.read())

    def test_cancel_reaches_the_handler_and_so_does_a_lost_caller(self):
        provider = self.serve()
        peer = self.dial(provider)
        peer.send(0, {"method": "hangs", "parameters": {}}, b"x")
        self.assertTrue(self.begun.wait(PATIENCE))
        peer.send(trefoil.CANCEL, {}, b"x")
        self.assertEqual(trefoil.parse_body(peer.read(trefoil.PING).body)["rcode"], Code.CANCELLED)
        self.begun.clear(), self.told.clear()
        peer.send(0, {"method": "hangs", "parameters": {}}, b"x")
        self.assertTrue(self.begun.wait(PATIENCE))
        peer.close()
        self.assertTrue(self.told.wait(PATIENCE))

    def test_what_is_over_is_not_begun_and_too_much_is_refused(self):
        peer = self.dial(self.serve(threads=1, waiting=2))
        peer.send(0, {"method": "hangs", "parameters": {}}, b"first")
        self.assertTrue(self.begun.wait(PATIENCE))
        peer.send(0, {"method": "add", "parameters": {"num1": 1}, "timeout_ms": 0.001}, b"late")
        peer.send(0, {"method": "add", "parameters": {"num1": 1}}, b"cancelled")
        peer.send(0, {"method": "add", "parameters": {"num1": 1}}, b"too much")
        refused = peer.read(trefoil.PING)
        self.assertEqual((refused.ident, trefoil.parse_body(refused.body)["rcode"]), (b"too much", Code.OVERLOADED))
        peer.send(trefoil.CANCEL, {}, b"cancelled")
        peer.send(trefoil.CANCEL, {}, b"first")
        rest = [peer.read(trefoil.PING) for _ in range(3)]
        self.assertEqual({f.ident: trefoil.parse_body(f.body)["rcode"] for f in rest}, {b"first": 17, b"late": 16, b"cancelled": 17})

    def test_a_silent_caller_is_pinged_and_closed(self):
        peer = self.dial(self.serve(ping=0.2, misses=3))
        self.assertEqual([peer.read().mtype, peer.read().mtype, peer.read()], [trefoil.PING, trefoil.PING, None])

    def test_close_waits_for_what_runs_and_says_goodbye(self):
        provider = self.serve()
        peer = self.dial(provider)
        peer.send(0, {"method": "hangs", "parameters": {}}, b"x")
        self.assertTrue(self.begun.wait(PATIENCE))
        closer = threading.Thread(target=provider.close, args=(PATIENCE,))
        closer.start()
        while True:  # until it drains
            body = self.ask(peer, "add", {"num1": 1})
            if body["rcode"] == Code.DRAINING:
                break
            self.assertEqual(body["rcode"], 0)
        peer.send(trefoil.CANCEL, {}, b"x")
        self.assertEqual(peer.read(trefoil.PING).ident, b"x")
        frame = peer.read(trefoil.PING)
        self.assertEqual((frame.mtype, trefoil.parse_body(frame.body)["rcode"]), (trefoil.GOODBYE, Code.DRAINING))
        peer.close()
        closer.join(PATIENCE)
        self.assertFalse(closer.is_alive())


if __name__ == "__main__":
    os.environ.setdefault("PYTHONFAULTHANDLER", "1")
    unittest.main()
