"""Requests that two readers may read in two ways, or that hide a second request: what is sent, and what must come.

A row is a name, the bytes, and the status of the one response. SECOND is a request hidden behind or within the first; it must never
be answered, and the event in it never be stored. Where the status is 2xx the request is good, and here to show that nothing
more is refused than should be.
"""
EVENT = b'{"events":[{"type":"Good","data":1}]}'
HIDDEN = b'{"events":[{"type":"Smuggled","data":1}]}'
HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
SECOND = (b"POST /v1/append HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: %d\r\n\r\n" % len(HIDDEN)) + HIDDEN


def post(*fields, body=EVENT, line=b"POST /v1/append HTTP/1.1", host=HOST, end=b"\r\n"):
    return line + b"\r\n" + host + JSON + b"".join(field + b"\r\n" for field in fields) + end + body


def length(body):
    return b"Content-Length: %d" % len(body)


def chunked(*chunks, end=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


TE = b"Transfer-Encoding: chunked"
GOOD = length(EVENT)

CORPUS = [
    # ---- good ones
    ("a length", post(GOOD), 201),
    ("chunks", post(TE, body=chunked(EVENT[:9], EVENT[9:])), 201),
    ("a field without a blank, one with many, one empty", post(GOOD, b"X:y", b"X: \t y", b"X:"), 201),
    ("a chunk extension, to be ignored (RFC 9112 7.1.1)", post(TE, body=b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(EVENT), EVENT)), 201),
    ("a trailer, to be ignored", post(TE, body=chunked(EVENT, end=b"0\r\nX: y\r\n\r\n")), 201),
    ("an empty line before the first (RFC 9112 2.2)", b"\r\n" + post(GOOD), 201),
    ("expect of the one known kind", post(GOOD, b"Expect: 100-continue"), 201),
    # ---- two lengths
    ("length and chunks", post(GOOD, TE, body=chunked(EVENT) + SECOND), 400),
    ("chunks and length", post(TE, GOOD, body=chunked(EVENT) + SECOND), 400),
    ("length 0 and chunks", post(b"Content-Length: 0", TE, body=chunked(EVENT) + SECOND), 400),
    ("two lengths", post(GOOD, length(EVENT + SECOND), body=EVENT + SECOND), 400),
    ("two equal lengths", post(GOOD, GOOD, body=EVENT + SECOND), 400),
    ("a list of lengths", post(GOOD + b", %d" % len(EVENT), body=EVENT + SECOND), 400),
    ("identity and length", post(b"Transfer-Encoding: identity", GOOD, body=b""), 400),
    ("identity and length, with its body", post(b"Transfer-Encoding: identity", GOOD, body=EVENT + SECOND), 400),
    # ---- lengths that are none
    *[(f"length {text!r}", post(b"Content-Length: " + text, body=EVENT + SECOND), 400) for text in
      (b"-1", b"+37", b"0x25", b"37 1", b"37;", b"3 7", b"1e1", b"", b"abc", b"37.0", b"\x0b37", b"-", b"\xef\xbc\x93")],
    ("length beyond 2^64", post(b"Content-Length: 99999999999999999999999", body=EVENT), 413),
    # ---- codings
    ("a coding alone that is not known", post(b"Transfer-Encoding: gzip", body=EVENT + SECOND), 501),
    ("two codings", post(b"Transfer-Encoding: gzip, chunked", body=chunked(EVENT) + SECOND), 501),
    ("two fields of codings", post(TE, b"Transfer-Encoding: identity", body=chunked(EVENT) + SECOND), 501),
    ("a coding with a vertical tab", post(b"Transfer-Encoding: \x0bchunked", body=chunked(EVENT) + SECOND), 400),
    ("a coding with a NUL", post(b"Transfer-Encoding: chunked\x00", body=chunked(EVENT) + SECOND), 400),
    ("chunked in quotes", post(b'Transfer-Encoding: "chunked"', body=chunked(EVENT) + SECOND), 501),
    ("chunks over HTTP/1.0", post(TE, body=chunked(EVENT) + SECOND, line=b"POST /v1/append HTTP/1.0"), 400),
    ("a coding's name with a blank", post(b"Transfer-Encoding : chunked", body=chunked(EVENT) + SECOND), 400),
    # ---- chunks that are none
    *[(f"a chunk of size {text!r}", post(TE, body=text + b"\r\n" + EVENT + b"\r\n0\r\n\r\n" + SECOND), 400) for text in
      (b"zz", b"-25", b"+25", b"0x25", b" ", b"", b"25 25")],
    ("a chunk beyond 2^64", post(TE, body=b"ffffffffffffffffff\r\n" + EVENT + b"\r\n0\r\n\r\n" + SECOND), 413),
    ("a chunk longer than it says", post(TE, body=b"5\r\n" + EVENT + b"\r\n0\r\n\r\n" + SECOND), 400),
    # ---- names and lines
    ("a blank before the colon of a length", post(b"Content-Length : %d" % len(EVENT), body=EVENT + SECOND), 400),
    ("a tab before the colon", post(GOOD, b"X\t: y", body=EVENT + SECOND), 400),
    ("a name with a blank", post(GOOD, b"X Y: z", body=EVENT + SECOND), 400),
    ("a name with a bracket", post(GOOD, b"X(Y): z", body=EVENT + SECOND), 400),
    ("no name", post(GOOD, b": y", body=EVENT + SECOND), 400),
    ("no colon", post(GOOD, b"X", body=EVENT + SECOND), 400),
    ("a folded line", post(GOOD, b"X: a\r\n b", body=EVENT + SECOND), 400),
    ("a folded length", post(b"Content-Length:\r\n 37", body=EVENT + SECOND), 400),
    ("a folded coding", post(b"Transfer-Encoding:\r\n chunked", body=chunked(EVENT) + SECOND), 400),
    ("a fold behind the first line", b"POST /v1/append HTTP/1.1\r\n X: y\r\n" + HOST + JSON + GOOD + b"\r\n\r\n" + EVENT + SECOND, 400),
    ("LF for the lines' end", (post(GOOD, body=b"").replace(b"\r\n", b"\n")) + EVENT + SECOND, 400),
    ("LF for the first line's end", post(GOOD, body=EVENT + SECOND).replace(b"\r\n", b"\n", 1), 400),
    ("LF for a field's end", post(GOOD, b"X: y\nZ: z", body=EVENT + SECOND), 400),
    ("LF hides a coding", post(GOOD, b"X: y\nTransfer-Encoding: chunked", body=chunked(EVENT) + SECOND), 400),
    ("LF for the empty line", post(GOOD, end=b"\n", body=EVENT + SECOND), 400),
    ("CR alone within a value", post(GOOD, b"X: y\rZ: z", body=EVENT + SECOND), 400),
    ("CR CR LF", post(GOOD, b"X: y\r", body=EVENT + SECOND), 400),
    ("NUL in a value", post(GOOD, b"X: a\0b", body=EVENT + SECOND), 400),
    ("NUL at a value's end", post(GOOD, b"X: a\0", body=EVENT + SECOND), 400),
    ("NUL in a name", post(GOOD, b"X\0Y: a", body=EVENT + SECOND), 400),
    ("NUL hides a coding", post(GOOD, b"X: a\0\r\nTransfer-Encoding: chunked", body=chunked(EVENT) + SECOND), 400),
    ("a control character in a value", post(GOOD, b"X: a\x01b", body=EVENT + SECOND), 400),
    # ---- the first line
    ("NUL in the target", post(GOOD, line=b"POST /v1/append\0x HTTP/1.1", body=EVENT + SECOND), 400),
    ("a blank in the target", post(GOOD, line=b"POST /v1/append x HTTP/1.1", body=EVENT + SECOND), 400),
    ("two blanks", post(GOOD, line=b"POST  /v1/append HTTP/1.1", body=EVENT + SECOND), 400),
    ("a blank behind", post(GOOD, line=b"POST /v1/append HTTP/1.1 ", body=EVENT + SECOND), 400),
    ("a tab for a blank", post(GOOD, line=b"POST\t/v1/append HTTP/1.1", body=EVENT + SECOND), 400),
    ("a method that is no token", post(GOOD, line=b"PO(T /v1/append HTTP/1.1", body=EVENT + SECOND), 400),
    ("a version in small letters", post(GOOD, line=b"POST /v1/append http/1.1", body=EVENT + SECOND), 400),
    ("a version of two digits", post(GOOD, line=b"POST /v1/append HTTP/1.10", body=EVENT + SECOND), 400),
    ("HTTP/2", post(GOOD, line=b"POST /v1/append HTTP/2.0", body=EVENT + SECOND), 505),
    ("no version", post(GOOD, line=b"POST /v1/append", body=EVENT + SECOND), 400),
    # ---- hosts
    ("no host", post(GOOD, host=b"", body=EVENT), 400),
    ("two hosts", post(GOOD, b"Host: localhost", body=EVENT + SECOND), 400),
    # ---- what cannot be done
    ("another expectation", post(GOOD, b"Expect: 200-ok"), 417),
    ("two expectations", post(GOOD, b"Expect: 100-continue, 200-ok"), 417),
    ("a coded body", post(GOOD, b"Content-Encoding: gzip"), 415),
    ("a body coded twice", post(GOOD, b"Content-Encoding: identity, br"), 415),
]
