"""The table of the cases of ops, which the files beside this one fill."""

CASES = {}


def covers(*names):
    """Make a function the case of the ops of these names."""

    def register(case):
        assert not set(names) & set(CASES), names
        CASES.update(dict.fromkeys(names, case))
        return case

    return register
