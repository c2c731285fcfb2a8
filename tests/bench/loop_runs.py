"""Runs the loops of loops.c, each variant beside the others, and makes figures of what they say.

Runs are interleaved: one of each variant, then again, so that a machine that slows down slows all
of them. A figure is the median over the rounds of the run's own median. It knows no goal.
"""

import os
import statistics
import subprocess
import sys

FEW, MANY, MANY_SMOKE = 1_000, 1_000_000, 20_000
ROUNDS_MANY = 5  # with MANY records a run takes seconds
BOXLEDGERS_OWN = ("LD_PRELOAD", "BOXLEDGER_OPTIONS")
# NAME of a variant: what it preloads, below the build directory.
PRELOADS = {
    "bare": None,
    "nothing": "tests/bench/.libs/nothing_shim.so",
    "boxledger": "libboxledger.so",
}


def say(text):
    """Progress: the output is for the tables."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def spread(values):
    if len(values) == 1:
        q1 = q3 = values[0]
    else:
        q1, _, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {
        "median": round(statistics.median(values), 2),
        "q1": round(q1, 2),
        "q3": round(q3, 2),
    }


def median_ratio(values, others):
    """Of runs that were neighbours in time, so that a slow minute slows both."""
    return round(statistics.median(a / b for a, b in zip(values, others)), 4)


def rotated(variants, number):
    """No variant is always the first after another."""
    variants = list(variants)
    shift = number % len(variants)
    return variants[shift:] + variants[:shift]


def figures_of(text):
    """Row -> its rounds in ns; other lines by their first word. A tracer may print in between."""
    figures = {}
    for line in text.splitlines():
        words = line.split()
        try:
            figures.setdefault(words[0], []).append(float(words[1]))
        except (IndexError, ValueError):
            pass
    return figures


class Loops:
    """The program and its variants, in one build directory."""

    def __init__(self, options):
        self.smoke = options.smoke
        self.build = os.path.abspath(options.build)
        self.program = os.path.join(self.build, "tests/bench/loops")
        self.command = os.path.join(self.build, "boxledger")
        self.preload = {
            name: path and os.path.join(self.build, path) for name, path in PRELOADS.items()
        }
        for path in [self.program, self.command, *self.preload.values()]:
            if path and not os.path.exists(path):
                sys.exit(f"bench: {path} is missing: run make bench")
        self.rounds = 1 if options.smoke else 7 if options.quick else 21
        self.few_rounds = min(self.rounds, ROUNDS_MANY)
        self.ms = 2 if options.smoke else 20
        self.many = MANY_SMOKE if options.smoke else MANY

    def environment(self, variant, boxledger_options=None):
        environment = {
            key: value for key, value in os.environ.items() if key not in BOXLEDGERS_OWN
        }
        if self.preload[variant]:
            environment["LD_PRELOAD"] = self.preload[variant]
        if boxledger_options:
            environment["BOXLEDGER_OPTIONS"] = boxledger_options
        return environment

    def run(self, variant, arguments, prefix=(), timeout=600, boxledger_options=None):
        """figures_of one run."""
        done = subprocess.run(
            [*prefix, self.program, *arguments],
            env=self.environment(variant, boxledger_options),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{variant}: {' '.join(arguments)}: exit {done.returncode}")
        return figures_of(done.stdout)

    def interleaved(self, names, variants, rounds, run):
        """name -> variant -> the median of each run, where run(variant) makes one."""
        figures = {name: {variant: [] for variant in variants} for name in names}
        for number in range(rounds):
            for variant in rotated(variants, number):
                result = run(variant)
                for name in names:
                    figures[name][variant].append(statistics.median(result[name]))
        return figures

    def timing(self):
        return [f"--ms={self.ms}", "--rounds=3"]

    def compare(self, names, live, threads=1, rounds=None):
        """A row for each of `names`, all timed in the same runs."""
        arguments = [f"--live={live}", f"--threads={threads}", *self.timing(), *names]
        figures = self.interleaved(
            names, PRELOADS, rounds or self.rounds, lambda variant: self.run(variant, arguments)
        )
        rows = []
        for name, of in figures.items():
            row = {"name": name, "live": live, "threads": threads}
            row.update({variant: spread(values) for variant, values in of.items()})
            row["ratio"] = median_ratio(of["boxledger"], of["bare"])
            row["nothing_ratio"] = median_ratio(of["nothing"], of["bare"])
            row["extra_ns"] = round(row["boxledger"]["median"] - row["bare"]["median"], 1)
            rows.append(row)
        return rows
