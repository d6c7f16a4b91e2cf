"""The command line of a worker's pytest: what it gets, what it must bear, and what has no meaning there.

Follows pytest-xdist, so that plugins find what they expect. Never reads a configuration file itself.
"""

import copy
import os

OPTIONS_OF_CONTROLLERS = (
    (("-n", "--numprocesses"), {"dest": "numprocesses"}),
    (("--maxprocesses",), {"dest": "maxprocesses"}),
    (("--max-worker-restart",), {"dest": "maxworkerrestart"}),
    (("--dist",), {"dest": "dist", "default": "no"}),
    (("--loadscope-reorder",), {"dest": "loadscopereorder", "action": "store_true", "default": True}),
    (("--no-loadscope-reorder",), {"dest": "loadscopereorder", "action": "store_false", "default": True}),
    (("--tx",), {"dest": "tx", "action": "append", "default": []}),
    (("--px",), {"dest": "px", "action": "append", "default": []}),
    (("-d",), {"dest": "distload", "action": "store_true"}),
    (("--rsyncdir",), {"dest": "rsyncdir", "action": "append", "default": []}),
    (("--rsyncignore",), {"dest": "rsyncignore", "action": "append", "default": []}),
    (("--testrunuid",), {"dest": "testrunuid"}),
    (("--maxschedchunk",), {"dest": "maxschedchunk"}),
    (("-f", "--looponfail"), {"dest": "looponfail", "action": "store_true"}),
    (("--cloudist",), {"dest": "cloudist_mode", "nargs": "?"}),
)
FLAGS = ("--cd-private-ip",)
RESET = {
    "dist": "no",
    "distload": False,
    "loadgroup": False,
    "numprocesses": None,
    "maxprocesses": None,
    "tx": [],
    "usepdb": False,
    "trace": False,
    "looponfail": False,
    "lf": False,
    "failedfirst": False,
    "newfirst": False,
    "stepwise": False,
    "stepwise_skip": False,
    "stepwise_reset": False,
}


def worker_arguments(session):
    arguments = [
        "-p",
        "no:cloudist",
        "-p",
        "no:pytest_cloudist",
        *session["args"],
        "--rootdir=" + session["rootdir"],
    ]
    if session["inifile"]:
        arguments += ["-c", session["inifile"]]
    return arguments + session.get("initial", [])


def add_missing_options(config, parser, args):
    """Lets options of a controller pass that come from addopts, where no plugin of this machine has them."""
    built = parser._getparser() if hasattr(parser, "_getparser") else parser.optparser
    taken = set(built._option_string_actions)
    group = parser.getgroup("cloudist-worker")
    wanted = OPTIONS_OF_CONTROLLERS + tuple(own_options(args))
    missing = [(names, attributes) for names, attributes in wanted if not taken.intersection(names)]
    for names, attributes in missing:
        group._addoption(*names, help="without effect here", **attributes)
    if missing:
        known = parser.parse_known_args(list(args), namespace=copy.copy(config.option))
        known.confcutdir = config.known_args_namespace.confcutdir
        config.known_args_namespace = known


def own_options(args):
    """The options of the local plugin that occur; what they mean was settled there."""
    for name in sorted({str(arg).partition("=")[0] for arg in args if str(arg).startswith("--cd-")}):
        action = {"action": "store_true"} if name in FLAGS else {"action": "append"}
        yield (name,), dict(action, dest=name[2:].replace("-", "_"))


def neutralise(config, basetemp, worker_id):
    """Takes back what belongs to the controller alone, and gives the worker a directory of its own."""
    option = config.option
    for name, value in RESET.items():
        if hasattr(option, name) or name == "loadgroup":
            setattr(option, name, value)
    rerunfailures = config.pluginmanager.get_plugin("rerunfailures")
    if hasattr(rerunfailures, "works_with_current_xdist"):
        # Without pytest-xdist it holds that a worker can't tell more than one outcome of a test, and keeps failures to itself.
        rerunfailures.works_with_current_xdist = lambda: True
    given = option.basetemp
    if given:
        os.makedirs(given, mode=0o700, exist_ok=True)
    option.basetemp = os.path.join(given or basetemp, "popen-" + worker_id)
