"""Queues of a device without hardware, as late as the rules allow: work is done on a wait for an event after it.

Waiting of one queue for another is work like all else: it is done when its turn comes, and not when it is asked for. So
who has forgotten that something must be waited for finds the numbers of before.
"""

import time

from mpitrain.device import Event, Stream


class LateEvent(Event):
    """A point in a queue."""

    def __init__(self, stream, place):
        self.stream, self.place, self.polls = stream, place, 0
        self.passed = None

    def stamp(self):
        """Note the time at which the queue has come here."""
        self.passed = self.stream.clock()

    def seconds_since(self, earlier):
        if self.passed is None or earlier.passed is None:
            raise RuntimeError("an event was not recorded as timed, or has not passed")
        return self.passed - earlier.passed

    def done(self):
        """False the first times that it is asked, unless it is over."""
        self.polls += 1
        if self.polls > self.stream.patience:
            self.stream.run_until(self.place)
        return self.stream.first >= self.place

    def wait(self):
        self.stream.run_until(self.place)


class LateStream(Stream):
    """A queue.

    Attributes
    ----------
    patience : int
        Queries of an event that are answered no before the work is done for one.
    clock : callable
        The time of the device, in seconds.
    """

    patience = 1
    clock = staticmethod(time.perf_counter)

    def __init__(self, device):
        self.device, self.queue, self.first, self.running = device, [], 0, False

    def do(self, work):
        """Do ``work`` when everything before it is done, and its result is needed."""
        self.queue.append(work)

    def record(self, timed=False):
        event = LateEvent(self, self.first + len(self.queue) + timed)
        if timed:
            self.do(event.stamp)
        return event

    def wait_for(self, event):
        self.do(lambda: event.stream.run_until(event.place))

    def run_until(self, place):
        if self.first >= place:
            return
        assert not self.running, "work waits for work behind it"
        self.running = True
        try:
            while self.first < place:
                work = self.queue.pop(0)
                self.first += 1
                work()
        finally:
            self.running = False


class Over(Event):
    """An event without a wait, as if it were forgotten."""

    place = 0

    @property
    def stream(self):
        return self

    def run_until(self, place):
        pass
