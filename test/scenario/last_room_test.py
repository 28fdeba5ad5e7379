"""Sixty-four clients race for the last room on two hundred nights, through the gateway, while the server is killed."""
import datetime
import http.client
import random
import threading

from hotel_test_lib import House, parse_rows, request, rows
from daybook_test import Tap

tap = Tap()
CLIENT_COUNT = 64
NIGHT_COUNT = 200
KILL_EVERY = 20  # nights between two kills
TRIES_MAX = 600


class Client(threading.Thread):
    """Books every night, each with a key of its own, and asks again until there is a definite answer."""

    def __init__(self, number, house, nights, barrier):
        super().__init__(daemon=True)
        self.number, self.house, self.nights, self.barrier = number, house, nights, barrier
        self.connection = None
        self.answers, self.error = {}, None

    def run(self):
        try:
            for night in self.nights:
                self.barrier.wait(120)
                self.answers[night] = self.book(night)
        except Exception as error:
            self.error = error
            self.barrier.abort()

    def book(self, night):
        body = {"reservation": f"N-{night}-{self.number}", "hotel": "Last", "room_type": "Only", "arrival": night,
                "nights": 1, "guest": f"client {self.number}", "on": "2027-01-01"}
        for attempt in range(TRIES_MAX):
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection("127.0.0.1", self.house.gateway.port, timeout=30)
                answer = request(self.connection, "POST", "/v1/commands/BookRoom", body,
                                 {"Idempotency-Key": body["reservation"]})
            except (OSError, http.client.HTTPException):
                self.connection.close()
                self.connection = None
                continue
            if answer.status in (201, 422):
                return answer
            assert answer.status in (502, 503, 504), answer
            threading.Event().wait(0.05)  # asked to come back later
        raise AssertionError(f"no definite answer for {night} after {TRIES_MAX} tries: {answer}")


def check_night(night, answers):
    won = [answer for answer in answers if answer.status == 201]
    assert len(won) == 1, f"{night}: {len(won)} clients were told they have the room"
    for answer in answers:
        if answer.status == 422:
            problem = answer.json()
            assert problem["code"] == "rejected" and problem["rule"] == "no-free-room", problem
            assert problem["nights"] == [night], problem


@tap.test
def of_64_clients_racing_for_the_last_room_exactly_one_wins_each_of_200_nights_while_the_server_is_killed():
    first = datetime.date(2027, 6, 1)
    nights = [(first + datetime.timedelta(days=day)).isoformat() for day in range(NIGHT_COUNT)]
    rng = random.Random(64)
    with House() as house:
        answer = request(house.leader, "POST", "/v1/commands/AddRooms", {"hotel": "Last", "room_type": "Only", "rooms": 1})
        assert answer.status == 201, answer
        kills = []

        def kill_sometimes():
            kills.append(0)
            if len(kills) % KILL_EVERY == 0:
                threading.Timer(rng.random() * 0.03, lambda: (house.leader.kill(), house.leader.start())).start()

        barrier = threading.Barrier(CLIENT_COUNT, action=kill_sometimes)
        clients = [Client(number, house, nights, barrier) for number in range(CLIENT_COUNT)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(300)
        errors = [client.error for client in clients if client.error]
        assert not errors, errors[0]
        for night in nights:
            check_night(night, [client.answers[night] for client in clients])
        booked = parse_rows(rows(house.gateway, "availability"))
        assert [row["night"] for row in booked] == nights and {row["booked"] for row in booked} == {1}
        holders = {row["arrival"]: row["guest"] for row in parse_rows(rows(house.gateway, "reservations"))}
        for client in clients:
            for night, answer in client.answers.items():
                assert (answer.status == 201) == (holders[night] == f"client {client.number}"), (night, client.number)


tap.main()
