"""Times boxsup's sandboxes beside bubblewrap's and sandlock's, and beside none.

bench_boxsup.py --build=DIR [--output=FILE] [--smoke]   run, print the tables, write JSON

All of it is measured in one go, interleaved: one of each kind, then again, so that a machine that
slows down slows all of them. What is not there is skipped by its name. BENCH_SANDLOCK names a
directory of a Python environment that has sandlock; without it one is made for the run, from the
package registry.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv

SANDLOCK = "sandlock==0.4.8"
TRUE = shutil.which("true")
HEADING = "## boxsup"
IN_ONE = 20  # sandboxes of one churn
ORDER = ("none", "boxsup", "boxsup, one process", "bwrap", "sandlock, one process")


class Skipped(Exception):
    pass


class Process:
    """A command for each sandbox."""

    def __init__(self, *prefix, for_opens=()):
        self.prefix = prefix
        self.for_opens = for_opens or prefix
        self.time()

    def time(self):
        command = [*self.prefix, TRUE]
        began = time.perf_counter()
        pid = os.posix_spawn(command[0], command, os.environ)
        status = os.waitpid(pid, 0)[1]
        ms = (time.perf_counter() - began) * 1000
        if status != 0:
            raise Skipped(f"{' '.join(command)} ends with status {status}")
        return ms

    def run(self, command):
        return subprocess.check_output([*self.for_opens, *command], text=True)

    def end(self):
        pass


class Churn:
    """A process that runs one sandbox after another."""

    def __init__(self, boxsup):
        self.boxsup = boxsup
        self.time()

    def churn(self, count):
        command = [self.boxsup, "churn", f"--count={count}", "--", TRUE]
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - began) * 1000

    def time(self):
        return (self.churn(1 + IN_ONE) - self.churn(1)) / IN_ONE

    def end(self):
        pass


class Sandlock:
    """A process that runs one sandbox after another, in Python."""

    def __init__(self, directory):
        python = self.find(directory)
        peer = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sandlock_peer.py")
        self.process = subprocess.Popen(
            [python, peer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.time()

    @staticmethod
    def find(directory):
        given = os.environ.get("BENCH_SANDLOCK")
        python = os.path.join(given or directory, "bin", "python")
        if given:
            return python
        venv.create(directory, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        install += ["--no-cache-dir", "--only-binary=:all:", "--retries=1", "--timeout=30", SANDLOCK]
        if subprocess.run(install, check=False, stderr=subprocess.DEVNULL).returncode != 0:
            raise Skipped(f"{SANDLOCK} cannot be installed here")
        return python

    def ask(self, what, command):
        try:
            self.process.stdin.write(f"{what} {shlex.join(command)}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            raise Skipped("sandlock does not run here")
        return answer

    def time(self):
        return float(self.ask("time", [TRUE]))

    def run(self, command):
        return self.ask("run", command)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def peers(boxsup, shadows, directory):
    """Name -> what runs its sandboxes, of those that are there; and why the others are not."""
    bwrap = shutil.which("bwrap")
    run = (boxsup, "run", "--cpus=2")
    makers = {
        "none": Process,
        "boxsup": lambda: Process(*run, "--", for_opens=(*run, f"--shadow={shadows}", "--")),
        "boxsup, one process": lambda: Churn(boxsup),
        "bwrap": lambda: Process(bwrap, "--ro-bind", "/", "/"),
        "sandlock, one process": lambda: Sandlock(os.path.join(directory, "sandlock")),
    }
    found, skipped = {}, {}
    for name in ORDER:
        try:
            if name == "bwrap" and not bwrap:
                raise Skipped("bwrap is not installed")
            found[name] = makers[name]()
        except (Skipped, OSError) as why:
            skipped[name] = str(why)
    return found, skipped


def spread(values):
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": statistics.median(values), "low": quartiles[0], "high": quartiles[2]}


def measure_runs(found, rounds):
    times = {name: [] for name in found}
    for number in range(rounds):
        names = list(found)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(found[name].time())
    return {name: spread(values) for name, values in times.items()}


def measure_opens(found, opens, files, rounds):
    """Of files that boxsup leaves to the kernel, that it answers itself, and that it copies."""
    times = {file: {} for file in files}
    for _ in range(rounds):
        for name, peer in found.items():
            words = peer.run([opens, "200", *files]).split() if hasattr(peer, "run") else []
            for file, ns in zip(words[::2], words[1::2]):
                times[file].setdefault(name, []).append(float(ns) / 1000)
    return {
        files[file]: {name: spread(values) for name, values in of_file.items()}
        for file, of_file in times.items()
    }


def machine():
    model = "unknown"
    with open("/proc/cpuinfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load": round(os.getloadavg()[0], 2),
        "niceness": os.nice(0),
        "date": time.strftime("%Y-%m-%d"),
    }


def cell(figure, digits):
    if not figure:
        return "-"
    low, high = figure["low"], figure["high"]
    return f"{figure['median']:.{digits}f} [{low:.{digits}f}..{high:.{digits}f}]"


def goal(runs):
    """The goal, as the tables word it: ahead of both."""
    ours = runs["boxsup"]["median"]
    others = [runs[name]["median"] for name in ("bwrap", "sandlock, one process") if name in runs]
    if not others:
        return "not compared"
    return "met" if ours < min(others) else "missed"


def tables(result):
    runs = result["runs_ms"]
    lines = ["| start to end of `true` | ms |", "| --- | --- |"]
    lines += [f"| {name} | {cell(runs.get(name), 2)} |" for name in ORDER if name in runs]
    lines += ["", f"Goal: `boxsup run` ahead of both: {goal(runs)}.", ""]
    lines += ["| open and close, us | none | boxsup | bwrap | sandlock |", "| --- " * 5 + "|"]
    for file, figures in result["opens_us"].items():
        names = ("none", "boxsup", "bwrap", "sandlock, one process")
        lines.append(f"| {file} | " + " | ".join(cell(figures.get(name), 1) for name in names) + " |")
    lines += [""] + [f"Skipped: {name}: {why}." for name, why in result["skipped"].items()]
    return "\n".join(lines).rstrip() + "\n"


def section(result):
    m = result["machine"]
    return f"""{HEADING}

Made by `make bench-boxsup`, in one go: one of each, then again. Machine: {m['cpu']},
{m['cores']} cores, Linux {m['kernel']}, load {m['load']} at the start, niceness
{m['niceness']}, {m['date']}. Medians of {result['rounds']} rounds, in brackets the quartiles.

- *boxsup* is `boxsup run --cpus=2 -- true`, *bwrap* is `bwrap --ro-bind / / true`: a process for
  each sandbox. *One process* is what a sandbox costs in a process that runs one after another:
  `boxsup churn`, and sandlock {SANDLOCK.split('=')[-1]}'s `Sandbox(Policy(fs_readable=["/"], num_cpus=2)).run`
  without the start of its Python.
- bwrap makes namespaces and asks nobody about an open. boxsup asks about each: `/etc/passwd` is
  then opened by the kernel, `/proc/cpuinfo` and the shadow are memfds that boxsup injects.

{tables(result)}"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--output")
    parser.add_argument("--smoke", action="store_true", help="does it run at all")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    rounds = 3 if options.smoke else 201
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        shadows = os.path.join(directory, "shadows")
        os.mkdir(shadows)
        copied = shutil.copy("/etc/passwd", shadows)
        files = {"/etc/passwd": "/etc/passwd", "/proc/cpuinfo": "/proc/cpuinfo", copied: "a shadow"}
        result = {"bench_boxsup": 1, "machine": machine(), "rounds": rounds}
        found, result["skipped"] = peers(os.path.join(build, "boxsup"), shadows, directory)
        if "boxsup" not in found:
            sys.exit(f"bench_boxsup: {result['skipped']['boxsup']}")
        result["runs_ms"] = measure_runs(found, rounds)
        opens = os.path.join(build, "tests/bench/opens")
        result["opens_us"] = measure_opens(found, opens, files, 2 if options.smoke else 21)
        for peer in found.values():
            peer.end()
    print(tables(result))
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
