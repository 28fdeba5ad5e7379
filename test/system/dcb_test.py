"""The dialect of the dcb.events compliance suite, by the words of its specification."""
import json
import random
import threading
import urllib.parse

from daybook_test import Server, Tap, request

tap = Tap()


def read(server, query=None, **options):
    asked = {}
    if query is not None:
        asked["query"] = json.dumps(query)
    if options:
        asked["options"] = json.dumps(options)
    answer = request(server, "GET", "/dcb/read?" + urllib.parse.urlencode(asked))
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/json", answer
    return answer.json()


def append(server, *events, condition=None, **more):
    answer = request(server, "POST", "/dcb/append", {"events": list(events), "condition": condition, **more})
    assert answer.status == 200, answer
    body = answer.json()
    assert set(body) == {"durationInMicroseconds", "appendConditionFailed"}, body
    assert isinstance(body["durationInMicroseconds"], int), body
    return not body["appendConditionFailed"]


def event(type, *tags, data="{}"):
    return {"type": type, "tags": list(tags), "data": data}


def items(*pairs):
    return {"items": [{"types": types, "tags": tags} for types, tags in pairs]}


def positions(events):
    return [one["position"] for one in events]


def fill(server):
    """1 A x, 2 B x y, 3 A y, 4 C, 5 B x."""
    assert append(server, event("A", "x"), event("B", "x", "y"), event("A", "y"))
    assert append(server, event("C"))
    assert append(server, event("B", "x"))


@tap.test
def an_event_comes_back_as_it_was_appended_with_its_position():
    with Server() as server:
        assert append(server, event("A", "x", "y", data='{"some":"text"}'), event("B", data={"a": [1, None]}))
        assert read(server) == [
            {"type": "A", "tags": ["x", "y"], "data": '{"some":"text"}', "position": 1},
            {"type": "B", "tags": [], "data": {"a": [1, None]}, "position": 2}]


@tap.test
def a_query_without_items_or_none_at_all_means_everything():
    with Server() as server:
        assert read(server) == [] and read(server, backwards=True) == []
        fill(server)
        for query in (None, {}, {"items": []}, {"items": None}):
            assert positions(read(server, query)) == [1, 2, 3, 4, 5], query
        assert request(server, "GET", "/dcb/read?query=null&options=null").json() == read(server)


@tap.test
def an_item_takes_any_of_its_types_and_all_of_its_tags_and_a_query_any_of_its_items():
    with Server() as server:
        fill(server)
        for query, expected in [
                (items((["A"], [])), [1, 3]), (items((["A", "C"], [])), [1, 3, 4]), (items(([], ["x"])), [1, 2, 5]),
                (items(([], ["x", "y"])), [2]), (items((["A"], ["x"])), [1]), (items((["C"], []), (["B"], ["y"])), [2, 4]),
                (items((["A"], []), ([], ["y"])), [1, 2, 3]), (items((["D"], [])), []),
                ({"items": [{"types": ["A"]}]}, [1, 3]), ({"items": [{"tags": ["y"], "types": None}]}, [2, 3])]:
            assert positions(read(server, query)) == expected, (query, expected)
            assert positions(read(server, query, backwards=True)) == expected[::-1], query


@tap.test
def reading_begins_at_a_position_inclusive_goes_backwards_and_ends_at_a_limit():
    with Server() as server:
        fill(server)
        b = items((["B"], []))
        for options, expected in [
                ({"from": 3}, [3, 4, 5]), ({"from": 1}, [1, 2, 3, 4, 5]), ({"from": 6}, []), ({"limit": 2}, [1, 2]),
                ({"from": 2, "limit": 2}, [2, 3]), ({"backwards": True}, [5, 4, 3, 2, 1]),
                ({"backwards": True, "from": 3}, [3, 2, 1]), ({"backwards": True, "from": 99}, [5, 4, 3, 2, 1]),
                ({"backwards": True, "limit": 1}, [5]), ({"backwards": True, "from": 4, "limit": 2}, [4, 3]),
                ({"from": None, "backwards": None, "limit": None}, [1, 2, 3, 4, 5])]:
            assert positions(read(server, **options)) == expected, (options, expected)
        assert positions(read(server, b, **{"from": 3})) == [5]
        assert positions(read(server, b, backwards=True, **{"from": 4})) == [2]


@tap.test
def an_append_fails_when_an_event_after_the_position_matches():
    with Server() as server:
        fill(server)
        for query, after, passes in [
                (items((["A"], ["x"])), None, False), (items((["A"], ["x"])), 0, False), (items((["A"], ["x"])), 1, True),
                (items(([], ["x"])), 4, False), (items(([], ["x"])), 6, True), (items((["D"], [])), None, True),
                ({"items": []}, 6, False), ({"items": []}, 8, True)]:
            condition = {"failIfEventsMatch": query, "after": after}
            assert append(server, event("Z"), condition=condition) == passes, (query, after, read(server))
        head = len(read(server))
        assert not append(server, event("E"), event("F"), condition={"failIfEventsMatch": items((["A"], []))})
        assert len(read(server)) == head, "nothing of a refused append is there"


@tap.test
def of_racers_on_one_boundary_exactly_one_wins():
    with Server() as server:
        for round in range(5):
            query = items(([], [f"seat:{round}"]))
            won = []
            racers = [threading.Thread(target=lambda: won.append(append(
                server, event("Taken", f"seat:{round}"), condition={"failIfEventsMatch": query}))) for _ in range(12)]
            for racer in racers:
                racer.start()
            for racer in racers:
                racer.join()
            assert sorted(won) == [False] * 11 + [True], won
            assert len(read(server, query)) == 1


@tap.test
def more_than_a_page_comes_whole():
    with Server() as server:
        for _ in range(12):
            assert append(server, *[event("Many", "m", data="x" * 300) for _ in range(1000)])
        assert positions(read(server, items(([], ["m"])))) == list(range(1, 12001))
        assert positions(read(server, backwards=True)) == list(range(12000, 0, -1))


@tap.test
def what_is_wrong_is_said_and_nothing_is_written():
    with Server() as server:
        for body, status, code in [
                ({"events": []}, 422, "invalid"), ({"events": None}, 422, "invalid"),
                ({"events": [event("")]}, 422, "invalid"), ({"events": [event("$a")]}, 422, "invalid"),
                ({"events": [event("A")], "condition": {"failIfEventsMatch": {"items": [{"types": 1}]}}}, 422, "invalid"),
                ({"appends": [{"events": [event("A")]}]}, 422, "invalid"), ({"other": 1, "events": [event("A")]}, 422, "invalid"),
                ("{", 400, "malformed"), ('{"events":[],"events":[]}', 400, "malformed")]:
            answer = request(server, "POST", "/dcb/append", body)
            assert answer.status == status and answer.json()["code"] == code, (body, answer)
        for asked, status in [("options=1", 400), ("options={", 400), ('options={"limit":0}', 400), ('options={"from":-1}', 400),
                              ('options={"backwards":1}', 400), ('options={"other":1}', 400), ("query=[", 400), ("query=1", 422),
                              ('query={"items":[{"x":1}]}', 422), ('query={"items":[{"types":1}]}', 422), ("other=1", 400)]:
            name, _, value = asked.partition("=")
            answer = request(server, "GET", f"/dcb/read?{name}={urllib.parse.quote(value)}")
            assert answer.status == status, (asked, answer)
            assert answer.headers["Content-Type"] == "application/problem+json", asked
        assert read(server) == []


@tap.test
def both_ways_in_see_the_same_events():
    with Server() as server:
        assert request(server, "POST", "/v1/append", {"events": [{"type": "A", "stream": "s", "data": 1, "tags": ["t"]}]}).status == 201
        assert not append(server, event("B"), condition={"failIfEventsMatch": items(([], ["t"]))})
        assert append(server, event("B"), condition={"failIfEventsMatch": items(([], ["t"])), "after": 1})
        page = request(server, "GET", "/v1/events").json()
        assert [one["type"] for one in page["events"]] == ["A", "B"] and page["head"] == 2
        assert read(server, items(([], ["t"]))) == [{"type": "A", "tags": ["t"], "data": 1, "position": 1}]


@tap.test
def an_item_without_types_and_tags_means_everything():
    with Server() as server:
        assert append(server, event("A"), condition={"failIfEventsMatch": {"items": [{}]}, "after": 0})
        fill(server)
        for query in ({"items": [{}]}, {"items": [{"types": [], "tags": []}]}, {"items": [{"types": None}]},
                      {"items": [{"types": ["D"]}, {"tags": []}]}):
            assert positions(read(server, query)) == [1, 2, 3, 4, 5, 6], query
            assert not append(server, event("Z"), condition={"failIfEventsMatch": query, "after": 5}), query
            assert positions(read(server, query, backwards=True, limit=1)) == [6], query


class Suite:
    """What the suite's own HTTP adapter does and checks of each answer, with our path as its base address."""

    def __init__(self, server):
        self.server = server

    def read(self, query, options=None):
        asked = {"query": json.dumps(query), **({"options": json.dumps(options)} if options is not None else {})}
        answer = request(self.server, "GET", "/dcb/read?" + urllib.parse.urlencode(asked, quote_via=urllib.parse.quote))
        assert answer.status == 200, answer
        events = answer.json()
        assert isinstance(events, list)
        for one in events:
            assert isinstance(one["type"], str) and isinstance(one["tags"], list) and isinstance(one["position"], int), one
        return events

    def last(self, query):
        return (self.read(query, {"backwards": True, "limit": 1}) or [{"position": 0}])[0]["position"]

    def append(self, events, condition):
        answer = request(self.server, "POST", "/dcb/append", {"events": events, "condition": condition})
        assert answer.status == 200 and type(answer.json()["appendConditionFailed"]) is bool, answer
        return not answer.json()["appendConditionFailed"]


def some_query(dice):
    return {"items": [{"types": [f"t-{dice.randrange(10)}" for _ in range(dice.randrange(5))],
                       "tags": [f"x-{dice.randrange(10)}" for _ in range(dice.randrange(4))]} for _ in range(dice.randrange(4))]}


def some_events(dice, query, after):
    return [{"type": f"t-{dice.randrange(10)}", "tags": sorted({f"x-{dice.randrange(10)}" for _ in range(dice.randrange(4))}),
             "data": json.dumps({"query": query, "after": after, "index": index})} for index in range(dice.randrange(1, 3))]


@tap.test
def the_suites_consistency_holds_each_append_saw_the_last_match_before_it():
    with Server() as server:
        suite, threads = Suite(server), []

        def append_some(seed):
            dice = random.Random(seed)
            for _ in range(25):
                query = some_query(dice)
                after = suite.last(query)
                suite.append(some_events(dice, query, after), {"failIfEventsMatch": query, "after": after})

        for seed in range(8):
            threads.append(threading.Thread(target=append_some, args=(seed,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        head = suite.last({"items": []})
        assert head > 20, head
        for number in range(0, head + 1):  # the suite counts from 0
            found = suite.read({"items": []}, {"from": number, "limit": 1})
            data = json.loads(found[0]["data"])
            if data["index"] == 0:
                before = [one["position"] for one in suite.read(data["query"]) if one["position"] < found[0]["position"]]
                assert (before or [0])[-1] == data["after"], (found, before)


@tap.test
def the_suites_positions_only_grow_while_others_append():
    with Server() as server:
        suite, done, seen = Suite(server), threading.Event(), []

        def append_some():
            dice = random.Random(1)
            for _ in range(60):
                suite.append(some_events(dice, {"items": []}, 0) * 2, None)
            done.set()

        writer = threading.Thread(target=append_some)
        writer.start()
        while not done.is_set() or not seen or seen[-1] < suite.last({"items": []}):
            page = positions(suite.read({"items": []}, {"from": (seen[-1] if seen else 0) + 1, "limit": 6}))
            assert page == sorted(set(page)), page
            seen += page
        writer.join()
        assert seen == list(range(1, len(seen) + 1)), seen


@tap.test
def the_suites_unrelated_appends_never_refuse_each_other():
    with Server() as server:
        suite, won = Suite(server), []

        def append_some(number):
            for turn in range(20):
                tag = f"vu{number}-iter{turn}"
                won.append(suite.append([event("SomeEvent", tag)], {"failIfEventsMatch": {"items": [{"tags": [tag], "types": ["SomeEvent"]}]}}))

        threads = [threading.Thread(target=append_some, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [True] * 160


tap.main()
