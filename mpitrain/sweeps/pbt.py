"""Population-based training: bad members take over the weights of good ones, with changed values.

Source: Jaderberg, Dalibard, Osindero, Czarnecki, Donahue, Razavi, Vinyals, Green, Dunning, Simonyan, Fernando and
Kavukcuoglu, Population Based Training of Neural Networks, 2017 (truncation selection; values are perturbed).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .draw import active, uniform
from .parameters import Parameter
from .plan import Trial
from .spec import SweepSpec
from .state import PAUSED, WAITING, SweepState, TrialState
from .work import Work, interrupted, wait_or_done

SHARE = 0.2  # of the population that is replaced, and that replaces it
FACTORS = (0.8, 1.2)
RESAMPLE = 0.25  # probability to draw a value anew
EXPLOIT, FACTOR, ANEW, VALUE = range(111, 115)  # purposes of random numbers


class Population:
    """Decisions of pbt.

    A member that has trained for an interval is compared with the latest values of all. If it is among the worst fifth,
    it continues from the checkpoint of a member of the best fifth, with values near that one's. The member that has
    trained least comes next. All choices depend on the seed and the log of events alone: on which values are known at
    that time, and so on how fast the ranks are, but on nothing else.

    Parameters
    ----------
    spec : SweepSpec
    trials : sequence of Trial
    """

    def __init__(self, spec: SweepSpec, trials: Sequence[Trial]):
        self._spec, self._trials = spec, trials
        self._epochs = spec.config(spec.first_values()).run.epochs

    def __call__(self, state: SweepState) -> Work | str:
        """Return the next interval of a member."""
        if (again := interrupted(state)) is not None:
            return again
        free = [trial for trial in state.trials if trial.status in (WAITING, PAUSED)]
        if not free:
            return wait_or_done(state)
        member = min(free, key=lambda trial: (trial.epoch, trial.number))
        until = member.epoch + self._spec.interval
        parent = self._parent(state, member)
        if parent is None:
            return Work(member.number, self._end(until), member.life, member.parent, member.values)
        values = self._explored(parent, member)
        until = parent.epoch + self._spec.interval
        return Work(member.number, self._end(until), member.life + 1, parent.number, values)

    def _end(self, until: float) -> float:
        return 0.0 if until >= self._epochs else until

    def _parent(self, state: SweepState, member: TrialState) -> TrialState | None:
        """Return a member of the best fifth if ``member`` is of the worst, else None."""
        known = [trial for trial in state.trials if trial.reports]
        number = math.ceil(SHARE * len(known))
        if member.status != PAUSED or len(known) < 2 or 2 * number > len(known):
            return None
        known.sort(key=lambda trial: (-state.better(trial.value), trial.number))
        best = [trial for trial in known[:number] if trial.epoch < self._epochs and trial.step]
        if member not in known[-number:] or not best:
            return None
        return best[int(self._draw(EXPLOIT, member, "") * len(best))]

    def _explored(self, parent: TrialState, member: TrialState) -> Mapping[str, Any]:
        values = self._trials[parent.number].values if parent.values is None else parent.values
        point = [self._explore(one, values.get(one.name), member) for one in self._spec.parameters]
        return active(self._spec.parameters, point)

    def _explore(self, one: Parameter, value: Any, member: TrialState) -> Any:
        """Return a number times 0.8 or 1.2, a neighbor in a list, or now and then a new value."""
        if value is None or self._draw(ANEW, member, one.name) < RESAMPLE:
            return one.at(self._draw(VALUE, member, one.name))
        up = self._draw(FACTOR, member, one.name) < 0.5
        if one.is_range:
            return one.fit(value * FACTORS[up])
        place = one.values.index(value) + (1 if up else -1)
        return one.values[min(max(place, 0), len(one.values) - 1)]

    def _draw(self, purpose: int, member: TrialState, name: str) -> float:
        """Return a number in [0, 1) for a choice of a member at this point of its life."""
        key = (self._spec.seed, purpose, member.number, member.life, int(member.epoch))
        return uniform(*key, *name.encode())
