"""Requests that aim at where servers disagree about HTTP/1.1, and what has to become of each (RFC 9110, RFC 9112).

Every case is sent on a connection that is kept alive, with a good request before and another behind it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """What a client sends.

    Attributes:
        data: the bytes.
        statuses: of the answers that they get.
        closes: whether the last of these ends the connection; otherwise the request behind gets its own answer.
    """

    data: bytes
    statuses: tuple[int, ...]
    closes: bool


def refused(data, status=400):
    """Where this request ends isn't known, so it is the last one."""
    return Case(data, (status,), closes=True)


def skipped(data, *statuses):
    """These are refused, and it is known where they end."""
    return Case(data, statuses, closes=False)


def served(data, *statuses):
    """These look odd and are no fault."""
    return Case(data, statuses or (200,), closes=False)


def head(*lines, start="POST /echo HTTP/1.1", host="Host: a"):
    """Return a head; each line is text or bytes."""
    encoded = [line if isinstance(line, bytes) else line.encode("latin-1") for line in (start, *([host] if host else []), *lines)]
    return b"\r\n".join([*encoded, b"", b""])


RAW = "Content-Type: application/octet-stream"
CHUNKED = head(RAW, "Transfer-Encoding: chunked")
LAST = b"0\r\n\r\n"
INNER = head(RAW, "Content-Length: 8") + b"smuggled"  # what must never be answered


def sized(length, body=b"ab"):
    return refused(head(RAW, b"Content-Length:" + length) + body)


def coded(coding, body=LAST):
    return refused(head(RAW, b"Transfer-Encoding:" + coding) + body)


def chunked(body):
    return refused(CHUNKED + body)


LINES = {
    "garbage": refused(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"),
    "zeros": refused(bytes(64)),
    "unknown method": refused(head(start="FOO /echo HTTP/1.1")),
    "lower-case method": refused(head(start="post /echo HTTP/1.1")),
    "method with a colon": refused(head(start="PO:ST /echo HTTP/1.1")),
    "method with a NUL": refused(head(start="POST\0 /echo HTTP/1.1")),
    "long method": refused(head(start="P" * 5000 + " /echo HTTP/1.1")),
    "no method": refused(head(start=" /echo HTTP/1.1")),
    "no target": refused(head(start="POST  HTTP/1.1")),
    "no version": refused(b"GET /echo\r\n\r\n"),
    "no version but headers": refused(head(start="POST /echo")),
    "tab for a space": refused(head(start="POST\t/echo HTTP/1.1")),
    "tab before the version": refused(head(start="POST /echo\tHTTP/1.1")),
    "space in the target": refused(head(start="POST /ec ho HTTP/1.1")),
    "NUL in the target": refused(head(start="POST /ec\0ho HTTP/1.1")),
    "bare CR in the target": refused(head(start="POST /ec\rho HTTP/1.1")),
    "raw UTF-8 in the target": refused(head(start="POST /größe HTTP/1.1".encode())),
    "no slash": refused(head(start="POST echo HTTP/1.1")),
    "authority for a target": refused(head(start="POST test:80 HTTP/1.1")),
    "asterisk for a target": skipped(head(start="POST * HTTP/1.1"), 404),
    "fragment in the target": refused(head("Content-Length: 0", start="POST /echo#a HTTP/1.1")),
    "HTTP/0.9": refused(head(start="POST /echo HTTP/0.9")),
    "HTTP/1.2": refused(head(start="POST /echo HTTP/1.2")),
    "HTTP/1.10": refused(head(start="POST /echo HTTP/1.10")),
    "HTTP/01.1": refused(head(start="POST /echo HTTP/01.1")),
    "HTTP/1": refused(head(start="POST /echo HTTP/1")),
    "HTTP/1.": refused(head(start="POST /echo HTTP/1.")),
    "HTTP/2.0": refused(head("Content-Length: 0", start="POST /echo HTTP/2.0")),
    "HTTP/2.0 that is kept alive": refused(head("Connection: keep-alive", "Content-Length: 0", start="POST /echo HTTP/2.0")),
    "HTTP/3.0": refused(head(start="POST /echo HTTP/3.0")),
    "http/1.1": refused(head(start="POST /echo http/1.1")),
    "HTTP 1.1": refused(head(start="POST /echo HTTP 1.1")),
    "no slash in the version": refused(head(start="POST /echo HTTP1.1")),
    "other protocol": refused(head(start="POST /echo ICE/1.0")),
    "SOURCE over ICE": refused(head(start="SOURCE /echo ICE/1.0"), 405),
    "RTSP": refused(head(start="SETUP /echo RTSP/1.0"), 405),
    "something behind the version": refused(head(start="POST /echo HTTP/1.1 x")),
    "space behind the version": refused(head(start="POST /echo HTTP/1.1 ")),
    "HTTP/2 preface": refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    "TLS": refused(bytes.fromhex("16030100a5010000a1030300") + b"\r\n\r\n"),
    "an answer": refused(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "bare line feeds": refused(b"POST /echo HTTP/1.1\nHost: a\nContent-Length: 0\n\n"),
    "bare CRs": refused(b"POST /echo HTTP/1.1\rHost: a\rContent-Length: 0\r\r"),
    "line feed behind the first line": refused(b"POST /echo HTTP/1.1\nHost: a\r\nContent-Length: 0\r\n\r\n"),
    "line feed behind a field": refused(b"POST /echo HTTP/1.1\r\nHost: a\nContent-Length: 0\r\n\r\n"),
    "line feed behind the head": refused(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\n"),
    "CR CR LF behind a field": refused(b"POST /echo HTTP/1.1\r\nHost: a\r\r\nContent-Length: 0\r\n\r\n"),
    "CR CR LF behind the head": refused(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\r\n"),
    "space before the first field": refused(b"POST /echo HTTP/1.1\r\n Host: a\r\nContent-Length: 0\r\n\r\n"),
    "CONNECT": refused(head(start="CONNECT test:80 HTTP/1.1") + b"xx", 405),
    "lines before the request": served(b"\r\n\r\n" + head(RAW, "Content-Length: 2") + b"ok"),
}

FIELDS = {
    "no colon": refused(head("nocolon")),
    "no name": refused(head(": x")),
    "colon alone": refused(head(":")),
    "space before the colon": refused(head("Content-Length : 2") + b"ab"),
    "tab before the colon": refused(head("Content-Length\t: 2") + b"ab"),
    "space in a name": refused(head("Content Length: 2") + b"ab"),
    "space before a name": refused(head("X: a", " Content-Length: 2") + b"ab"),
    "folded field": refused(head("X: b", " c")),
    "folded field with a tab": refused(head("X: b", "\tc")),
    "folded length": refused(head("Content-Length:", " 2") + b"ab"),
    "folded coding": refused(head("Transfer-Encoding:", " chunked") + LAST),
    "NUL in a value": refused(head("X: b\0c")),
    "NUL in a name": refused(head("X\0: b")),
    "NUL before the colon": refused(head("Transfer-Encoding\0: chunked") + LAST),
    "CR in a value": refused(head("X: b\rTransfer-Encoding: chunked")),
    "CR in a name": refused(head("X\rY: b")),
    "line feed in a value": refused(head("X: b\nTransfer-Encoding: chunked")),
    "name that isn't ASCII": refused(head("Grö-ße: 1")),
    "parentheses in a name": refused(head("X(y): 1")),
    "quotes in a name": refused(head('"X": 1')),
    "control character in a name": refused(head("X\x01: 1")),
    "vertical tab before a name": refused(head("\x0bContent-Length: 2") + b"ab"),
    "no host": refused(head("Content-Length: 0", host="")),
    "two hosts": refused(head("Host: b", "Content-Length: 0")),
    "the same host twice": refused(head("Host: a", "Content-Length: 0")),
    "two hosts in different letters": refused(head("hOST: b", "Content-Length: 0")),
    "host with a space": refused(head("Content-Length: 0", host="Host: a b")),
    "host with a path": refused(head("Content-Length: 0", host="Host: a/b")),
    "host with a user": refused(head("Content-Length: 0", host="Host: me@a")),
    "host with a query": refused(head("Content-Length: 0", host="Host: a?b")),
    "host with a backslash": refused(head("Content-Length: 0", host="Host: a\\b")),
    "host that isn't ASCII": refused(head("Content-Length: 0", host="Host: gr\xfc\xdfe")),
    "host with a port that is no number": refused(head("Content-Length: 0", host="Host: a:http")),
    "host with two ports": refused(head("Content-Length: 0", host="Host: a:1:2")),
    "host that is a URL": refused(head("Content-Length: 0", host="Host: http://a")),
    "host with an open bracket": refused(head("Content-Length: 0", host="Host: [::1")),
    "list of hosts": refused(head("Content-Length: 0", host="Host: a, b")),
    "host of IPv6": served(head(RAW, "Content-Length: 2", host="Host: [::1]:8000") + b"ok"),
    "host with a percent sign": served(head(RAW, "Content-Length: 2", host="Host: a%20b") + b"ok"),
    "wrong host in HTTP/1.0": refused(head("Content-Length: 0", start="POST /echo HTTP/1.0", host="Host: a/b")),
    "no name in the host": served(head(RAW, "Content-Length: 2", host="Host:") + b"ok"),
    "no space behind the colon": served(head(b"Content-Type:application/octet-stream", b"Content-Length:2") + b"ok"),
    "tabs around a value": served(head(b"Content-Length:\t \t2 \t", RAW) + b"ok"),
    "empty value": served(head("X:", RAW, "Content-Length: 2") + b"ok"),
    "Latin-1 in a value": served(head(b"X: \xe4\xff", RAW, "Content-Length: 2") + b"ok"),
    "absolute form": served(head(RAW, "Content-Length: 2", start="POST http://other/echo HTTP/1.1") + b"ok"),
    "absolute form without host": refused(head(RAW, "Content-Length: 2", start="POST http://a/echo HTTP/1.1", host="") + b"ok"),
    "absolute form without a path": skipped(head("Content-Length: 2", start="POST http://a HTTP/1.1") + b"ok", 404),
}

LENGTHS = {
    "negative length": sized(b" -1"),
    "length with a plus": sized(b" +2"),
    "hexadecimal length": sized(b" 0x2"),
    "length with an underscore": sized(b" 0_2"),
    "length with a point": sized(b" 2.0"),
    "length with an exponent": sized(b" 2e0"),
    "length with a semicolon": sized(b" 2;"),
    "length with a NUL": sized(b" 2\0"),
    "length with a space": sized(b" 0 2"),
    "length in quotes": sized(b' "2"'),
    "length in other digits": sized(b" \xd9\xa2"),
    "superscript length": sized(b" \xb2"),
    "length behind a vertical tab": sized(b" \x0b2"),
    "length before a form feed": sized(b" 2\x0c"),
    "no length": sized(b""),
    "a length of spaces": sized(b"   "),
    "length of 64 bits and one": sized(b" 18446744073709551618"),
    "length of 32 bits and two": refused(head(RAW, "Content-Length: 4294967298") + b"ab", 413),
    "length of a hundred digits": sized(b" 1" + b"0" * 100),
    "list of lengths": sized(b" 2, 3"),
    "list of equal lengths": sized(b" 2, 2"),
    "length and a comma": sized(b" 2,"),
    "two lengths": sized(b" 2\r\nContent-Length: 3", b"abc"),
    "the same length twice": sized(b" 2\r\nContent-Length: 2"),
    "two lengths in different letters": sized(b" 2\r\ncONTENT-lENGTH: 3", b"abc"),
    "three lengths": sized(b" 2\r\nX: y\r\nContent-Length: 2\r\nContent-Length: 2"),
    "length zero and a body": Case(head(RAW, "Content-Length: 0") + b"xx", (200, 400), closes=True),
    "leading zeros": served(head(RAW, "Content-Length: 0000000002") + b"ok"),
    "length of a GET": skipped(head("Content-Length: " + str(len(INNER)), start="GET /echo HTTP/1.1") + INNER, 405),
    "length of a HEAD for nothing": skipped(head("Content-Length: " + str(len(INNER)), start="DELETE /nope HTTP/1.1") + INNER, 404),
}

CODINGS = {
    "length and chunks": refused(head(RAW, "Content-Length: 5", "Transfer-Encoding: chunked") + LAST),
    "chunks and length": refused(head(RAW, "Transfer-Encoding: chunked", "Content-Length: 5") + LAST),
    "chunks and length zero": refused(head(RAW, "Transfer-Encoding: chunked", "Content-Length: 0") + LAST),
    "length and chunks around a request": refused(
        head(RAW, "Content-Length: " + str(5 + len(INNER)), "Transfer-Encoding: chunked") + LAST + INNER
    ),
    "length and unknown coding": refused(head(RAW, "Content-Length: 2", "Transfer-Encoding: x") + b"ab"),
    "length and identity": refused(head(RAW, "Content-Length: 2", "Transfer-Encoding: identity") + b"ab"),
    "chunked not last": coded(b" chunked, gzip"),
    "chunked twice": coded(b" chunked\r\nTransfer-Encoding: chunked"),
    "chunked twice in one": coded(b" chunked, chunked"),
    "chunked, then identity": coded(b" chunked\r\nTransfer-Encoding: identity"),
    "identity, then chunked": coded(b" identity\r\nTransfer-Encoding: chunked"),
    "identity": coded(b" identity", b"ab"),
    "coding that isn't undone": coded(b" gzip, chunked"),
    "empty coding": coded(b""),
    "empty coding, then chunked": coded(b"\r\nTransfer-Encoding: chunked"),
    "chunked, then empty coding": coded(b" chunked\r\nTransfer-Encoding:"),
    "comma behind chunked": coded(b" chunked,"),
    "comma before chunked": coded(b" ,chunked"),
    "parameter of chunked": coded(b" chunked;q=1"),
    "chunked in quotes": coded(b' "chunked"'),
    "chunked with a letter before": coded(b" xchunked"),
    "chunked with a letter behind": coded(b" chunkedx"),
    "chunked in two words": coded(b" chun ked"),
    "chunked behind a vertical tab": coded(b" \x0bchunked"),
    "chunked before a vertical tab": coded(b" chunked\x0b"),
    "chunked before a form feed": coded(b" chunked\x0c"),
    "chunked behind a no-break space": coded(b" \xa0chunked"),
    "chunked behind a NUL": coded(b" \0chunked"),
    "chunked in other letters": coded(b" chun\xe2\x84\xaaed"),  # the sign for kelvin becomes k in lower case
    "chunked in HTTP/1.0": refused(head("Connection: keep-alive", "Transfer-Encoding: chunked", start="POST /echo HTTP/1.0") + LAST),
    "chunked of a GET": skipped(head("Transfer-Encoding: chunked", start="GET /echo HTTP/1.1") + b"3\r\nabc\r\n" + LAST, 405),
    "CHUNKED": served(head(RAW, "TRANSFER-ENCODING: ChUnKeD") + b"2\r\nok\r\n" + LAST),
    "tabs and spaces around chunked": served(head(RAW, b"Transfer-Encoding:\t chunked  ") + b"2\r\nok\r\n" + LAST),
    "other name with an underscore": Case(head(RAW, "Transfer_Encoding: chunked") + LAST, (200, 400), closes=True),
    "name with X before": Case(head(RAW, "X-Transfer-Encoding: chunked") + LAST, (200, 400), closes=True),
    "chunked hidden by an option": served(head(RAW, "Connection: transfer-encoding", "Transfer-Encoding: chunked") + b"2\r\nok\r\n" + LAST),
    "length hidden by an option": served(head(RAW, "Connection: content-length", "Content-Length: 2") + b"ok"),
}

CHUNKS = {
    "size that is no number": chunked(b"zz\r\n"),
    "no size": chunked(b"\r\nab\r\n" + LAST),
    "size with a sign": chunked(b"+2\r\nab\r\n" + LAST),
    "negative size": chunked(b"-2\r\nab\r\n" + LAST),
    "size with 0x": chunked(b"0x2\r\nab\r\n" + LAST),
    "size with an underscore": chunked(b"0_2\r\nab\r\n" + LAST),
    "space before a size": chunked(b" 2\r\nab\r\n" + LAST),
    "space behind a size": chunked(b"2 \r\nab\r\n" + LAST),
    "tab behind a size": chunked(b"2\t\r\nab\r\n" + LAST),
    "NUL behind a size": chunked(b"2\0\r\nab\r\n" + LAST),
    "size that overflows": chunked(b"10000000000000002\r\nab\r\n" + LAST),
    "size of 40 digits": chunked(b"F" * 40 + b"\r\nab\r\n" + LAST),
    "line feed behind a size": chunked(b"2\nab\r\n" + LAST),
    "CR behind a size": chunked(b"2\rab\r\n" + LAST),
    "CR CR LF behind a size": chunked(b"2\r\r\nab\r\n" + LAST),
    "line feed behind a chunk": chunked(b"2\r\nab\n" + LAST),
    "CR behind a chunk": chunked(b"2\r\nab\r" + LAST),
    "line feed and CR behind a chunk": chunked(b"2\r\nab\n\r" + LAST),
    "nothing behind a chunk": chunked(b"2\r\nab" + LAST),
    "two letters behind a chunk": chunked(b"2\r\nabxx" + LAST),
    "chunk that is too long": chunked(b"1\r\nabc\r\n" + LAST),
    "empty line behind a chunk": chunked(b"2\r\nab\r\n\r\n" + LAST),
    "line feed behind the last chunk": chunked(b"2\r\nab\r\n0\n\r\n"),
    "line feed behind the body": chunked(b"2\r\nab\r\n0\r\n\n"),
    "line feed in an extension": chunked(b"2;a\nab\r\n" + LAST),
    "CR in an extension": chunked(b"2;a\rb\r\nab\r\n" + LAST),
    "NUL in an extension": chunked(b"2;a\0\r\nab\r\n" + LAST),
    "space in an extension": chunked(b"2;a b\r\nab\r\n" + LAST),
    "line feed in a quoted extension": chunked(b'2;a="\n"\r\nab\r\n' + LAST),
    "line in a quoted extension": chunked(b'2;a="\r\nab\r\n' + LAST),
    "extension without a semicolon": chunked(b"2 a\r\nab\r\n" + LAST),
    "trailer without a colon": chunked(b"0\r\nnocolon\r\n\r\n"),
    "trailer with a space before the colon": chunked(b"0\r\nX : y\r\n\r\n"),
    "folded trailer": chunked(b"0\r\nX: y\r\n z\r\n\r\n"),
    "trailer with a NUL": chunked(b"0\r\nX: \0\r\n\r\n"),
    "trailer with a line feed": chunked(b"0\r\nX: y\n\r\n"),
    "extension": served(CHUNKED + b"2;a=b;c\r\nok\r\n" + LAST),
    "quoted extension": served(CHUNKED + b'2;a="b;c"\r\nok\r\n' + LAST),
    "extension of the last chunk": served(CHUNKED + b"2\r\nok\r\n0;a=b\r\n\r\n"),
    "zeros before a size": served(CHUNKED + b"0000000002\r\nok\r\n" + b"000\r\n\r\n"),
    "size in capitals": served(CHUNKED + b"A\r\n0123456789\r\na\r\n0123456789\r\n" + LAST),
    "trailers": served(CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\nX-API-Key: z\r\n\r\n"),
    "request as a chunk": served(CHUNKED + b"%x\r\n%b\r\n" % (len(INNER), INNER) + LAST),
}

# Trailers that would mean something if they stood in the head.
TRAILERS = {
    "length": refused(CHUNKED + b"2\r\nok\r\n0\r\nContent-Length: 50\r\n\r\n"),
    "coding": refused(CHUNKED + b"2\r\nok\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "end of the connection": Case(CHUNKED + b"2\r\nok\r\n0\r\nConnection: close\r\n\r\n", (200, 400), closes=True),
    **{
        line.decode(): served(CHUNKED + b"2\r\nok\r\n0\r\n" + line + b"\r\n\r\n")
        for line in (
            b"Host: b",
            b"Connection: upgrade\r\nUpgrade: websocket",
            b"Expect: 100-continue",
            b"Content-Type: text/html",
            b"X-Request-ID: trailing",
        )
    },
}

OFFER = ("Upgrade: websocket", "Connection: Upgrade")
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = "Sec-WebSocket-Version: 13"


def offered(*lines, start="GET /talk HTTP/1.1", host="Host: a"):
    """Return the head of a request for a WebSocket."""
    return head(*OFFER, *lines, start=start, host=host)


SOCKETS = {
    "socket without an offer": skipped(head(start="GET /talk HTTP/1.1"), 426),
    "socket for POST": skipped(offered(KEY, VERSION, "Content-Length: 2", start="POST /talk HTTP/1.1") + b"ok", 405),
    "socket at an endpoint": skipped(offered(KEY, VERSION, start="GET /echo HTTP/1.1"), 405),
    "offer beside a body": served(offered(KEY, VERSION, RAW, "Content-Length: 2", start="POST /echo HTTP/1.1") + b"ok"),
    "socket with a body": skipped(offered(KEY, VERSION, "Content-Length: " + str(len(INNER))) + INNER, 426),
    "socket with chunks": skipped(offered(KEY, VERSION, "Transfer-Encoding: chunked") + LAST, 426),
    "socket with a length and chunks": refused(offered(KEY, VERSION, "Content-Length: 5", "Transfer-Encoding: chunked") + LAST),
    "socket without a key": refused(offered(VERSION)),
    "socket with two keys": refused(offered(KEY, KEY, VERSION)),
    "socket with a short key": refused(offered("Sec-WebSocket-Key: abc", VERSION)),
    "socket with a key that is no base64": refused(offered("Sec-WebSocket-Key: !!!!IHNhbXBsZSBub25jZQ==", VERSION)),
    "socket without a version": refused(offered(KEY)),
    "socket of version 8": refused(offered(KEY, "Sec-WebSocket-Version: 8")),
    "socket of two versions": refused(offered(KEY, VERSION, VERSION)),
    "socket over HTTP/1.0": refused(offered(KEY, VERSION, start="GET /talk HTTP/1.0"), 426),
    "socket without a host": refused(offered(KEY, VERSION, host="")),
    "socket of a wrong host": refused(offered(KEY, VERSION, host="Host: a/b")),
    "socket with a fragment": refused(offered(KEY, VERSION, start="GET /talk#a HTTP/1.1")),
    "socket without a connection": skipped(head("Upgrade: websocket", KEY, VERSION, start="GET /talk HTTP/1.1"), 426),
    "socket and something else": skipped(head("Upgrade: h2c, websocket", OFFER[1], KEY, VERSION, start="GET /talk HTTP/1.1"), 426),
}

LONG = 1_000_000  # more than fits into one read: the gateway looks at the size of what is unfinished between reads

LIMITS = {
    "long target": refused(head(start="POST /" + "a" * LONG + " HTTP/1.1"), 431),
    "long query": refused(head(start="POST /echo?" + "a" * LONG + " HTTP/1.1"), 431),
    "long value": refused(head("X: " + "a" * LONG), 431),
    "long name": refused(head("X" * LONG + ": a"), 431),
    "many fields": refused(head(*[f"X{number}: 1" for number in range(101)]), 431),
    "many fields of one name": refused(head(*["X: 1"] * 101), 431),
    "many spaces": refused(head("X:" + " " * LONG + "a"), 431),
    "long extension": refused(CHUNKED + b"2;" + b"a" * LONG + b"\r\nok\r\n" + LAST, 431),
    "many trailers": refused(CHUNKED + b"0\r\n" + b"X: 1\r\n" * LONG + b"\r\n", 431),
    "many empty lines": refused(b"\r\n" * LONG, 431),
    "many zeros before a size": refused(CHUNKED + b"0" * LONG + b"2\r\nok\r\n" + LAST, 431),
    "long length": refused(head(RAW, b"Content-Length: " + b"0" * LONG + b"2") + b"ab", 431),
    "large length": refused(head(RAW, "Content-Length: 67108865"), 413),
    "large length that is invited": refused(head(RAW, "Content-Length: 67108865", "Expect: 100-continue"), 413),
}

SMALL = {**LINES, **FIELDS, **LENGTHS, **CODINGS, **CHUNKS, **TRAILERS, **SOCKETS}
