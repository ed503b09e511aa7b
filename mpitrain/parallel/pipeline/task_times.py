"""Times of the tasks of one rank, by events in the work of its device, for which nothing waits inside a step.

Tasks on a GPU only queue their work, so the host's clock says when that was queued. A timed event says when the GPU
came to it. On the CPU an event is a time of the host.
"""

from time import perf_counter

from ...device import Device, Event

Span = tuple[Event, Event]


class TaskTimes:
    """Events before and after the tasks of a step, and sums over all steps.

    Parameters
    ----------
    device : Device

    Attributes
    ----------
    spans : list of (begin, end)
        Timed events around each task of the last step, without waiting for messages.
    """

    def __init__(self, device: Device):
        self._device = device
        self.spans: list[Span] = []
        self._steps: list[tuple[Span, list[Span]]] = []  # that are not added up yet
        self._busy = self._seconds = 0.0

    def mark(self) -> Event:
        """Return a timed event after the work so far."""
        return self._device.compute.record(timed=True)

    def end_step(self, begin: Event, spans: list[Span]) -> None:
        """Keep the events of a step that began at ``begin``; add up those of steps whose work is done."""
        self.spans = spans
        self._steps.append(((begin, self.mark()), spans))
        self._add_up()

    def _add_up(self) -> None:
        while self._steps and self._steps[0][0][1].done():
            (begin, end), spans = self._steps.pop(0)
            self._seconds += end.seconds_since(begin)
            self._busy += sum(after.seconds_since(before) for before, after in spans)

    @property
    def seconds(self) -> float:
        """Time of all steps so far whose work is done."""
        self._add_up()
        return self._seconds

    @property
    def idle(self) -> float | None:
        """Part of the steps so far in which this rank had no task; None before the first step is done."""
        return 1 - self._busy / self._seconds if self.seconds else None

    def on_host_clock(self) -> tuple[list[tuple[float, float]], float]:
        """Return (begin, end) of the last step's tasks in seconds of ``time.perf_counter``, and a bound on the error.

        Waits for the device: call it between steps.
        """
        self._device.synchronize()
        before = perf_counter()
        now = self.mark()
        now.wait()
        after = perf_counter()
        middle, error = (before + after) / 2, (after - before) / 2
        return [
            (middle - now.seconds_since(begin), middle - now.seconds_since(end)) for begin, end in self.spans
        ], error
