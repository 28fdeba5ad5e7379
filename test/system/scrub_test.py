"""The scrub of a running server: a bit that the disk lost in an old segment is named, writing ends, and reads go on."""
import pathlib

from daybook_test import Server, Tap, request, wait_for

tap = Tap()

APPENDS, SIZE = 84, 850000  # more than a segment of 64 MiB
FLIPPED = 60 << 20          # a byte of the first one, seconds away at RATE
RATE = 10 << 20


def metric(server, name):
    text = request(server, "GET", "/metrics").body.decode()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(name + " ")))


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@tap.test
def a_bit_that_went_in_an_old_segment_is_named_and_reads_go_on():
    with Server(options=["--scrub", "0"]) as server:
        for number in range(APPENDS):
            answer = request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": {"n": number, "text": "x" * SIZE}}]})
            assert answer.status == 201, answer
        assert metric(server, "daybook_log_scrub_bytes_total") == 0
        server.stop()
        server.options = ["--scrub", str(RATE)]
        server.start()
        first = sorted(pathlib.Path(server.data, "log").glob("*.seg"))[0]
        flip(first, FLIPPED)
        wait_for(lambda: metric(server, "daybook_log_scrub_damages_total") == 1, "the damage is found", 60)
        ready = request(server, "GET", "/ready")
        assert f"{first.name} is damaged at byte " in str(ready.json()), ready
        answer = request(server, "POST", "/v1/append", {"events": [{"type": "B", "data": {}}]})
        assert answer.status == 503 and answer.json()["code"] == "read-only", answer
        assert first.name in answer.json()["detail"], answer
        last = request(server, "GET", f"/v1/events?after={APPENDS - 1}").json()["events"]
        assert [event["data"]["n"] for event in last] == [APPENDS - 1]
        assert request(server, "GET", "/v1/events?after=0&limit=2").json()["events"][1]["data"]["n"] == 1


tap.main()
