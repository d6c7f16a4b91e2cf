"""A test that failed, or a file that could not be imported, once more, as its worker came to it: the same session,
and the tests before it, in one process.

Plays the runner to a worker, from what its diary tells. Started by those who come to look; never during a run's work.
"""

import json
import os
import sys

PACKAGE = "_cloudist"
NOT_THERE, INTERRUPTED = 91, 130


def install(directory):
    """Makes our modules importable, as they are to a worker, compiled as the run has left them on the machine."""
    with open(os.path.join(directory, "sources.json"), encoding="ascii") as file:
        sources = json.load(file)
    with open(os.path.join(directory, "session.json"), encoding="ascii") as file:
        session = json.load(file)
    sys.path[:] = [entry for entry in sys.path if entry]
    zygote = {"__name__": PACKAGE + ".worker"}
    exec(compile(sources["worker"], "<cloudist worker>", "exec"), zygote)
    ours = {
        name: text for name, text in sources.items() if name.startswith(("worker_", "again_", "compiled"))
    }
    modules = zygote["install"](ours)
    modules.compiled_in(*session["code"])
    return modules


def act(directory):
    """The status of what was asked for, once it has been done."""
    modules = install(directory)
    from _cloudist import again_options
    from _cloudist.again_past import Gone

    options = again_options.read(sys.argv[1:])
    if options.bisect:
        from _cloudist.again_bisect import bisect as doing
    elif options.judge is not None:
        from _cloudist.again_bisect import judge as doing
    else:
        from _cloudist.again_debug import debug as doing
    try:
        return doing(directory, options)
    except Gone as error:
        sys.stderr.write("cloudist: %s\n" % error)
        return NOT_THERE
    finally:
        modules.keep()


def main():
    status = NOT_THERE
    try:
        status = act(sys.argv[1])
        sys.stdout.flush()
    except OSError as error:
        sys.stderr.write("cloudist: %s\n" % error)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


main()
