"""A client of Trefoil: remote calls, topics and service discovery.

Everything is in this file, and it needs nothing but Python 3.9 or later:

    client = trefoil.connect("127.0.0.1:7700")
    client.call("math.add", {"num1": 20, "num2": 30})         # waits
    client.call_async("math.add", {"num1": 1, "num2": 2})     # concurrent.futures.Future
    client.subscribe("news", print)
    client.publish("news", "hello")
    client.read("orders", print, start=42)                    # from an offset, with resume; also groups, consumers, filters
    client.watch("math.add", on_online=print, on_offline=print)

    provider = trefoil.Provider(client)

    @provider.method("math.sub")
    def sub(num1: int, num2: int) -> int:
        return num1 - num2

    provider.start()

Whatever fails raises trefoil.Error with a code, a message, and in `sent` whether the request left
this process: "no", "yes" or "unknown". A client connects again by itself, and then registers,
subscribes and asks for providers again. All of it may be used from any thread.

What is on the wire is described in docs/protocol.md, and how this file goes about it in
docs/clients.md.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import inspect
import itertools
import json
import logging
import random
import re
import selectors
import socket
import ssl
import struct
import threading
import time
import typing
import uuid
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from typing import Any, Callable, Deque, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple, Union

__all__ = ["connect", "Client", "Provider", "Call", "Host", "Message", "Receipt", "Error", "Code", "tls_context"]

log = logging.getLogger("trefoil")


# ---------------------------------------------------------------------------- codes and errors


class Code(enum.IntEnum):
    """Return codes; docs/errors.md says what to do about each."""

    OK = 0
    PARSE_FAILED = 1
    WRONG_MESSAGE_TYPE = 2
    INVALID_MESSAGE = 3
    DISCONNECTED = 4
    INVALID_PARAMS = 5
    SERVICE_NOT_FOUND = 6
    INVALID_OP = 7
    TOPIC_NOT_FOUND = 8
    INTERNAL = 9
    TIMEOUT = 16
    CANCELLED = 17
    UNAVAILABLE = 18
    DRAINING = 19
    OVERLOADED = 20
    DENIED = 21
    EXISTS = 22
    TOO_LARGE = 23
    UNKNOWN_FATE = 24
    UNSUPPORTED = 25
    NOT_FOUND = 26
    NOT_EMPTY = 27
    CONFLICT = 28
    SESSION_EXPIRED = 29
    WRONG_INSTANCE = 30


# What a peer without HELLO gets in place of our codes; those not named become INTERNAL.
LEGACY_CODES = {
    Code.UNAVAILABLE: Code.DISCONNECTED, Code.DRAINING: Code.DISCONNECTED, Code.SESSION_EXPIRED: Code.DISCONNECTED,
    Code.DENIED: Code.SERVICE_NOT_FOUND, Code.WRONG_INSTANCE: Code.SERVICE_NOT_FOUND,
    Code.TOO_LARGE: Code.INVALID_PARAMS, Code.EXISTS: Code.INVALID_PARAMS, Code.NOT_FOUND: Code.INVALID_PARAMS,
    Code.NOT_EMPTY: Code.INVALID_PARAMS, Code.CONFLICT: Code.INVALID_PARAMS, Code.UNSUPPORTED: Code.WRONG_MESSAGE_TYPE,
}


class Error(Exception):
    """What went wrong. A handler raises it to answer with a code, a message and details of its own.

    `sent` is "no" when no byte of the request left this process, "yes" when the peer answered it,
    else "unknown": it may have been handled. `from_peer` tells whether the peer said so.
    """

    def __init__(self, code: int, message: str, *, details: Any = None, sent: str = "no", from_peer: bool = False):
        super().__init__(message)
        self.code, self.message, self.details = code, message, details
        self.sent, self.from_peer = sent, from_peer

    def __str__(self) -> str:
        name = Code(self.code).name if self.code in Code.__members__.values() else "unknown"
        return f"{self.message} (rcode {int(self.code)}, {name}; sent: {self.sent})"


# ---------------------------------------------------------------------------- bodies

MAX_DEPTH = 128  # levels of a body, its own braces included

_STRUCTURE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u[dD][89a-fA-F]..|.)", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class TooDeep(ValueError):
    """A body is nested deeper than MAX_DEPTH."""


def _integer(text: str) -> Union[int, float]:
    # Digits without end would cost quadratic time; what no integer type holds becomes infinite.
    return int(text) if len(text) <= 400 else float(text)


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _whole_pairs(match: "re.Match[str]") -> str:
    text = match.group()
    lone = len(text) == 6 and text[1] == "u"
    return "\\ufffd" if lone else text


def parse_body(raw: bytes) -> Dict[str, Any]:
    """Returns the JSON object that raw is. ValueError when it is none, TooDeep when it has too many levels."""
    text = raw.decode("utf-8", "replace")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        depth = 0
        for match in _STRUCTURE.finditer(text):
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(match.group(), 0)
            if depth > MAX_DEPTH:
                raise TooDeep(f"nested deeper than {MAX_DEPTH} levels")
    if re.search(r"\\u[dD][89a-fA-F]", text):  # a surrogate without its other half is no character
        text = _ESCAPE.sub(_whole_pairs, text)
    body = json.loads(text, parse_int=_integer, parse_constant=_constant)
    if not isinstance(body, dict):
        raise ValueError("not an object")
    return body


def encode_body(body: Dict[str, Any]) -> bytes:
    """Returns body as JSON in UTF-8. Error with code INVALID_MESSAGE when it cannot be written as JSON."""
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as cause:
        raise Error(Code.INVALID_MESSAGE, f"this cannot be written as JSON: {cause}") from cause
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text).encode("utf-8")


# ---------------------------------------------------------------------------- frames

REQ_RPC, RSP_RPC, REQ_TOPIC, RSP_TOPIC, REQ_SERVICE, RSP_SERVICE = range(6)
REQ_HELLO, RSP_HELLO, PING, PONG, GOODBYE, RSP_UNSUPPORTED, GAP, CANCEL = range(16, 24)
ANSWERS = {REQ_RPC: RSP_RPC, REQ_TOPIC: RSP_TOPIC, REQ_SERVICE: RSP_SERVICE, REQ_HELLO: RSP_HELLO}
RESPONSES = {RSP_RPC, RSP_TOPIC, RSP_SERVICE, RSP_HELLO, RSP_UNSUPPORTED}

REGISTER, DISCOVER, ONLINE, OFFLINE, UNKNOWN_OP = range(5)  # of services; OFFLINE in a request unregisters
REPORT = 17
CREATE, REMOVE, SUBSCRIBE, CANCEL_SUBSCRIPTION, PUBLISH = range(5)  # of topics
ACK = 19

MAX_ID = 1024
LEGACY_FRAME = 65532  # the longest frame, Length included, that a peer without HELLO is sent
HEADER = struct.Struct(">iii")


class Frame(NamedTuple):
    """A message as it is on the wire."""

    mtype: int
    ident: bytes
    body: bytes


def encode_frame(frame: Frame) -> bytes:
    """Returns the bytes of a frame."""
    length = 8 + len(frame.ident) + len(frame.body)
    return HEADER.pack(length, frame.mtype, len(frame.ident)) + frame.ident + frame.body


class Decoder:
    """Cuts received bytes into frames, however they arrive. Lengths are judged before anything is kept."""

    def __init__(self, max_frame: int):
        self._max_frame = max_frame
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yields the frames that data completes. Error with code PARSE_FAILED or TOO_LARGE: the stream is no
        longer to be trusted."""
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= 12:
                length, mtype, id_length = HEADER.unpack_from(self._buffer, start)
                self._judge(length, mtype, id_length)
                end = start + 4 + length
                if len(self._buffer) < end:
                    return
                body = start + 12 + id_length
                frame = Frame(mtype, bytes(self._buffer[start + 12:body]), bytes(self._buffer[body:end]))
                start = end
                yield frame
        finally:
            del self._buffer[:start]

    def _judge(self, length: int, mtype: int, id_length: int) -> None:
        if length < 8:
            raise Error(Code.PARSE_FAILED, f"the peer sent a frame of length {length}, below 8")
        if length + 4 > self._max_frame:
            raise Error(Code.TOO_LARGE, f"the peer sent a frame of {length + 4} bytes, above the limit of {self._max_frame}")
        if id_length < 0 or id_length > min(MAX_ID, length - 8):
            raise Error(Code.PARSE_FAILED, f"the peer sent an id of length {id_length} in a frame of length {length}")
        if mtype >> 28:
            raise Error(Code.PARSE_FAILED, f"the peer sent message type {mtype}: negative, or compressed, which was not agreed upon")


# ---------------------------------------------------------------------------- options and small helpers


@dataclasses.dataclass(frozen=True)
class Options:
    """How a client behaves. Times are in seconds, sizes in bytes."""

    token: Optional[str] = None  # who we are; it goes to the broker only
    tls: Optional[ssl.SSLContext] = None  # see tls_context; used for the broker and for providers
    hello: bool = True  # False for a broker that is an existing LV program
    threads: int = 64  # calls of call_async at once
    timeout: float = 5.0  # of whatever names no timeout itself
    connect_timeout: float = 2.0
    backoff: Tuple[float, float] = (0.1, 5.0)  # between attempts to connect: the first wait, and the longest
    grace: float = 10.0  # how long providers are kept that a new connection's broker does not know (yet)
    max_frame: int = 8 << 20
    max_pending: int = 16384  # requests under way on a connection
    max_queue: int = 32 << 20  # waiting to be sent on a connection
    subscriber_queue: int = 1 << 20  # waiting for the callback of a subscription
    frame_timeout: float = 60.0  # from a frame's first byte to its last
    write_timeout: float = 10.0  # without progress
    on_problem: Callable[[Exception], None] = lambda problem: log.warning("%s", problem)  # what goes on in the background


def tls_context(ca: Optional[str], cert: Optional[str] = None, key: Optional[str] = None, server: bool = False) -> ssl.SSLContext:
    """Returns a context for TLS 1.3 that trusts the certificates in the file ca, or those of the system, and shows cert with key."""
    purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
    context = ssl.create_default_context(purpose, cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["trefoil/1"])
    if cert:
        context.load_cert_chain(cert, key)
    return context


@dataclasses.dataclass(frozen=True)
class Host:
    """Where a method is provided. Traits are weight, zone, version, tags and metadata, where the provider names them."""

    ip: str
    port: int
    instance: str = ""
    hello: bool = False
    state: str = ""  # "" when it takes calls; "draining", "unhealthy", "lost"
    traits: Dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> Tuple[str, int, str]:
        """What a provider is told apart by."""
        return self.ip, self.port, self.instance

    @staticmethod
    def of(body: Any) -> "Host":
        """Reads a host as the registry tells it. ValueError when it is none."""
        if not isinstance(body, dict) or not isinstance(body.get("ip"), str) or not _is_kind(body.get("port"), "integer"):
            raise ValueError(f"{body!r} is no host")
        traits = {k: body[k] for k in ("weight", "zone", "version", "tags", "metadata") if k in body}
        return Host(body["ip"], int(body["port"]), str(body.get("instance", "")), body.get("hello") == 1, str(body.get("state", "")), traits)

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}" + (f" ({self.state})" if self.state else "")


def _address(text: str) -> Tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise Error(Code.INVALID_MESSAGE, f"{text!r} is no address; write HOST:PORT")
    return host.strip("[]"), int(port)


def _checked(what: str, body: Dict[str, Any]) -> Dict[str, Any]:
    """Returns the body of a response whose rcode is 0, and raises Error for others."""
    code = body.get("rcode")
    if not _is_kind(code, "integer"):
        raise Error(Code.INVALID_MESSAGE, f"{what}: the answer has no rcode", sent="yes")
    if code != 0:
        message = body.get("message") or f"the peer answered rcode {int(code)}"
        raise Error(int(code), f"{what}: {message}", details=body.get("details"), sent="yes", from_peer=True)
    return body


NEVER = float("inf")


def _undone(error: Error) -> bool:
    """Whether nothing was done with a call, and another provider may do it."""
    if error.from_peer:
        return error.code in (Code.DRAINING, Code.SERVICE_NOT_FOUND, Code.WRONG_INSTANCE)
    return error.sent == "no" and error.code in (Code.DISCONNECTED, Code.DRAINING, Code.OVERLOADED, Code.UNAVAILABLE)


def _start(fn: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=fn, name="trefoil-" + name, daemon=True)
    thread.start()
    return thread


def _join(thread: threading.Thread) -> None:
    if thread is not threading.current_thread():
        thread.join()


# ---------------------------------------------------------------------------- connections


class _Pending:
    """A request that waits for its response. `done` is called once, with a body or an Error, and must not block."""

    __slots__ = ("expects", "what", "done", "sent")

    def __init__(self, expects: int, what: str, done: Callable[[Optional[Dict[str, Any]], Optional[Error]], None]):
        self.expects, self.what, self.done, self.sent = expects, what, done, "no"


class _Owner:
    """What becomes of a connection's messages. All is called in the connection's thread and must not block."""

    def greeted(self, hello: Dict[str, Any]) -> Dict[str, Any]:
        """Answers the HELLO of a peer that connected to us."""
        return {"rcode": Code.UNSUPPORTED, "message": "this side does not answer HELLO"}

    def requested(self, link: "Link", frame: Frame, body: Dict[str, Any]) -> None:
        """Answers a request, now or later."""
        code = Code.SERVICE_NOT_FOUND if frame.mtype == REQ_RPC else Code.WRONG_MESSAGE_TYPE
        link.respond(frame, {"rcode": code, "message": "this side serves no such requests"})

    def noticed(self, link: "Link", frame: Frame, body: Dict[str, Any]) -> None:
        """Takes a notice: a push, GAP, ONLINE, OFFLINE, CANCEL, GOODBYE."""

    def closed(self, link: "Link", why: Error) -> None:
        """Learns that the connection is gone."""


class Link:
    """One connection. A thread of its own reads and writes; others put into its queue."""

    def __init__(self, sock: socket.socket, options: Options, owner: _Owner, server: bool, modern: Optional[bool] = None):
        self._sock, self._options, self._owner, self._server = sock, options, owner, server
        self.modern = modern  # whether the peer said HELLO; None until that is known
        self.leaving = False  # the peer said GOODBYE, or we close
        self._farewell = False  # we said GOODBYE
        self.done = threading.Event()
        self.why = Error(Code.DISCONNECTED, "the connection was closed")
        self.peer = _peer_name(sock)
        self._lock = threading.Lock()
        self._pending: Dict[bytes, _Pending] = {}
        self._serial = itertools.count(1)
        self._queue: Deque[Tuple[bytes, Optional[_Pending]]] = collections.deque()
        self._queued = 0
        self._writing = memoryview(b"")
        self._decoder = Decoder(options.max_frame)
        self._peer_takes = LEGACY_FRAME
        self._ping, self._misses, self._pings = 0.0, 0, 0
        self._heard = self._wrote = time.monotonic()
        self._frame_began: Optional[float] = None
        self._close_by: Optional[float] = None
        self._awake = False
        sock.setblocking(False)
        self._wakes, self._waker = socket.socketpair()
        self._wakes.setblocking(False)
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="trefoil-link", daemon=True)

    # Used from any thread.

    def start(self) -> "Link":
        """Begins to read and write."""
        self._thread.start()
        return self

    def request(self, mtype: int, body: Dict[str, Any], what: str,
                done: Callable[[Optional[Dict[str, Any]], Optional[Error]], None]) -> bytes:
        """Sends a request and returns its id. An Error raised here means that it was not sent, and done is not called."""
        pending = _Pending(ANSWERS[mtype], what, done)
        data = encode_body(body)
        with self._lock:
            if self.leaving:
                raise Error(Code.DRAINING, f"{what}: {self.peer} takes no more requests")
            if len(self._pending) >= self._options.max_pending:
                raise Error(Code.OVERLOADED, f"{what}: {len(self._pending)} requests to {self.peer} are under way")
            ident = b"%x" % next(self._serial)
            self._pending[ident] = pending
            try:
                self._put(Frame(mtype, ident, data), pending)
            except Error:
                del self._pending[ident]
                raise
        return ident

    def ask(self, mtype: int, body: Dict[str, Any], what: str, deadline: float, cancel: "Optional[Future[Any]]" = None,
            answered: Callable[[Dict[str, Any]], Any] = lambda response: None) -> Dict[str, Any]:
        """Sends a request and waits for its response, whose rcode is 0; raises Error for others. When the future cancel is done
        nobody waits any more. answered sees the response before anything that came after it is looked at."""
        answer: "Future[Dict[str, Any]]" = Future()

        def done(response: Optional[Dict[str, Any]], error: Optional[Error]) -> None:
            try:
                if error is not None or response is None:
                    raise error or Error(Code.INTERNAL, what)
                answered(response)
                answer.set_result(_checked(what, response))
            except Error as refused:
                answer.set_exception(refused)
            except ValueError as fault:
                answer.set_exception(Error(Code.INVALID_MESSAGE, f"{what}: {fault}", sent="yes"))

        ident = self.request(mtype, body, what, done)
        over = threading.Event()
        for future in (answer, cancel):
            if future is not None:
                future.add_done_callback(lambda _: over.set())
        try:
            over.wait(max(0, deadline - time.monotonic()))
        finally:  # also when the wait was interrupted
            given_up = self._take(ident)
            if given_up is not None and mtype == REQ_RPC and self.modern:
                self.notify(CANCEL, {}, ident)
        if given_up is None:  # the answer is here, or will be in a moment
            return answer.result()
        if cancel is not None and cancel.done():
            raise Error(Code.CANCELLED, f"{what}: the caller gave up", sent=given_up.sent)
        raise Error(Code.TIMEOUT, f"{what}: no answer from {self.peer} in time", sent=given_up.sent)

    def respond(self, to: Frame, body: Dict[str, Any]) -> None:
        """Answers a request, with what its sender understands."""
        code = body["rcode"]
        if not self.modern and code > Code.INTERNAL:
            body = {**body, "rcode": LEGACY_CODES.get(code, Code.INTERNAL)}
        if to.mtype == REQ_RPC:
            body.setdefault("result", None)
        elif to.mtype == REQ_SERVICE:
            body.setdefault("optype", UNKNOWN_OP)
        try:
            self._answer(to, body)
        except Error as error:
            if error.code not in (Code.TOO_LARGE, Code.INVALID_MESSAGE):
                return  # the connection is gone, or nobody reads there
            short = Code.TOO_LARGE if self.modern and error.code == Code.TOO_LARGE else Code.INTERNAL
            self.respond(to, {"rcode": short, "result": None, "message": error.message})

    def _answer(self, to: Frame, body: Dict[str, Any]) -> None:
        data = encode_body(body)
        with self._lock:
            self._put(Frame(ANSWERS[to.mtype], to.ident, data), None)

    def notify(self, mtype: int, body: Dict[str, Any], ident: bytes = b"") -> None:
        """Sends what gets no response. What cannot be sent is left out."""
        with self._lock:
            try:
                self._put(Frame(mtype, ident, encode_body(body)), None)
            except Error as error:
                log.debug("not sent to %s: %s", self.peer, error)

    def goodbye(self, code: int, message: str) -> None:
        """Says, once, that we go."""
        with self._lock:
            said, self._farewell = self._farewell, True
        if self.modern and not said:
            self.notify(GOODBYE, {"rcode": code, "message": message})

    def close(self, code: int = Code.OK, message: str = "the client closes") -> None:
        """Says GOODBYE and closes when what was queued is sent, a second later at most."""
        self.goodbye(code, message)
        with self._lock:
            self.leaving = True
            self._close_by = time.monotonic() + 1
            self._wake()

    def wait_closed(self) -> None:
        """Waits until the connection's thread has ended."""
        _join(self._thread)

    def hello(self, instance: str, token: Optional[str], deadline: float) -> None:
        """Says HELLO as the side that connected, and waits for the answer."""
        hello: Dict[str, Any] = {"version": 1, "agent": "trefoil-python/1", "max_frame": self._options.max_frame}
        hello.update({key: value for key, value in (("instance", instance), ("token", token)) if value})
        self._peer_takes = self._options.max_frame
        try:
            self.ask(REQ_HELLO, hello, f"HELLO to {self.peer}", deadline)
        except Error as error:
            if error.code == Code.DISCONNECTED and not error.from_peer:
                error.message += "; if it is an existing LV program, connect with hello=False"
            raise

    # Used with the lock held.

    def _put(self, frame: Frame, pending: Optional[_Pending]) -> None:
        data = encode_frame(frame)
        if self.done.is_set():
            raise Error(Code.DISCONNECTED, f"the connection to {self.peer} is gone: {self.why.message}")
        if len(data) > self._peer_takes:
            raise Error(Code.TOO_LARGE, f"a frame of {len(data)} bytes; {self.peer} takes up to {self._peer_takes}")
        if self._queued + len(data) > self._options.max_queue:
            raise Error(Code.OVERLOADED, f"{self._queued} bytes wait to be sent; {self.peer} does not read fast enough")
        self._queue.append((data, pending))
        self._queued += len(data)
        self._wake()

    def _wake(self) -> None:
        if not self._awake and threading.current_thread() is not self._thread:
            self._awake = True
            try:
                self._waker.send(b"x")
            except OSError:
                pass  # it is closed, or there are enough of them

    def _take(self, ident: bytes) -> Optional[_Pending]:
        with self._lock:
            return self._pending.pop(ident, None)

    # The connection's thread.

    def _run(self) -> None:
        why = Error(Code.DISCONNECTED, "the connection was closed")
        selector = selectors.DefaultSelector()
        selector.register(self._wakes, selectors.EVENT_READ)
        selector.register(self._sock, selectors.EVENT_READ)
        writes = False
        try:
            while self._write_some() or self._close_by is None:
                if writes != bool(self._writing):
                    writes = bool(self._writing)
                    selector.modify(self._sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if writes else 0))
                for key, _ in selector.select(self._until_next()):
                    if key.fileobj is self._wakes:
                        _drain(self._wakes)
                        self._awake = False  # afterwards: whoever sees it false writes a byte that stays
                self._read_some()
                self._look_at_the_time()
        except Error as error:
            why = error
        except OSError as error:
            why = Error(Code.DISCONNECTED, f"the connection to {self.peer} was lost: {error}")
        except Exception as error:  # a fault of ours must not leave calls waiting for ever
            log.exception("the connection to %s ends", self.peer)
            why = Error(Code.INTERNAL, f"the connection to {self.peer} ends by a fault: {error!r}")
        selector.close()
        self._finish(why)

    def _finish(self, why: Error) -> None:
        with self._lock:
            self.why = why
            self.leaving = True
            self.done.set()
            pending, self._pending = list(self._pending.values()), {}
            self._queue.clear()
        for sock in (self._sock, self._wakes, self._waker):
            sock.close()
        for p in pending:
            p.done(None, Error(Code.DISCONNECTED, f"{p.what}: {why.message}", sent=p.sent))
        self._owner.closed(self, why)

    def _write_some(self) -> bool:
        """Writes what the socket takes; says whether something is left."""
        while True:
            if not self._writing:
                with self._lock:
                    if not self._queue:
                        return False
                    batch: List[bytes] = []
                    size = 0
                    while self._queue and size < 1 << 16:
                        data, pending = self._queue.popleft()
                        if pending is not None:
                            pending.sent = "unknown"  # from here on bytes of it may be out
                        batch.append(data)
                        size += len(data)
                    self._queued -= size
                self._writing = memoryview(b"".join(batch))
                self._wrote = time.monotonic()
            try:
                n = self._sock.send(self._writing)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return True
            self._writing = self._writing[n:]
            self._wrote = time.monotonic()

    def _read_some(self) -> None:
        for _ in range(16):  # then let writing and pings have their turn
            try:
                data = self._sock.recv(1 << 16)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not data:
                raise Error(Code.DISCONNECTED, f"{self.peer} closed the connection")
            self._heard, self._pings = time.monotonic(), 0
            for frame in self._decoder.feed(data):
                self._frame_began = None
                self._handle(frame)
            if not len(self._decoder):
                self._frame_began = None
            elif self._frame_began is None:
                self._frame_began = self._heard
        self._awake = True
        self._waker.send(b"x")  # there may be more; TLS keeps some where select does not see it

    def _until_next(self) -> Optional[float]:
        now, times = time.monotonic(), []
        if self._ping:
            times.append(self._heard + self._ping * (self._pings + 1))
        if self._writing:
            times.append(self._wrote + self._options.write_timeout)
        if self._frame_began is not None:
            times.append(self._frame_began + self._options.frame_timeout)
        if self._close_by is not None:
            times.append(self._close_by)
        return max(0.0, min(times) - now) if times else None

    def _look_at_the_time(self) -> None:
        now = time.monotonic()
        if self._close_by is not None and now >= self._close_by:
            raise self.why
        if self._writing and now >= self._wrote + self._options.write_timeout:
            raise Error(Code.DISCONNECTED, f"{self.peer} has not read for {self._options.write_timeout} s")
        if self._frame_began is not None and now >= self._frame_began + self._options.frame_timeout:
            raise Error(Code.DISCONNECTED, f"{self.peer} has not finished a frame in {self._options.frame_timeout} s")
        if self._ping and now >= self._heard + self._ping * (self._pings + 1):
            self._pings += 1
            if self._pings >= self._misses:
                raise Error(Code.DISCONNECTED, f"{self.peer} has been silent for {self._misses} intervals of {self._ping} s")
            self.notify(PING, {}, b"p%d" % self._pings)

    def _handle(self, frame: Frame) -> None:
        first, legacy_type = self.modern is None, frame.mtype <= RSP_SERVICE
        if frame.mtype < 0 or RSP_SERVICE < frame.mtype < REQ_HELLO or (not legacy_type and self.modern is False):
            raise Error(Code.PARSE_FAILED, f"{self.peer} sent a message of type {frame.mtype}, which does not belong here")
        try:
            body = parse_body(frame.body)
        except TooDeep as fault:
            self._refuse(frame, f"the body is {fault}")
            return
        except (ValueError, RecursionError) as fault:
            raise Error(Code.PARSE_FAILED, f"{self.peer} sent a body that is no JSON object: {fault}") from fault
        if first and not self._meet(frame, body):
            return
        if frame.mtype in RESPONSES:
            self._responded(frame, body)
        elif frame.mtype == REQ_HELLO:
            raise Error(Code.PARSE_FAILED, f"{self.peer} sent a second HELLO")
        elif frame.mtype == PING:
            self.notify(PONG, {}, frame.ident)
        elif frame.mtype in (GAP, CANCEL) or _is_notice(frame, body, self._server):
            self._owner.noticed(self, frame, body)
        elif frame.mtype == GOODBYE:
            self.leave()
            self._owner.noticed(self, frame, body)
        elif frame.mtype in ANSWERS:
            self._owner.requested(self, frame, body)
        elif frame.mtype != PONG:
            self.notify(RSP_UNSUPPORTED, {"rcode": Code.UNSUPPORTED, "mtype": frame.mtype, "message": "this side does not know this type"}, frame.ident)

    def _meet(self, frame: Frame, body: Dict[str, Any]) -> bool:
        """Handles the first frame, which says what kind of peer this is. False: it is done with."""
        if not self._server:
            if frame.mtype != RSP_HELLO:
                raise Error(Code.PARSE_FAILED, f"{self.peer} answered HELLO with a message of type {frame.mtype}")
            if body.get("rcode") == 0:
                self._agree(body)
            return True
        if frame.mtype != REQ_HELLO:
            if frame.mtype > RSP_SERVICE:
                raise Error(Code.PARSE_FAILED, f"{self.peer} began with a message of type {frame.mtype}")
            self.modern = False
            return True
        answer = self._owner.greeted(body)
        self._agree({**body, "ping_ms": answer.get("ping_ms", 0), "misses": answer.get("misses", 0)})
        self.respond(frame, answer)
        if answer["rcode"] != 0:
            self._close_by = time.monotonic() + 1
        return False

    def _agree(self, peer: Dict[str, Any]) -> None:
        self.modern = True
        takes = peer.get("max_frame")
        self._peer_takes = int(takes) if _is_kind(takes, "integer") and takes else self._options.max_frame
        ping, misses = peer.get("ping_ms"), peer.get("misses")
        if _is_kind(ping, "integer") and _is_kind(misses, "integer") and ping > 0 and misses > 0:
            self._ping, self._misses = ping / 1000, int(misses)

    def _responded(self, frame: Frame, body: Dict[str, Any]) -> None:
        pending = self._take(frame.ident)
        if pending is None:
            return  # it was given up
        if frame.mtype == pending.expects or frame.mtype == RSP_UNSUPPORTED:
            pending.done(body, None)
        else:
            pending.done(None, Error(Code.WRONG_MESSAGE_TYPE, f"{pending.what}: answered with a message of type {frame.mtype}", sent="yes"))
        if self.leaving and not self._server:
            self.leave()

    def _refuse(self, frame: Frame, fault: str) -> None:
        if self.modern is None and not self._server or frame.mtype == REQ_HELLO:
            raise Error(Code.PARSE_FAILED, f"{self.peer}: {fault}")
        self.modern = bool(self.modern)
        if frame.mtype in ANSWERS:
            self.respond(frame, {"rcode": Code.INVALID_MESSAGE, "message": fault})
        pending = self._take(frame.ident) if frame.mtype in RESPONSES else None
        if pending is not None:
            pending.done(None, Error(Code.INVALID_MESSAGE, f"{pending.what}: {fault}", sent="yes"))

    def leave(self) -> None:
        """Asks nothing new, and closes when the last answer is here."""
        with self._lock:
            self.leaving = True
            idle = not self._pending and self._close_by is None
        if idle and not self._server:
            self.close(Code.DRAINING, "the last answer is here")


def _is_notice(frame: Frame, body: Dict[str, Any], server: bool) -> bool:
    op = body.get("optype")
    if frame.mtype == REQ_TOPIC:  # from a broker also that a subscription has ended, and who comes and goes
        return op == PUBLISH or not server and op in (REMOVE, SUBSCRIBE, CANCEL_SUBSCRIPTION)
    return frame.mtype == REQ_SERVICE and op in (ONLINE, OFFLINE)


def _drain(sock: socket.socket) -> None:
    try:
        sock.recv(4096)
    except BlockingIOError:
        pass


def _peer_name(sock: socket.socket) -> str:
    try:
        host, port = sock.getpeername()[:2]
        return f"{host}:{port}"
    except (OSError, ValueError):
        return "the peer"


def _dial(address: Tuple[str, int], options: Options, owner: _Owner, instance: str = "", hello: bool = True,
          token: Optional[str] = None, timeout: Optional[float] = None) -> Link:
    """Connects, says HELLO, and returns the connection. Error with code UNAVAILABLE when nobody is there."""
    deadline = time.monotonic() + (options.connect_timeout if timeout is None else min(timeout, options.connect_timeout))
    try:
        sock = socket.create_connection(address, max(0.001, deadline - time.monotonic()))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if options.tls is not None:
            sock = _secure(sock, options.tls, address[0])
    except (OSError, ValueError) as cause:  # what ssl raises is an OSError, and a name that cannot be one a ValueError
        raise Error(Code.UNAVAILABLE, f"cannot connect to {address[0]}:{address[1]}: {cause}") from cause
    link = Link(sock, options, owner, server=False, modern=None if hello else False).start()
    if not hello:
        return link
    try:
        link.hello(instance, token, deadline)
    except BaseException as error:
        link.close()
        if isinstance(error, Error) and error.code != Code.TIMEOUT:
            error.sent = "no"  # the request it was for has not left; HELLO did
        raise
    return link


def _secure(sock: socket.socket, context: ssl.SSLContext, name: str) -> socket.socket:
    try:
        secured = context.wrap_socket(sock, server_hostname=name)
    except BaseException:
        sock.close()
        raise
    if secured.selected_alpn_protocol() != "trefoil/1":  # a token is for nobody else with that certificate
        secured.close()
        raise OSError("the server does not speak trefoil/1 over TLS (ALPN)")
    return secured


# ---------------------------------------------------------------------------- what a client follows


class _Events:
    """Calls the user's callbacks, one after the other in a thread of its own. What waits is in the
    subscriptions and watches, which are bounded; here each of them stands once at most."""

    def __init__(self) -> None:
        self._queue: "collections.OrderedDict[Any, None]" = collections.OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = _start(self._run, "events")

    def has(self, what: Any) -> None:
        """Says that what.deliver() has something to do."""
        with self._changed:
            self._queue[what] = None
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                what, _ = self._queue.popitem(last=False)
            try:
                more = what.deliver()
            except Exception:
                log.exception("a callback failed")
                more = True
            if more:
                self.has(what)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        _join(self._thread)


class Subscription:
    """A callback for the messages of a topic. One that does not keep up loses its oldest messages, and on_gap
    is called with how many before the next one that was not lost."""

    def __init__(self, client: "Client", topic: str, on_message: Callable[[Any], Any], on_gap: Optional[Callable[[int], Any]]):
        self.topic = topic
        self._client, self._on_message, self._on_gap = client, on_message, on_gap
        self._lock = threading.Lock()
        self._waiting: Deque[Tuple[int, Any]] = collections.deque()  # a size and a message, or -n: n were lost here
        self._size, self._lost = 0, 0

    def push(self, size: int, message: Any) -> None:
        """Queues a message of that size, or with -n that n are missing."""
        with self._lock:
            self._waiting.append((size, message))
            self._size += max(0, size)
            while self._size > self._client.options.subscriber_queue and len(self._waiting) > 1:
                dropped, _ = self._waiting.popleft()
                self._size -= max(0, dropped)
                self._lost += 1 if dropped >= 0 else -dropped
        self._client._events.has(self)

    def deliver(self) -> bool:
        """Calls back once; says whether there is more."""
        with self._lock:
            lost, self._lost = self._lost, 0
            size, message = (0, None)
            if self._waiting and not lost:
                size, message = self._waiting.popleft()
                self._size -= max(0, size)
            elif not lost:
                return False
        lost = lost or max(0, -size)
        if not lost:
            self._call(message)
        elif self._on_gap:
            self._on_gap(lost)
        return True

    def _call(self, message: Any) -> None:
        self._on_message(message)

    def close(self, timeout: Optional[float] = None) -> None:
        """Cancels the subscription. No callback begins once this has returned, but for one that has begun."""
        self._client._unsubscribe(self, timeout)
        with self._lock:
            self._waiting.clear()


@dataclasses.dataclass(frozen=True)
class Message:
    """A message of a Reader. `offset` is where it stands in its topic, `time` when the broker took it, in seconds since 1970, where
    that is told, and `delivered` how often it has been delivered, where messages are acknowledged."""

    topic: str
    value: Any
    offset: int = 0
    meta: Dict[str, str] = dataclasses.field(default_factory=dict)
    time: Optional[float] = None
    delivered: int = 0
    tell: Callable[..., None] = lambda **_: None

    def ack(self) -> None:
        """Says that the message is dealt with. Only with manual=True; otherwise the callback's return says so."""
        self.tell()

    def nack(self, delay: float = 0) -> None:
        """Gives the message back, to be delivered again after delay seconds."""
        self.tell(nack=1, delay_ms=int(delay * 1000))

    def progress(self) -> None:
        """Says that somebody is still at work on the message."""
        self.tell(progress=1)


class Receipt(NamedTuple):
    """What became of a message: where it stands, for how many subscriptions it was queued at once, and whether it was taken before."""

    offset: int
    subscribers: int
    duplicate: bool


class Reader(Subscription):
    """A subscription of its own at the broker, made by Client.read. After a reconnect it goes on where it was; when what was
    published meanwhile is gone, on_gap is called with 0."""

    def __init__(self, client: "Client", topic: str, on_message: Callable[[Message], Any], on_gap: Optional[Callable[[int], Any]],
                 how: Dict[str, Any], manual: bool):
        super().__init__(client, topic, on_message, on_gap)
        self._how, self._manual, self._shared = how, manual, "group" in how or "name" in how
        self.tag, self.link = "", None  # type: Tuple[str, Optional[Link]]
        self._epoch, self._last = "", None  # type: Tuple[str, Optional[int]]
        self._begun = False

    def request(self, link: "Link", tag: str) -> Dict[str, Any]:
        """Asks for the subscription under a new tag: what was delivered under the old one can no longer be acknowledged."""
        self.link, self.tag = link, tag
        body = {"optype": SUBSCRIBE, "topic_key": self.topic, "sub": tag, **self._how}
        if self._begun and not self._shared:
            if self._epoch and self._last is not None:
                body.update({"from": self._last + 1, "epoch": self._epoch})
            else:
                self.unrecovered()  # a place in many topics is not one offset
        return body

    def begun(self, response: Dict[str, Any]) -> None:
        """Learns right behind which offset the subscription begins, before the first message comes."""
        gone, epoch, offset = response.get("recovered") is False, str(response.get("epoch", "")), response.get("offset", 0)
        if gone:
            self.unrecovered()
        if gone or epoch != self._epoch:
            self._epoch, self._last = epoch, int(offset) if _is_kind(offset, "integer") else 0
        self._begun = True

    def unrecovered(self) -> None:
        """Queues that something is missing, and nobody knows how much."""
        self.push(0, None)

    def pushed(self, size: int, body: Dict[str, Any]) -> None:
        """Takes a push."""
        if _is_kind(body.get("offset"), "integer"):
            self._last = int(body["offset"])
        self.push(size, (self.tag, body))

    def _call(self, message: Any) -> None:
        if message is None:
            if self._on_gap:
                self._on_gap(0)
            return
        tag, body = message
        delivery, at = body.get("delivery"), body.get("time_ms")
        if delivery and tag != self.tag:
            return  # the connection was lost: somebody else has it, or it comes again
        delivered = max(int(body.get("delivered", 0)), 1 if delivery else 0)

        def tell(**more: Any) -> None:
            if delivery:
                self._client._tell(self, tag, {"deliveries": [delivery], **more})

        given = Message(str(body.get("topic_key")), body.get("topic_msg"), int(body.get("offset", 0)), body.get("meta") or {},
                        at / 1000 if _is_kind(at, "number") else None, delivered, tell)
        try:
            self._on_message(given)
        except Exception:
            if not self._manual:
                given.nack(min(2.0 ** (delivered - 1), 60) if delivery else 0)
            raise
        if not self._manual:
            given.ack()


class Watch:
    """Callbacks for who provides a method. They are told differences: a provider that goes and is back at once may
    not be mentioned, and one whose state or traits have changed is online once more."""

    def __init__(self, followed: "_Followed", events: _Events, on_online: Optional[Callable[[Host], Any]], on_offline: Optional[Callable[[Host], Any]]):
        self._followed, self._events, self._on_online, self._on_offline = followed, events, on_online, on_offline
        self._told: Dict[Any, Host] = {}

    def deliver(self) -> bool:
        """Calls back once for a difference; says whether there may be more."""
        now = self._followed.snapshot()
        for key, host in list(self._told.items()):
            if key not in now:
                del self._told[key]
                if self._on_offline:
                    self._on_offline(host)
                return True
        for key, host in now.items():
            if self._told.get(key) != host:
                self._told[key] = host
                if self._on_online:
                    self._on_online(host)
                return True
        return False

    def close(self) -> None:
        """Ends the callbacks."""
        self._on_online = self._on_offline = None
        with self._followed.lock:
            self._followed.watches.discard(self)


class _Followed:
    """A method that the registry was asked about, and who provides it."""

    def __init__(self, events: _Events):
        self.lock = threading.Lock()
        self.known = False
        self.watches: Set[Watch] = set()
        self.turn = 0
        self._events = events
        self._hosts: Dict[Any, Host] = {}
        self._doubtful: Set[Any] = set()  # a new connection's broker has not named them
        self._revision: Optional[int] = None

    def snapshot(self) -> Dict[Any, Host]:
        with self.lock:
            return dict(self._hosts)

    def lost_connection(self) -> None:
        with self.lock:
            self._doubtful = set(self._hosts)
            self._revision = None  # they count for one connection

    def answered(self, body: Dict[str, Any]) -> bool:
        """Takes the answer to a discovery. True when hosts are left that it does not name."""
        hosts = {h.key: h for h in map(Host.of, body.get("host") or [])}
        with self.lock:
            first, self.known = not self.known, True
            self._revision = body.get("revision")
            self._doubtful -= set(hosts)
            kept = {key: host for key, host in self._hosts.items() if key in self._doubtful and not first}
            self._hosts = {**hosts, **kept}
            self._tell()
            return bool(kept)

    def noticed(self, host: Host, online: bool, revision: Any) -> bool:
        """Takes an ONLINE or OFFLINE. False when notices are missing: ask again."""
        with self.lock:
            old, self._revision = self._revision, revision
            self._doubtful.discard(host.key)
            if online:
                self._hosts[host.key] = host
            else:
                self._hosts.pop(host.key, None)
            self._tell()
            return not self.known or old is None or revision is None or revision == old + 1

    def grace_is_over(self) -> None:
        with self.lock:
            for key in self._doubtful:
                self._hosts.pop(key, None)
            self._doubtful.clear()
            self._tell()

    def _tell(self) -> None:
        for watch in self.watches:
            self._events.has(watch)

    def in_turn(self, tried: Set[Any]) -> List[Host]:
        """The providers to try, the next one first; those that are not well last, and those that drain not at all."""
        with self.lock:
            self.turn += 1
            hosts = [h for h in self._hosts.values() if h.key not in tried and h.state != "draining"]
            start = self.turn % max(1, len(hosts))
        return sorted(hosts[start:] + hosts[:start], key=lambda h: h.state != "")


class _Target(_Owner):
    """A provider, and the one connection to it that all calls share."""

    def __init__(self, host: Host, options: Options):
        self._host, self._options = host, options
        self._lock = threading.Lock()
        self._link: Optional[Link] = None
        self._failed: Tuple[float, Optional[Error]] = (0.0, None)
        self._gone = False

    def live(self) -> Optional[Link]:
        link = self._link
        return link if link is not None and not link.leaving else None

    def connect(self, timeout: float) -> Link:
        """Returns the connection; makes it when there is none. Who waits for somebody else's attempt shares its fate."""
        came = time.monotonic()
        with self._lock:
            link, (failed, error) = self.live(), self._failed
            if link is not None:
                return link
            if error is not None and failed >= came:
                raise error
            try:
                self._link = _dial((self._host.ip, self._host.port), self._options, self, self._host.instance, self._host.hello, timeout=timeout)
            except Error as fault:
                self._failed = (time.monotonic(), fault)
                raise
            if self._gone:  # meanwhile; nobody would close it
                self._link.leave()
            return self._link

    def leave(self) -> None:
        """Closes the connection when its last call is answered."""
        self._gone = True
        if self._link is not None:
            self._link.leave()

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link.wait_closed()


# ---------------------------------------------------------------------------- the client


class Client(_Owner):
    """A client of one broker, made by connect. Safe for use from many threads. Callbacks of subscriptions and watches
    run one after the other in a thread of the client, and may use it."""

    def __init__(self, address: str, options: Options):
        self.options = options
        self._address = _address(address)
        self._changed = threading.Condition()  # guards what follows
        self._link: Optional[Link] = None
        self._closing = False
        self._generation = 0  # counts changes of what must be restored
        self._subscriptions: Dict[str, List[Subscription]] = {}
        self._readers: Set[Reader] = set()
        self._tags = itertools.count(1)  # what the broker calls them
        self._topics: Dict[str, Dict[str, Any]] = {}  # those that we have created, with what was said about them
        self._registered: Dict[Any, Dict[str, Any]] = {}
        self._followed: Dict[str, _Followed] = {}
        self._again: Set[str] = set()  # methods whose notices have a gap
        self._targets: Dict[Any, _Target] = {}
        self._lost, self._stopped = threading.Event(), threading.Event()
        self._serving: Optional[Provider] = None  # what is called through the broker
        self._grace_over = NEVER  # when providers go that a new connection's broker has not named
        self._events = _Events()
        self._workers = ThreadPoolExecutor(options.threads, "trefoil-worker")
        try:
            self._link = self._dial_broker()
        except BaseException:
            self.close()
            raise
        self._keeper = _start(self._keep, "keeper")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Says goodbye to everybody and ends what runs in the background. Calls under way fail."""
        with self._changed:
            self._closing = True
            link, targets = self._link, list(self._targets.values())
            self._changed.notify_all()
        self._stopped.set()
        self._lost.set()
        if link is not None:
            link.close()
            link.wait_closed()
        for target in targets:
            target.close()
        self._workers.shutdown(wait=not threading.current_thread().name.startswith("trefoil-worker"))
        self._events.close()
        if hasattr(self, "_keeper"):
            _join(self._keeper)

    # Calls.

    def call(self, method: str, params: Optional[Dict[str, Any]] = None, *, timeout: Optional[float] = None,
             direct: bool = False, relay: bool = False) -> Any:
        """Calls a method of a provider that the broker knows, and returns its result; with direct a method of the server we
        are connected to, with relay a provider through the broker. A call that is interrupted is cancelled."""
        return self._call(method, params, self._deadline(timeout), direct, relay, None)

    def call_async(self, method: str, params: Optional[Dict[str, Any]] = None, *, timeout: Optional[float] = None,
                   direct: bool = False, relay: bool = False) -> "Future[Any]":
        """Calls without waiting: the future has the result or an Error, and cancelling it cancels the call. Up to
        Options.threads calls are under way at once; further ones wait their turn, while their time runs."""
        deadline = self._deadline(timeout)
        future: "Future[Any]" = Future()

        def run() -> None:
            try:
                if not future.done():
                    future.set_result(self._call(method, params, deadline, direct, relay, future))
            except InvalidStateError:
                pass  # it was cancelled
            except BaseException as error:
                if not future.done():
                    future.set_exception(error)

        try:
            self._workers.submit(run)
        except RuntimeError:
            future.set_exception(Error(Code.CANCELLED, "the client is closed"))
        return future

    def _call(self, method: str, params: Optional[Dict[str, Any]], deadline: float, direct: bool, relay: bool,
              cancel: "Optional[Future[Any]]") -> Any:
        body: Dict[str, Any] = {"method": method, "parameters": {} if params is None else params, **({"relay": 1} if relay else {})}
        tried: Set[Any] = set()
        last: Optional[Error] = None
        while True:
            if self._closing:
                raise Error(Code.CANCELLED, f"call {method}: the client is closed")
            link = self._connected(deadline) if direct or relay else self._provider(method, tried, deadline, last)
            left = deadline - time.monotonic()
            if left <= 0:
                raise last or Error(Code.TIMEOUT, f"call {method}: there was no time left to send it")
            try:
                body["timeout_ms"] = max(1, int(left * 1000))
                return link.ask(REQ_RPC, body, f"call {method}", deadline, cancel).get("result")
            except Error as error:
                if (direct or relay) and not self._closing or not _undone(error):
                    raise
                last = error

    # Topics.

    def create_topic(self, topic: str, timeout: Optional[float] = None, **settings: Any) -> None:
        """Creates a topic; one that exists stays as it is. It is created again where a restarted broker has forgotten it. The
        settings are those of docs/topics.md, as on the wire: history={"count": 100}, retain=True, durable=True and so on."""
        more = {"settings": settings} if settings else {}
        self._desire(lambda: self._topics.update({topic: more}))
        try:
            self._topic(CREATE, topic, timeout, **more)
        except Error as error:
            if error.from_peer:
                self._desire(lambda: self._topics.pop(topic, None))
            raise

    def remove_topic(self, topic: str, timeout: Optional[float] = None) -> None:
        """Removes a topic with its subscriptions."""
        self._desire(lambda: self._topics.pop(topic, None))
        self._topic(REMOVE, topic, timeout)

    def publish(self, topic: str, message: Any, timeout: Optional[float] = None, *, meta: Optional[Dict[str, str]] = None, ident: str = "",
                delay: float = 0, ttl: float = 0) -> Optional[Receipt]:
        """Publishes any JSON value; returns when it is queued for everybody who is subscribed now, or, of a durable topic, on the
        disk. meta goes with it; a topic with dedup_ms takes one message for each ident. delay, only on durable topics, and ttl are
        in seconds. With ident, delay or ttl a Receipt comes back."""
        more = {"msg_id": ident, "delay_ms": int(delay * 1000), "ttl_ms": int(ttl * 1000)}
        more = {name: value for name, value in more.items() if value}
        with_meta = {"meta": meta} if meta else {}
        if not more:
            self._topic(PUBLISH, topic, timeout, topic_msg=message, **with_meta)
            return None
        answer = self._topic(PUBLISH, topic, timeout, topic_msg=message, report=1, **with_meta, **more)
        return Receipt(int(answer.get("offset", 0)), int(answer.get("subscribers", 0)), answer.get("duplicate") == 1)

    def read(self, topic: str, on_message: Callable[[Message], Any], on_gap: Optional[Callable[[int], Any]] = None,
             timeout: Optional[float] = None, *, start: Union[None, str, int, float] = None, group: str = "", consumer: str = "",
             where: Optional[Dict[str, str]] = None, window: int = 0, manual: bool = False) -> Reader:
        """Calls on_message with a Message for each message of a topic, or of all that a filter names ("orders.*", "orders.>").

        start is "new", "last", "all", an offset (int), or a time in seconds since 1970 (float). The members of a group share
        messages, and so do those of the durable consumer of a durable topic; up to `window` of them are in hand. What they get is
        acknowledged when on_message returns, and delivered again, later each time, when it raises; with manual=True by
        Message.ack and nack. where lets only messages through with this metadata. on_gap gets how many were lost, or 0 where
        nobody knows."""
        how: Dict[str, Any] = {"group": group, "name": consumer, "ack": 1 if consumer else 0, "where": where, "window": window or (16 if consumer else 0)}
        how = {name: value for name, value in how.items() if value}
        if start is not None:
            how["from"] = {"time_ms": int(start * 1000)} if isinstance(start, float) else start
        reader = Reader(self, topic, on_message, on_gap, how, manual)
        deadline = self._deadline(timeout)
        link = self._connected(deadline)
        try:
            self._begin(link, reader, deadline)
        except BaseException:
            self._desire(lambda: self._readers.discard(reader))
            raise
        return reader

    def _begin(self, link: Link, reader: Reader, deadline: float) -> None:
        """Asks for a Reader's subscription."""
        with self._changed:
            body = reader.request(link, format(next(self._tags), "x"))
            self._generation += reader not in self._readers
            self._readers.add(reader)

        def answered(response: Dict[str, Any]) -> None:
            if response.get("rcode") == Code.OK:
                reader.begun(response)

        try:
            link.ask(REQ_TOPIC, body, f"subscribe to topic {reader.topic}", deadline, answered=answered)
        except BaseException:
            reader.link = None  # it is to be tried again
            raise

    def _tell(self, reader: Reader, tag: str, more: Dict[str, Any]) -> None:
        """Tells the broker about deliveries. When the connection was lost it need not know."""
        link = reader.link
        if link is not None and reader.tag == tag:
            link.notify(REQ_TOPIC, {"optype": ACK, "topic_key": reader.topic, "sub": tag, **more})

    def subscribe(self, topic: str, on_message: Callable[[Any], Any], on_gap: Optional[Callable[[int], Any]] = None,
                  timeout: Optional[float] = None) -> Subscription:
        """Calls on_message with each message of a topic from now on, also after reconnects."""
        subscription = Subscription(self, topic, on_message, on_gap)
        self._desire(lambda: self._subscriptions.setdefault(topic, []).append(subscription))
        try:
            self._topic(SUBSCRIBE, topic, timeout)
        except BaseException:
            self._forget(subscription)
            raise
        return subscription

    def _unsubscribe(self, subscription: Subscription, timeout: Optional[float]) -> None:
        link = self._link
        if isinstance(subscription, Reader):
            self._desire(lambda: self._readers.discard(subscription))
            if link is not None and subscription.link is link and not link.leaving:
                self._topic(CANCEL_SUBSCRIPTION, subscription.topic, timeout, sub=subscription.tag)
            return
        if self._forget(subscription) and link is not None and not link.leaving:
            self._topic(CANCEL_SUBSCRIPTION, subscription.topic, timeout)

    def _forget(self, subscription: Subscription) -> bool:
        """Takes a subscription out; says whether it was its topic's last."""
        with self._changed:
            self._generation += 1
            there = self._subscriptions.get(subscription.topic, [])
            if subscription not in there:
                return False
            there.remove(subscription)
            if not there:
                del self._subscriptions[subscription.topic]
            return not there

    def _topic(self, op: int, topic: str, timeout: Optional[float], **more: Any) -> Dict[str, Any]:
        name = ("create", "remove", "subscribe to", "cancel", "publish to")[op]
        return self._ask(REQ_TOPIC, {"optype": op, "topic_key": topic, **more}, f"{name} topic {topic}", timeout)

    # Providers.

    def discover(self, method: str, timeout: Optional[float] = None) -> List[Host]:
        """Returns who provides a method; while the broker is away, who did when it went."""
        followed = self._follow(method)
        try:
            self._discover(self._connected(self._deadline(timeout)), method, self._deadline(timeout))
        except Error as error:
            if not followed.known or error.code not in (Code.UNAVAILABLE, Code.DISCONNECTED, Code.DRAINING):
                raise
        return list(followed.snapshot().values())

    def watch(self, method: str, on_online: Optional[Callable[[Host], Any]] = None, on_offline: Optional[Callable[[Host], Any]] = None,
              timeout: Optional[float] = None) -> Watch:
        """Calls back for who provides a method now, and from then on for who comes, changes and goes."""
        followed = self._follow(method)
        watch = Watch(followed, self._events, on_online, on_offline)
        with followed.lock:
            followed.watches.add(watch)
        try:
            self.discover(method, timeout)
        except BaseException:
            watch.close()
            raise
        self._events.has(watch)
        return watch

    def register(self, method: str, ip: str, port: int, instance: str = "", timeout: Optional[float] = None, **traits: Any) -> None:
        """Registers a provider, and does so again after reconnects. Provider does this for its methods."""
        body = {"optype": REGISTER, "method": method, "host": {"ip": ip, "port": port}, **({"instance": instance} if instance else {}), **traits}
        self._desire(lambda: self._registered.update({(method, ip, port, instance): body}))
        try:
            self._ask(REQ_SERVICE, body, f"register {method}", timeout)
        except Error as error:
            if error.from_peer:  # what is refused is not tried again; what was not heard is
                self._desire(lambda: self._registered.pop((method, ip, port, instance), None))
            raise

    def unregister(self, method: str, ip: str, port: int, instance: str = "", timeout: Optional[float] = None) -> None:
        """Takes a registration back."""
        self._desire(lambda: self._registered.pop((method, ip, port, instance), None))
        body = {"optype": OFFLINE, "method": method, "host": {"ip": ip, "port": port}, **({"instance": instance} if instance else {})}
        self._ask(REQ_SERVICE, body, f"unregister {method}", timeout)

    # The connection to the broker.

    def _deadline(self, timeout: Optional[float]) -> float:
        return time.monotonic() + (self.options.timeout if timeout is None else timeout)

    def _ask(self, mtype: int, body: Dict[str, Any], what: str, timeout: Optional[float]) -> Dict[str, Any]:
        deadline = self._deadline(timeout)
        return self._connected(deadline).ask(mtype, body, what, deadline)

    def _connected(self, deadline: float) -> Link:
        """Waits for a connection to the broker."""
        with self._changed:
            while not self._closing and (self._link is None or self._link.leaving):
                if not self._changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise Error(Code.UNAVAILABLE, f"there is no connection to the broker at {self._address[0]}:{self._address[1]}")
            if self._closing:
                raise Error(Code.CANCELLED, "the client is closed")
            assert self._link is not None
            return self._link

    def _dial_broker(self) -> Link:
        return _dial(self._address, self.options, self, "", self.options.hello, self.options.token)

    def _desire(self, change: Callable[[], Any]) -> None:
        with self._changed:
            self._generation += 1
            change()

    def _keep(self) -> None:
        """Connects again when the connection is lost, and restores what the broker should know."""
        first, most = self.options.backoff
        wait, retry = first, False
        while not self._stopped.is_set():
            pause = wait * random.uniform(0.5, 1) if retry else NEVER
            self._lost.wait(max(0, min(pause, self._grace_over - time.monotonic(), threading.TIMEOUT_MAX)))
            self._lost.clear()
            if time.monotonic() >= self._grace_over:
                self._grace_over = NEVER
                for followed in list(self._followed.values()):
                    followed.grace_is_over()
                self._prune()
            link, wait = self._link, min(wait * 2, most) if retry else first
            try:
                if link is not None and not link.done.is_set():
                    retry = self._restore(link, only_missing=True)
                elif retry or not self._stopped.wait(random.uniform(0, first)):  # not everybody at once
                    retry = self._back(self._dial_broker())
            except Exception as error:
                self.options.on_problem(error)
                retry = True

    def _back(self, link: Link) -> bool:
        """Restores everything over a new connection before anybody else may use it; true when something is still to be tried."""
        while True:
            with self._changed:
                generation = self._generation
            try:
                missing = self._restore(link)
            except BaseException:
                link.close()
                raise
            with self._changed:
                if self._closing:
                    link.close()
                if generation == self._generation or self._closing:
                    self._link = link
                    self._changed.notify_all()
                    return missing

    def _restore(self, link: Link, only_missing: bool = False) -> bool:
        """Tells the broker what it should know; true when something is still to be tried. Faults of the connection are raised."""
        with self._changed:
            registered = {} if only_missing else dict(self._registered)
            topics, subscribed = dict(self._topics), list(self._subscriptions)
            readers = [reader for reader in self._readers if reader.link is not link]
            again = set(self._again if only_missing else self._followed)
            self._again.clear()
        missing = False
        requests = [(REQ_TOPIC, {"optype": CREATE, "topic_key": t, **more}, f"create topic {t}") for t, more in topics.items()]
        requests += [(REQ_TOPIC, {"optype": SUBSCRIBE, "topic_key": t}, f"subscribe to topic {t}") for t in subscribed]
        requests += [(REQ_SERVICE, body, f"register {key[0]}") for key, body in registered.items()]
        for wanted in [*requests, *readers]:
            try:
                if isinstance(wanted, Reader):
                    self._begin(link, wanted, self._deadline(None))
                else:
                    link.ask(*wanted, self._deadline(None))
            except Error as error:
                if not error.from_peer:
                    raise
                missing = missing or error.code in (Code.TOPIC_NOT_FOUND, Code.OVERLOADED)
                self.options.on_problem(error)
        for method in again:
            self._discover(link, method, self._deadline(None))
        return missing

    # Following providers.

    def _follow(self, method: str) -> _Followed:
        with self._changed:
            if method not in self._followed:
                self._followed[method] = _Followed(self._events)
            return self._followed[method]

    def _discover(self, link: Link, method: str, deadline: float) -> None:
        followed = self._follow(method)

        def answered(response: Dict[str, Any]) -> None:
            if response.get("rcode") in (Code.OK, Code.SERVICE_NOT_FOUND):
                if followed.answered(response):
                    self._grace_over = time.monotonic() + self.options.grace
                    self._lost.set()
                self._prune()

        try:
            link.ask(REQ_SERVICE, {"optype": DISCOVER, "method": method}, f"discover {method}", deadline, answered=answered)
        except Error as error:
            if error.code != Code.SERVICE_NOT_FOUND:
                raise

    def _provider(self, method: str, tried: Set[Any], deadline: float, last: Optional[Error]) -> Link:
        """Returns a connection to a provider that was not tried yet."""
        followed = self._follow(method)
        if not followed.known:
            self._discover(self._connected(deadline), method, deadline)
        for host in followed.in_turn(tried):
            tried.add(host.key)
            with self._changed:
                target = self._targets.setdefault(host.key, _Target(host, self.options))
            try:
                return target.connect(deadline - time.monotonic())
            except Error as error:
                last = error
                self._report(method, host, error)
        raise last or Error(Code.SERVICE_NOT_FOUND, f"call {method}: nobody provides it")

    def _report(self, method: str, host: Host, why: Error) -> None:
        """Tells the broker whom we could not reach; it looks for itself."""
        link = self._link
        if link is not None and link.modern and why.code == Code.UNAVAILABLE:
            body = {"optype": REPORT, "method": method, "host": {"ip": host.ip, "port": host.port}, "reason": why.message[:200]}
            try:
                link.request(REQ_SERVICE, {**body, **({"instance": host.instance} if host.instance else {})}, "report", lambda *_: None)
            except Error as error:
                log.debug("not reported: %s", error)

    # What comes over the connection to the broker, in its thread.

    def requested(self, link: Link, frame: Frame, body: Dict[str, Any]) -> None:
        if frame.mtype == REQ_RPC and self._serving is not None:
            self._serving.requested(link, frame, body)
        else:
            super().requested(link, frame, body)

    def noticed(self, link: Link, frame: Frame, body: Dict[str, Any]) -> None:
        if frame.mtype in (REQ_TOPIC, GAP):
            self._heard(frame, body)
        elif frame.mtype == REQ_SERVICE:
            self._announced(body)
        elif self._serving is not None:
            self._serving.noticed(link, frame, body)

    def _heard(self, frame: Frame, body: Dict[str, Any]) -> None:
        """Takes what the broker says to a subscription: a message, how many are missing, or that it has ended."""
        topic, tag, missed = body.get("topic_key", ""), body.get("sub"), body.get("missed")
        with self._changed:
            subscriptions = [r for r in self._readers if r.tag == tag] if tag else list(self._subscriptions.get(topic, ()))
        for subscription in subscriptions:
            if frame.mtype == GAP:
                if _is_kind(missed, "integer") and missed > 0:
                    subscription.push(-int(missed), None)
            elif body.get("optype") == REMOVE:
                self._forget(subscription)
                self._desire(lambda gone=subscription: self._readers.discard(gone))
                why = body.get("topic_msg") if isinstance(body.get("topic_msg"), dict) else {}
                self.options.on_problem(Error(int(why.get("rcode", Code.TOPIC_NOT_FOUND)), f"the subscription to {topic} has ended: {why.get('message', '')}",
                                              sent="yes", from_peer=True))
            elif body.get("optype") == PUBLISH and isinstance(subscription, Reader):
                subscription.pushed(len(frame.body), body)
            elif body.get("optype") == PUBLISH:
                subscription.push(len(frame.body), body.get("topic_msg"))

    def _announced(self, body: Dict[str, Any]) -> None:
        followed = self._followed.get(str(body.get("method")))
        try:
            host = Host.of(body.get("host"))
        except ValueError as fault:
            log.warning("a notice of a provider is passed over: %s", fault)
            return
        host = Host.of({**body, **body["host"]})
        if followed is None:
            return
        online = body["optype"] == ONLINE
        if not followed.noticed(host, online, body.get("revision")):
            self._again.add(str(body["method"]))
            self._lost.set()
        if not online:
            self._prune()

    def _prune(self) -> None:
        """Leaves the providers that no method has any more."""
        with self._changed:
            there = {key for followed in self._followed.values() for key in followed.snapshot()}
            gone = [self._targets.pop(key) for key in list(self._targets) if key not in there]
        for target in gone:
            target.leave()

    def closed(self, link: Link, why: Error) -> None:
        if self._serving is not None:
            self._serving.closed(link, why)
        for followed in list(self._followed.values()):
            followed.lost_connection()
        with self._changed:
            self._changed.notify_all()
        if link is self._link and not self._closing:
            self.options.on_problem(why)
        self._lost.set()


def connect(address: str, **options: Any) -> Client:
    """Connects to the broker at HOST:PORT. Raises Error when that fails; once connected, a client stays so by itself.
    The options are the fields of Options."""
    return Client(address, Options(**options))


# ---------------------------------------------------------------------------- serving


def _is_kind(value: Any, kind: str) -> bool:
    """Whether a JSON value is of a kind. A number with an integral value is an integer however it is written."""
    if kind == "any":
        return True
    if isinstance(value, bool):
        return kind == "bool"
    if isinstance(value, int):
        return kind in ("integer", "number")
    if isinstance(value, float):
        return kind == "integer" and value.is_integer() or kind == "number" and abs(value) != float("inf")
    return isinstance(value, {"string": str, "array": (list, tuple), "object": dict}.get(kind, ()))


def _kind_found(value: Any) -> str:
    """The kind of a JSON value in a word, for who has sent it."""
    if value is None:
        return "null"
    return next(k for k in ("bool", "integer", "number", "string", "array", "object", "any") if _is_kind(value, k))


def _kind_of(annotation: Any) -> str:
    origin = typing.get_origin(annotation) or annotation
    return {bool: "bool", int: "integer", float: "number", str: "string", list: "array", tuple: "array", dict: "object"}.get(origin, "any")


class Call:
    """A request that is served: a handler that has a parameter of this type gets it there."""

    def __init__(self, method: str, timeout: Optional[float], peer: str):
        self.method, self.peer = method, peer
        self.deadline = None if timeout is None else time.monotonic() + timeout  # by time.monotonic()
        self.cancelled = threading.Event()  # set when nobody waits for the answer any more

    def over(self) -> Optional[int]:
        """The code to answer with when nobody waits any more."""
        if self.cancelled.is_set():
            return Code.CANCELLED
        return Code.TIMEOUT if self.deadline is not None and time.monotonic() >= self.deadline else None


class _Method(NamedTuple):
    """A handler and its description, read from its signature."""

    name: str
    handler: Callable[..., Any]
    kinds: Dict[str, str]
    optional: Set[str]
    takes_call: Optional[str]
    result: str

    @staticmethod
    def of(name: str, handler: Callable[..., Any]) -> "_Method":
        hints = typing.get_type_hints(handler)
        kinds, optional, takes_call = {}, set(), None
        for p in inspect.signature(handler).parameters.values():
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.POSITIONAL_ONLY):
                raise TypeError(f"{name}: a handler's parameters have names; {p} has none")
            if hints.get(p.name) is Call:
                takes_call = p.name
                continue
            kinds[p.name] = _kind_of(hints.get(p.name, Any))
            if p.default is not p.empty:
                optional.add(p.name)
        return _Method(name, handler, kinds, optional, takes_call, _kind_of(hints.get("return", Any)))

    def arguments(self, params: Any) -> Dict[str, Any]:
        """Checks parameters; those that nobody declared are left out. Error with code INVALID_PARAMS names the field."""
        if not isinstance(params, dict):
            raise Error(Code.INVALID_PARAMS, f"{self.name} needs \"parameters\", an object")
        found = {}
        for name, kind in self.kinds.items():
            if name in self.optional and name not in params:
                continue
            if name not in params:
                raise Error(Code.INVALID_PARAMS, f"{self.name} needs a parameter \"{name}\" ({kind})")
            value = params[name]
            if not _is_kind(value, kind):
                raise Error(Code.INVALID_PARAMS, f"parameter \"{name}\" of {self.name} must be {kind}, not {_kind_found(value)}")
            found[name] = int(value) if kind == "integer" else value
        return found


class Provider(_Owner):
    """Serves methods on a port of its own, and keeps them registered at the client's broker. Handlers run in threads."""

    def __init__(self, client: Optional[Client], host: str = "127.0.0.1", port: int = 0, *, advertise: Optional[str] = None, instance: str = "",
                 threads: int = 32, waiting: int = 16384, max_connections: int = 1024, ping: float = 2.0, misses: int = 5,
                 tls: Optional[ssl.SSLContext] = None, relay: bool = False, options: Options = Options(), **traits: Any):
        """Listens on host and port, 0 for any, and is registered there or at the address advertise. Up to `threads` handlers run, and
        `waiting` requests wait. With relay, calls through the broker are served, too. traits: weight, zone, version, tags, metadata."""
        self.instance = instance or uuid.uuid4().hex
        self._client, self._options, self._tls = client, options if client is None else client.options, tls
        self._traits = {**traits, **({"relay": 1} if relay else {})}
        self._limits, self._hello = (threads, waiting, max_connections), {"ping_ms": int(ping * 1000), "misses": misses}
        self._methods: Dict[str, _Method] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._running: Dict[Tuple[Link, bytes], Call] = {}
        self._links: Set[Link] = set()
        self._draining, self._closed = False, threading.Event()
        self._listener = socket.create_server((host, port), backlog=256)
        self.address: Tuple[str, int] = self._listener.getsockname()[:2]
        self._advertised = advertise or ("" if host in ("", "0.0.0.0", "::") else host)  # "": as the broker sees us
        self._handlers = ThreadPoolExecutor(threads, "trefoil-handler")
        self._acceptor: Optional[threading.Thread] = None

    def __enter__(self) -> "Provider":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def method(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorates a function that serves a method. Its parameters' names and annotations are the method's description:
        bool, int, float, str, list, dict; one with a default may be left out; without an annotation it may be anything."""

        def serve(handler: Callable[..., Any]) -> Callable[..., Any]:
            if self._acceptor is not None or name in self._methods:
                raise Error(Code.EXISTS, f"{name}: name each method once, before start")
            self._methods[name] = _Method.of(name, handler)
            return handler

        return serve

    def start(self) -> None:
        """Serves from now on, and registers every method."""
        self._acceptor = _start(self._accept, "acceptor")
        if self._client is not None:
            if "relay" in self._traits:
                self._client._serving = self
            for name in self._methods:
                self._client.register(name, self._advertised, self.address[1], self.instance, **self._traits)

    def close(self, drain: float = 5.0) -> None:
        """Unregisters, lets what runs end for up to `drain` seconds, and closes."""
        if self._client is not None and self._acceptor is not None:  # first, so that callers go elsewhere
            for name in self._methods:
                try:
                    self._client.unregister(name, self._advertised, self.address[1], self.instance)
                except Error as error:
                    log.debug("not unregistered: %s", error)
        deadline = time.monotonic() + drain
        with self._idle:
            self._draining = True
            self._idle.wait_for(lambda: not self._running, drain)
            links = list(self._links)
        for link in links:
            link.goodbye(Code.DRAINING, "the provider closes")
        for link in links:  # each says in return that it has nothing more, or is not waited for
            if link.modern:
                link.done.wait(max(0, min(1, deadline - time.monotonic())))
            link.close()
            link.wait_closed()
        self._closed.set()
        _close_listener(self._listener)
        if self._acceptor is not None:
            _join(self._acceptor)
        self._handlers.shutdown(wait=False, cancel_futures=True)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if self._closed.wait(0.1):
                    return
                log.warning("no connection is accepted: %s", error)  # too many files are open, perhaps; later
                continue
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                with self._lock:
                    if len(self._links) >= self._limits[2]:
                        raise OSError("too many connections")
                    link = Link(sock, self._options, self, server=True)
                    self._links.add(link)
                link.start()
            except OSError as error:
                log.warning("a connection is refused: %s", error)
                sock.close()

    # What comes over a connection, in its thread.

    def greeted(self, hello: Dict[str, Any]) -> Dict[str, Any]:
        version, meant = hello.get("version"), hello.get("instance") or self.instance
        if not _is_kind(version, "integer") or version < 1:
            return {"rcode": Code.UNSUPPORTED, "version": 1, "message": "this side speaks version 1"}
        if meant != self.instance:
            return {"rcode": Code.WRONG_INSTANCE, "version": 1, "message": "another process is at this address now; ask the registry again"}
        return {"rcode": Code.OK, "version": 1, "agent": "trefoil-python/1", "max_frame": self._options.max_frame, **self._hello}

    def requested(self, link: Link, frame: Frame, body: Dict[str, Any]) -> None:
        if frame.mtype != REQ_RPC:
            super().requested(link, frame, body)
            return
        try:
            work = self._admit(link, frame, body)
        except Error as error:
            link.respond(frame, {"rcode": error.code, "result": None, "message": error.message})
            return
        try:
            self._handlers.submit(work)
        except RuntimeError:
            self._answered(link, frame, {"rcode": Code.DRAINING, "message": "the provider closes"})

    def _admit(self, link: Link, frame: Frame, body: Dict[str, Any]) -> Callable[[], None]:
        """Checks a request and counts it as running; what is returned serves it."""
        name, timeout = body.get("method"), body.get("timeout_ms")
        method = self._methods.get(name) if isinstance(name, str) else None
        if method is None:
            raise Error(Code.SERVICE_NOT_FOUND, f"this provider has no method {json.dumps(name)[:300]}")
        if body.get("instance") not in (None, "", self.instance):
            raise Error(Code.WRONG_INSTANCE, f"another process is at this address now; ask the registry who provides {name}")
        arguments = method.arguments(body.get("parameters"))
        call = Call(method.name, timeout / 1000 if _is_kind(timeout, "number") and timeout > 0 else None, link.peer)
        if method.takes_call:
            arguments[method.takes_call] = call
        with self._lock:
            if self._draining:
                raise Error(Code.DRAINING, "the provider closes; call another one")
            if len(self._running) >= self._limits[0] + self._limits[1]:
                raise Error(Code.OVERLOADED, f"{len(self._running)} calls are under way; call later, or another provider")
            self._running[link, frame.ident] = call
        return lambda: self._answered(link, frame, self._run(method, arguments, call))

    def _run(self, method: _Method, arguments: Dict[str, Any], call: Call) -> Dict[str, Any]:
        over = call.over()
        if over is not None:
            return {"rcode": over, "message": f"{method.name} was not begun: nobody waits for it any more"}
        try:
            result = method.handler(**arguments)
        except Error as error:
            details = {} if error.details is None else {"details": error.details}
            return {"rcode": error.code, "message": error.message, **details}
        except BaseException:
            log.exception("the handler of %s failed", method.name)
            return {"rcode": Code.INTERNAL, "message": f"the handler of {method.name} failed"}
        if call.cancelled.is_set():
            return {"rcode": Code.CANCELLED, "message": f"{method.name} was cancelled"}
        if result is None and method.result == "any":
            result = {}
        if not _is_kind(result, method.result):
            log.error("the handler of %s returned a %s, not %s", method.name, type(result).__name__, method.result)
            return {"rcode": Code.INTERNAL, "message": f"the handler of {method.name} returned what its description does not say"}
        return {"rcode": Code.OK, "result": result}

    def _answered(self, link: Link, frame: Frame, body: Dict[str, Any]) -> None:
        with self._idle:
            self._running.pop((link, frame.ident), None)
            self._idle.notify_all()
        link.respond(frame, body)

    def noticed(self, link: Link, frame: Frame, body: Dict[str, Any]) -> None:
        if frame.mtype == CANCEL:
            with self._lock:
                call = self._running.get((link, frame.ident))
            if call is not None:
                call.cancelled.set()
        elif frame.mtype == GOODBYE and self._draining:
            link.close()

    def closed(self, link: Link, why: Error) -> None:
        with self._lock:
            self._links.discard(link)
            calls = [call for (of, _), call in self._running.items() if of is link]
        for call in calls:
            call.cancelled.set()


def _close_listener(listener: socket.socket) -> None:
    try:
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept where close alone does not
    except OSError:
        pass
    listener.close()
