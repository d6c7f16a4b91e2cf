"""A copy of the zygote that stays: it has pytest imported for those who come to see a failure once more.

Takes nothing from the run. Whoever comes and finds nobody here begins from nothing, which takes longer.
"""

import json
import os
import sys

from .worker_guest import STANDBY
from .worker_visits import Host, listen

NOT_THERE = 91


def serve(session, modules, life):
    listener = listen(session["side"], STANDBY)
    if listener is not None:
        host = Host(listener, session["side"], life)
        diary = os.path.join(session["side"], "diary")
        with open(os.path.join(diary, "sources.json"), encoding="ascii") as file:
            modules.add({name: text for name, text in json.load(file).items() if name.startswith("again_")})
        # Nobody has come yet.
        from . import again_debug, again_options, again_past, worker_process  # noqa: F401

        host.serve(lambda visit: show(visit, diary, session))
    return 0


def show(visit, diary, session):
    from .again_debug import debug
    from .again_options import read
    from .again_past import Gone

    visit.begin()
    visit.take_terminal()
    try:
        return debug(diary, read([diary, *visit.options]), session)
    except (Gone, OSError) as error:
        sys.stderr.write("cloudist: %s\n" % error)
        return NOT_THERE
    except KeyboardInterrupt:
        return 130
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
