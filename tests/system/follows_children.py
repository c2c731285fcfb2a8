"""follows_children.py: with --follow, forked and executed children have ledgers and reports of
their own, verified at their exit, and nothing is left behind by following them."""
import fcntl
import glob
import json
import os
import subprocess
import sys
import tempfile

build = os.environ["BOXLEDGER_BUILD"]
boxledger = os.path.join(build, "boxledger")
takes = os.path.join(build, "tests/system/takes_things")


def check(condition, message):
    if not condition:
        print("FAIL:", message, file=sys.stderr)
        sys.exit(1)


def directories():
    return {path for place in ("/dev/shm", "/tmp", os.environ.get("TMPDIR", "/tmp"))
            for path in glob.glob(place + "/boxledger-??????")}


processes = set()  # all that were followed here; other runs may be going on beside this test


def run(*command, options=("--follow",), status=0):
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "report.json")
        ended = subprocess.run(
            [boxledger, "run", "--format=json", "--live", "--report=" + path, *options, "--",
             *command], check=False, timeout=60, stderr=subprocess.PIPE)
        check(ended.returncode == status, f"{command}: status {ended.returncode}: {ended.stderr}")
        check(ended.stderr == b"", f"{command}: {ended.stderr}")
        with open(path, encoding="utf-8") as report:
            document = json.load(report)
        pids = {child["process"]["pid"] for child in document["followed"]}
        processes.update(pids - {1})  # of a namespace: other runs have one, too
        return document


def memfds(report):
    return sum(f["count"] for f in report["live"] if f["what"] == "memfd")


before = directories()

# Forked children: what each took itself, and not what it has from its parent.
report = run(takes, "memfds=4", "children=10")
check(memfds(report) == 4, report["live"])
check(len(report["followed"]) == 10, len(report["followed"]))
for child in report["followed"]:
    check(memfds(child) == 1, child["live"])
    check(child["process"]["verified"], child["process"])
    check(child["process"]["ended"] == "exit" and child["process"]["status"] == 7,
          child["process"])
check(len({child["process"]["pid"] for child in report["followed"]}) == 10, "ten processes")
starts = [child["process"]["start_ns"] for child in report["followed"]]
check(starts == sorted(starts), "in the order of their start")

# Executed ones, some of which do not end well.
report = run("/bin/sh", "-c", f"exec 2>&-; {takes} memfds=2; {takes} memfds=3 _exit=1; "
             f"{takes} memfds=1 signal=9; {takes} memfds=5 sleeps=300; exit 0")
check([memfds(child) for child in report["followed"]] == [2, 3, 1, 5],
      [memfds(child) for child in report["followed"]])
check([child["process"]["verified"] for child in report["followed"]] == [True, True, False, True],
      [child["process"] for child in report["followed"]])
check(report["followed"][2]["process"]["ended"] == "signal", report["followed"][2]["process"])

# Only those of a name.
report = run("/bin/sh", "-c", f"/bin/true; {takes} memfds=2; /bin/true; exit 0",
             options=["--follow=takes_*"])
check([memfds(child) for child in report["followed"]] == [2], report["followed"])

# Numbers that come again: in every pid namespace there is a process 1.
namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
try:
    possible = subprocess.run([*namespace, "true"], check=False, timeout=60,
                              stderr=subprocess.DEVNULL).returncode == 0
except FileNotFoundError:
    possible = False
if possible:
    one = " ".join([*namespace, takes, "memfds=2"])
    report = run("/bin/sh", "-c", f"{one}; {one}; {one}; exit 0", options=["--follow=takes_*"])
    check([memfds(child) for child in report["followed"]] == [2, 2, 2], report["followed"])
    check([child["process"]["pid"] for child in report["followed"]] == [1, 1, 1],
          report["followed"])

# What a process that execs again and again has in its environment does not grow.
with tempfile.TemporaryDirectory() as work:
    seen = os.path.join(work, "environment")
    run("/bin/sh", "-c", f"exec /bin/sh -c 'exec env env >{seen}'")
    with open(seen, encoding="utf-8") as lines:
        preloads = [line for line in lines if line.startswith("LD_PRELOAD=")]
    check(len(preloads) == 1 and preloads[0].count("libboxledger") == 1, preloads)

# One of them is a command like this one, whose options are its own.
with tempfile.TemporaryDirectory() as work:
    inner = os.path.join(work, "inner")
    report = run(boxledger, "run", "--live", "--format=json", "--report=" + inner, "--", takes,
                 "memfds=3")
    with open(inner, encoding="utf-8") as document:
        check(memfds(json.load(document)) == 3, "what a nested command reports")

# Saved beside the first one's ledger.
with tempfile.TemporaryDirectory() as work:
    ledger = os.path.join(work, "ledger")
    report = run(takes, "children=3", options=["--follow", "--ledger=" + ledger])
    saved = sorted(glob.glob(ledger + "*"))
    check(saved == sorted([ledger] + [f"{ledger}.{child['process']['pid']}"
                                      for child in report["followed"]]), saved)
    later = json.loads(subprocess.run([boxledger, "report", "--live", "--format=json", *saved[1:]],
                                      check=True, stdout=subprocess.PIPE, timeout=60).stdout)
    check([memfds(child) for child in later] == [1, 1, 1], later)

# The text ends in one line for all.
ended = subprocess.run([boxledger, "run", "--follow", "--", takes, "children=3"], check=True,
                       stderr=subprocess.PIPE, timeout=60)
lines = ended.stderr.decode().splitlines()
check(len([line for line in lines if line.startswith("SUMMARY: ")]) == 5, lines)
check(lines[-1] == "SUMMARY: boxledger: nothing left behind by 3 sandboxes in 4 processes",
      lines[-1])

# A child that outlives the program is told as it is then, and waits for nobody at its end.
report = run("/bin/sh", "-c", f"{takes} memfds=2 sleeps=4000 & sleep 1; exit 0")
outlives = [child for child in report["followed"] if memfds(child) == 2]
check(len(outlives) == 1 and outlives[0]["process"]["ended"] == "running", report["followed"])

def is_held(directory):
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return True  # not any more
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


for directory in directories() - before:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        continue
    # Other runs' and other programs' directories may be there. A command that lives holds its own.
    if not names and is_held(directory):
        continue
    check(names and not any(name.split("-")[0] in map(str, processes) for name in names),
          f"{directory} was left behind: {names}")
