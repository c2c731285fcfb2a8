"""json_report.py: the JSON report is what doc/report.schema.json says, however the program ended,
and holds what the program took: counts, stacks, names."""
import json
import os
import subprocess
import sys
import tempfile

build = os.environ["BOXLEDGER_BUILD"]
source = os.environ["BOXLEDGER_SOURCE"]
boxledger = os.path.join(build, "boxledger")
takes = os.path.join(build, "tests/system/takes_things")

try:
    import jsonschema
except ImportError:
    jsonschema = None
with open(os.path.join(source, "doc/report.schema.json"), encoding="utf-8") as file:
    schema = json.load(file)


def check(condition, message):
    if not condition:
        print("FAIL:", message, file=sys.stderr)
        sys.exit(1)


def valid(report):
    if jsonschema:
        jsonschema.validate(report, schema)
    return report


def run(*arguments, options=(), status=0):
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "report.json")
        ended = subprocess.run(
            [boxledger, "run", "--format=json", "--live", "--report=" + path, *options, "--",
             takes, *arguments], check=False, timeout=60)
        check(ended.returncode == status, f"{arguments}: status {ended.returncode}")
        with open(path, encoding="utf-8") as report:
            return valid(json.load(report))


def one(findings, function):
    found = [f for f in findings if any(s["function"] == function for s in f["stack"])]
    check(len(found) == 1, f"{len(found)} findings through {function}: {found}")
    return found[0]


# An exit: everything is there, and verified.
report = run("memfds=5", "maps=4", "exit=3", status=3)
check(report["boxledger"] == 1, "the version")
process = report["process"]
check(process["ended"] == "exit" and process["status"] == 3, process)
check(process["argv"][1:] == ["memfds=5", "maps=4", "exit=3"], process)
check(os.path.samefile(process["exe"], takes), process)
check(process["start_ns"] <= process["end_ns"], process)
memfds = one(report["live"], "take_memfd")
check(memfds["count"] == 5 and memfds["resource"] == "fd" and memfds["what"] == "memfd", memfds)
check(memfds["verified"] and memfds["names"] == ["/memfd:taken"], memfds)
check(memfds["stack"][0]["function"] == "take_memfd", memfds)
check(memfds["stack"][1]["function"] == "main", memfds)
check(process["start_ns"] <= memfds["first_ns"] <= memfds["last_ns"] <= process["end_ns"], memfds)
if memfds["stack"][0]["file"]:
    check(memfds["stack"][0]["file"].endswith("takes_things.c"), memfds)
    with open(os.path.join(source, "tests/system/takes_things.c"), encoding="utf-8") as file:
        line = file.read().splitlines()[memfds["stack"][0]["line"] - 1]
    check("memfd_create" in line, line)
maps = one(report["live"], "take_mapping")
check(maps["count"] == 4 and maps["resource"] == "mapping" and maps["bytes"] == 4 * 3 * 4096, maps)
check(report["findings"] == [] and report["owners"] == [], report)
totals = report["totals"]
check(not totals["vmas_estimated"] and totals["vmas"] > 10, totals)
check(totals["fds"] >= 5 + 3 and totals["unseen_fds"] == 0, totals)
check(not totals["incomplete"], totals)
for finding in report["live"]:
    for frame in finding["stack"]:
        check("libboxledger" not in frame["object"], finding)

# Killed: the same, complete to the last call, and not verified.
for end, number in (("signal=9", 9), ("signal=11", 11), ("signal=6", 6)):
    report = run("memfds=5", "maps=4", end, status=128 + number)
    check(report["process"]["ended"] == "signal", report["process"])
    check(report["process"]["status"] == number, report["process"])
    check(one(report["live"], "take_memfd")["count"] == 5, end)
    check(not one(report["live"], "take_memfd")["verified"], end)
    check(one(report["live"], "take_mapping")["count"] == 4, end)

# _exit does not pass by destructors, and is verified all the same.
report = run("memfds=2", "_exit=4", status=4)
check(report["process"]["verified"] and report["process"]["status"] == 4, report["process"])

# Adopted descriptors: named by the kernel, also when there is nobody left to ask.
for end, status in (("exit=0", 0), ("signal=9", 137)):
    report = run("adopts=6", "sleeps=3000", end, status=status)
    found = {f["what"]: f for f in report["live"] if f["resource"] == "fd"}
    check(set(found) == {"memfd:adopted-0", "memfd:adopted-1"}, f"{end}: {sorted(found)}")
    for finding in found.values():
        check(finding["count"] == 3 and finding["stack"][0]["function"] == "adopt_memfd", finding)
        check(finding["verified"] == (status == 0), finding)

# A double close, with who closed first.
report = run("closes_twice=3")
check(len(report["findings"]) == 1, report["findings"])
finding = report["findings"][0]
check(finding["verdict"] == "double-close" and finding["count"] == 3, finding)
check(finding["stack"][0]["function"] == "close_again", finding)
check(finding["released_by"][0][0]["function"] == "close_first", finding)

# Saved, and reported later: the same, as sure.
with tempfile.TemporaryDirectory() as work:
    ledger = os.path.join(work, "ledger")
    run("memfds=3", "adopts=2", options=["--ledger=" + ledger])
    check(os.stat(ledger).st_mode & 0o777 == 0o600, "the ledger's mode")
    check(os.stat(ledger).st_blocks * 512 < 256 << 10, "a small ledger takes little space")
    later = valid(json.loads(subprocess.run(
        [boxledger, "report", "--live", "--format=json", ledger], check=True,
        stdout=subprocess.PIPE, timeout=60).stdout))
    check(one(later["live"], "take_memfd")["verified"], later)
    check(later["process"]["ended"] == "exit" and later["process"]["verified"], later["process"])
    check(not later["totals"]["vmas_estimated"], later["totals"])
    check({"memfd:adopted-0", "memfd:adopted-1"} <= {f["what"] for f in later["live"]}, later)
    both = valid(json.loads(subprocess.run(
        [boxledger, "report", "--format=json", ledger, ledger], check=True,
        stdout=subprocess.PIPE, timeout=60).stdout))
    check(len(both) == 2, "two ledgers are an array")

# Of a live one, too.
with tempfile.TemporaryDirectory() as work:
    ledger = os.path.join(work, "ledger")
    environment = dict(os.environ, LD_PRELOAD=os.path.join(build, "libboxledger.so"),
                       BOXLEDGER_OPTIONS="ledger=" + ledger)
    with subprocess.Popen([takes, "memfds=3", "says=ready", "sleeps=60000"], env=environment,
                          stdout=subprocess.PIPE) as program:
        check(program.stdout.readline() == b"ready\n", "it is not ready")
        live = valid(json.loads(subprocess.run(
            [boxledger, "report", "--live", "--format=json", ledger], check=True,
            stdout=subprocess.PIPE, timeout=60).stdout))
        program.kill()
    check(live["process"]["ended"] == "running" and live["process"]["verified"], live["process"])
    check(one(live["live"], "take_memfd")["count"] == 3, live)
    check(one(live["live"], "take_memfd")["verified"], live)
    dead = valid(json.loads(subprocess.run(
        [boxledger, "report", "--live", "--format=json", ledger], check=True,
        stdout=subprocess.PIPE, timeout=60).stdout))
    check(dead["process"]["ended"] == "signal", dead["process"])
    check(not one(dead["live"], "take_memfd")["verified"], dead)

# Suppressions are in the document.
with tempfile.NamedTemporaryFile("w", suffix=".supp") as known:
    known.write("leak:close_again\nleak:nothing_of_this_name\n")
    known.flush()
    report = run("closes_twice=1", options=["--suppressions=" + known.name, "--error-exitcode=9"])
    check(report["findings"] == [], report["findings"])
    check([s["findings"] for s in report["suppressions"]] == [1, 0], report["suppressions"])
    check(report["totals"]["suppressed_findings"] == 1, report["totals"])

if not jsonschema:
    print("python3-jsonschema is not installed: the reports were not validated")
