"""Draws how the engine's time and memory grow: costs as JSON on stdin, an SVG at the path given. Needs matplotlib."""

import json
import sys

import matplotlib

matplotlib.use("svg")
# The same figures make the same file.
matplotlib.rcParams["svg.hashsalt"] = "cloudist"
import matplotlib.pyplot as plt

MEASURES = (
    ("CPU of the engine, s", lambda cost: cost["cpu"]),
    ("wall clock, s", lambda cost: cost["start"] + cost["stream"] + cost["end"]),
    ("memory at most, MiB", lambda cost: cost["memory"] / 2**20),
)


def series(costs, fixed, varied):
    """The costs that share the commonest value of `fixed`, by `varied`."""
    values = [cost[fixed] for cost in costs]
    usual = max(set(values), key=values.count)
    return usual, sorted((cost for cost in costs if cost[fixed] == usual), key=lambda cost: cost[varied])


def draw(axes, costs, fixed, varied):
    usual, line = series(costs, fixed, varied)
    for label, measure in MEASURES:
        axes.plot([cost[varied] for cost in line], [measure(cost) for cost in line], marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel=varied, title=f"{usual:,} {fixed}")
    axes.grid(True, which="major", alpha=0.3)


def main():
    costs = json.load(sys.stdin)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    draw(left, costs, "workers", "tests")
    draw(right, costs, "tests", "workers")
    left.legend()
    figure.savefig(sys.argv[1], metadata={"Date": None})


if __name__ == "__main__":
    main()
