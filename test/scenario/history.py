"""Whether a history of appends and reads is linearizable: as if each had happened at one moment between its call and its
answer, one after another.

What makes this easy to decide is that the journal itself says the order of appends: their positions. Let append k of that
order take effect at the moment t(k). Then

- t(1) <= t(2) <= …, and call(k) <= t(k) <= answer(k), where the answer of one whose end nobody saw is at infinity;
- whoever looked, and was shown what is true from append `low` up to append `high` and no other, looked between t(low) and
  t(high + 1): t(low) <= its answer, and its call <= t(high + 1).

These are lower and upper bounds on each t(k), and nothing else. Moments that keep all of them exist exactly if the highest
lower bound of t(1) … t(k) is never above the upper bound of t(k). So one walk decides, without searching.
"""
import bisect
import dataclasses
import math


class Broken(AssertionError):
    """The history is not linearizable, or something acknowledged is missing; the text says which operation."""


@dataclasses.dataclass
class Event:
    """As the journal shows it in the end."""
    position: int
    id: str
    stream: str
    tags: tuple


@dataclasses.dataclass
class Append:
    """Its events by their ids. `first`: the position it was answered with; None: no answer was seen. `expected`: (stream,
    version) or None. `unless`: (tag, after) or None."""
    ids: list
    call: float
    answer: float = math.inf
    first: int = None
    expected: tuple = None
    unless: tuple = None


@dataclasses.dataclass
class Refusal:
    """An append that was refused: the stream's `actual` version was another, or an event at `position` was in the way."""
    call: float
    answer: float
    expected: tuple = None
    actual: int = None
    unless: tuple = None
    position: int = None


@dataclasses.dataclass
class Look:
    """A read: the position of the newest event of a stream, of a tag, or (both None) of all; 0: there is none."""
    call: float
    answer: float
    newest: int
    stream: str = None
    tag: str = None


class Order:
    """The appends in the journal's order. `ends[k]` is the last position of the first k of them."""

    def __init__(self, events, operations):
        self.events = events
        for place, event in enumerate(events, 1):
            if event.position != place:
                raise Broken(f"position {event.position} stands where {place} should be")
        places = {event.id: event.position for event in events}
        if len(places) != len(events):
            raise Broken("an event id is there twice")
        appends = [one for one in operations if isinstance(one, Append)]
        self.appends = sorted((self.place(one, places) for one in appends if self.is_there(one, places)),
                              key=lambda one: one[0])
        self.ends = [0]
        for first, append in self.appends:
            if first != self.ends[-1] + 1:
                raise Broken(f"nobody sent what stands at {self.ends[-1] + 1}")
            self.ends.append(first + len(append.ids) - 1)
        if self.ends[-1] != len(events):
            raise Broken(f"nobody sent what stands at {self.ends[-1] + 1}")

    @staticmethod
    def is_there(append, places):
        found = [id in places for id in append.ids]
        if any(found) and not all(found):
            raise Broken(f"{append} is there in part")
        if append.first is not None and not any(found):
            raise Broken(f"{append} was acknowledged and is not there")
        return any(found)

    @staticmethod
    def place(append, places):
        first = places[append.ids[0]]
        if [places[id] for id in append.ids] != list(range(first, first + len(append.ids))):
            raise Broken(f"{append} does not stand together, in its order")
        if append.first not in (None, first):
            raise Broken(f"{append} was acknowledged elsewhere than at {first}")
        return first, append

    def after(self, position):
        """How many appends it takes until this position is there."""
        return bisect.bisect_left(self.ends, position)

    def matching(self, stream=None, tag=None):
        return [event.position for event in self.events
                if (stream is None or event.stream == stream) and (tag is None or tag in event.tags)]

    def span(self, newest, positions):
        """From and up to which append `newest` is the last of these positions."""
        at = bisect.bisect_left(positions, newest)
        if newest and (at == len(positions) or positions[at] != newest):
            raise Broken(f"position {newest} was shown, and is not among {positions[-3:]}")
        following = positions[at + 1 if newest else 0:][:1]
        low = self.after(newest) if newest else 0
        high = self.after(following[0]) - 1 if following else len(self.appends)
        if low > high:
            raise Broken(f"position {newest} was shown without {following[0]}, which is of the same append")
        return low, high


def seen(order, operation, matching):
    """The span of appends that a look or a refusal is true in."""
    if isinstance(operation, Look):
        return order.span(operation.newest, matching(operation.stream, operation.tag))
    if operation.actual is not None:
        stream, version = operation.expected
        positions = matching(stream, None)
        if operation.actual == version or operation.actual > len(positions):
            raise Broken(f"{operation}: there is no such version")
        return order.span(positions[operation.actual - 1] if operation.actual else 0, positions)
    tag, after = operation.unless
    if operation.position <= after or operation.position not in matching(None, tag):
        raise Broken(f"{operation}: nothing there was in the way")
    return order.after(operation.position), len(order.appends)


def check_guards(order, matching):
    """What was accepted was true right before it."""
    for first, append in order.appends:
        if append.expected:
            stream, version = append.expected
            if bisect.bisect_left(matching(stream, None), first) != version:
                raise Broken(f"{append} was accepted at {first}, where the stream is not at version {version}")
        if append.unless:
            tag, after = append.unless
            positions = matching(None, tag)
            if bisect.bisect_left(positions, first) > bisect.bisect_right(positions, after):
                raise Broken(f"{append} was accepted at {first}, in spite of an event between")


def check(events, operations):
    """Raises Broken, or answers how many appends and how many others fit into one order."""
    order = Order(events, operations)
    known = {}

    def matching(stream, tag):
        if (stream, tag) not in known:
            known[stream, tag] = order.matching(stream, tag)
        return known[stream, tag]

    check_guards(order, matching)
    count = len(order.appends)
    lower = [(-math.inf, None)] + [(append.call, append) for _, append in order.appends] + [(-math.inf, None)]
    upper = [(math.inf, None)] + [(append.answer, append) for _, append in order.appends]
    others = [one for one in operations if not isinstance(one, Append)]
    for operation in others:
        low, high = seen(order, operation, matching)
        if low > 0:
            upper[low] = min(upper[low], (operation.answer, operation), key=lambda one: one[0])
        if high < count:
            lower[high + 1] = max(lower[high + 1], (operation.call, operation), key=lambda one: one[0])
    latest = (-math.inf, None)
    for k in range(1, count + 1):
        latest = max(latest, lower[k], key=lambda one: one[0])
        if latest[0] > upper[k][0]:
            raise Broken(f"append {k} cannot have happened after {latest[1]} was called and before {upper[k][1]} was answered")
    return count, len(others)
