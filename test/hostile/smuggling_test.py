"""Every request of the corpus gets the one response it should, a refusal is a problem after which the connection is closed,
and what is hidden behind a request is never done."""
import json

from daybook_test import Server, Tap, raw, request
from smuggling import CORPUS

tap = Tap()
SHORT = ["--limit", "body_ms_max=20000,header_ms_max=20000,idle_ms_max=300"]


def responses(received):
    """The responses in what was received, each (status, header fields, body); all of it must be used up."""
    found = []
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        assert end and head.startswith(b"HTTP/1.1 "), received[:300]
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        fields = dict((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:]))
        if status == 100:
            received = rest
            continue
        size = int(fields["content-length"])
        assert len(rest) >= size, rest
        found.append((status, fields, rest[:size]))
        received = rest[size:]
    return found


@tap.test
def a_request_that_can_be_read_in_two_ways_is_answered_once_and_what_it_hides_is_not_done():
    failed = []
    with Server(options=SHORT) as server:
        for name, data, wanted in CORPUS:
            try:
                found = responses(raw(server, data))
                assert [status for status, _, _ in found] == [wanted], [status for status, _, _ in found]
                status, fields, body = found[0]
                if status >= 400:
                    assert fields["content-type"] == "application/problem+json", fields
                    assert json.loads(body)["status"] == status, body
                    assert fields.get("connection", "").lower() == "close" or status in (413, 415, 417), fields
                if status == 415:
                    assert fields["accept-encoding"] == "identity", fields
            except (AssertionError, KeyError, ValueError, OSError) as error:
                failed.append((name, wanted, repr(error)[:300]))
        hidden = request(server, "GET", "/v1/events?type=Smuggled").json()["events"]
    assert not failed and not hidden, "\n".join(map(str, failed)) + str(hidden)


@tap.test
def a_token_of_the_promised_size_reaches_its_judge():
    with Server() as server:
        answer = raw(server, b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer "
                     + b"a" * 8192 + b"\r\nAccept: application/json\r\nUser-Agent: a test of tokens\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer[:200]


@tap.test
def a_header_of_any_size_is_answered_once():
    """Near the size of the server's buffer an answer found no room in it, and the connection ended without a word."""
    with Server() as server:
        for size in (*range(7900, 17000, 97), 20000, 40000):
            for request_ in (f"GET /{'a' * size} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                             f"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-A: {'a' * size}\r\n\r\n"):
                answer = raw(server, request_.encode())
                assert answer.count(b"HTTP/1.1 ") == 1 and answer[9:12] in (b"200", b"404", b"414", b"431"), (size, request_[:10], answer[:100])


@tap.test
def a_field_that_must_stand_once_is_refused_twice():
    with Server() as server:
        body = b'{"events":[{"type":"A","data":{}}]}'
        for field in ("Idempotency-Key", "X-Required-Role", "Last-Event-ID", "Authorization"):
            answer = raw(server, f"POST /v1/append HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n{field}: a\r\n"
                                 f"{field.lower()}: b\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            assert answer.startswith(b"HTTP/1.1 400"), (field, answer[:100])


tap.main()
