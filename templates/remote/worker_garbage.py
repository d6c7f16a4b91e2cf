"""The garbage collector of a worker: what was there before the first test is left out of its rounds.

Looking through all of pytest for garbage costs a worker a tenth of its time, and finds none. A test that looks for
objects through the collector sees them all the same. Never turns the collector off.
"""

import contextlib
import functools
import gc

RELAXED = 50_000
LOOKING = ("get_objects", "get_referrers", "get_freeze_count", "freeze", "unfreeze")


def thaw_when_looked_at():
    """Until somebody looks, what the zygote froze stays so."""
    originals = {name: getattr(gc, name) for name in LOOKING}

    def thaw():
        for name, original in originals.items():
            setattr(gc, name, original)
        gc.unfreeze()

    for name, original in originals.items():
        setattr(gc, name, thawing(original, thaw))


def thawing(original, thaw):
    @functools.wraps(original)
    def look(*arguments, **options):
        if getattr(gc, original.__name__) is not original:
            thaw()
        return original(*arguments, **options)

    return look


@contextlib.contextmanager
def collecting_rarely():
    """While a file is collected nearly everything that is made stays: it is looked through later, and less often."""
    before = gc.get_threshold()
    if not before[0]:
        yield
        return
    relaxed = (max(before[0], RELAXED), *before[1:])
    gc.set_threshold(*relaxed)
    try:
        yield
    finally:
        if gc.get_threshold() == relaxed:
            gc.set_threshold(*before)


def exhaust():
    """Collects until nothing comes of it, then hides what lives: pytest would look through all of it ten times."""
    for _ in range(5):
        if not gc.collect():
            break
    gc.freeze()
