"""reproduce.py NAME|ROW...: runs reproducers four times each (reproducers.py), and writes what came
out beside the build. Without a name: all of them.

    --can-fail      those named, or all, must not be found without what finds them
    --table         prints the table, of those whose results are there
    --update FILE   puts it between the marks in FILE
    --check FILE    fails unless FILE has each of its lines, and no other
    --passed NAME   a supervisor of the table's other part went as it says (tests/real)

The last line is the tests' own: 77 with "skip: why" where all that was asked for needs something
that is not here.
"""
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from reproducers import NO_POLICY, REAL, REPRODUCERS  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BOXLEDGER_BUILD") or os.path.join(TOP, "build")
BOXSUP = os.path.join(BUILD, "boxsup")
RESULTS = os.path.join(BUILD, "tests", "churn", "results")
FAULT = os.environ.get("BOXLEDGER_FAULT", "")
FEW = 20  # sandboxes, where what they leave is found as well as in a run that dies of it
INNERMOST = 8  # frames in which a finding's function is looked for
TIMEOUT = 240


class Wrong(Exception):
    """A run did not go as the table says."""


class NotFound(Wrong):
    """There is no sign of the defect."""


def limits(reproducer):
    def set_limits():
        if reproducer.fds:
            resource.setrlimit(resource.RLIMIT_NOFILE, (reproducer.fds, reproducer.fds))
        if reproducer.address_space:
            size = reproducer.address_space << 10
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
    return set_limits


def run(reproducer, command, environment=None):
    """Limits go to a shell between us and it, which has no large memory of its own to fit in."""
    return subprocess.run(command, check=False, timeout=TIMEOUT, capture_output=True, text=True,
                          preexec_fn=limits(reproducer), stdin=subprocess.DEVNULL,
                          env={**os.environ, **(environment or {})})


def sandboxes(ended, reproducer, status):
    """How many are done, as the last line of progress says; a `run` is one."""
    lines = re.findall(r"^(\d+) done", ended.stdout, re.MULTILINE)
    if lines:
        return int(lines[-1])
    return 1 if reproducer.count() == 1 and ended.returncode == status else 0


def prepare(work):
    """What reproducers find in {work}."""
    files = os.path.join(work, "files")
    os.mkdir(files)
    with open(os.path.join(files, "text"), "w", encoding="utf-8") as file:
        file.write("original")
    with open(os.path.join(files, "large"), "wb") as file:
        file.truncate(4 << 20)
    nothing = os.path.join(work, "nothing")
    with open(nothing, "w", encoding="utf-8") as file:
        file.write("neither a program nor a script")
    os.chmod(nothing, 0o755)


def reported(reproducer, arguments, work, options=(), fault=FAULT):
    """The same under boxledger, with this fault: how it ended, and its report."""
    path = os.path.join(work, "report.json")
    command, environment = os.path.join(BUILD, "boxledger"), {}
    if fault:
        command += "-faulty"
        environment = {"BOXLEDGER_FAULT": fault,
                       "BOXLEDGER_SHIM": os.path.join(BUILD, "libboxledger-faulty.so")}
    ended = run(reproducer, [command, "run", "--format=json", "--report=" + path,
                             *("--" + option for option in options), "--", BOXSUP, *arguments],
                environment)
    try:
        with open(path, encoding="utf-8") as file:
            return ended, json.load(file)
    except OSError as error:
        raise Wrong(f"no report: {error}: {ended.stderr}") from error


def has(report, finding, sandboxes_run):
    for one in report["findings"] + report["refused"]:
        functions = [frame.get("function") for frame in one["stack"][:INNERMOST]]
        if (one["verdict"] == finding.verdict and one["resource"] == finding.resource
                and finding.function in functions):
            each = one["count"] / max(one["owners"], 1)
            if finding.per_sandbox is None or (
                    each == finding.per_sandbox and one["owners"] >= sandboxes_run - 2):
                return True
    return False


def told(report):
    return [(one["verdict"], one["resource"], one["count"], one["owners"],
             [frame.get("function") for frame in one["stack"][:4]]) for one in report["findings"] + report["refused"]]


def summary(report):
    return {key: value for key, value in report["totals"].items()
            if key.startswith(("leaked", "owners", "vmas", "fds"))}


def says(ended, pattern):
    return re.search(pattern, ended.stdout + ended.stderr, re.MULTILINE)


def bare(reproducer, arguments):
    ended = run(reproducer, [BOXSUP, *arguments])
    if ended.returncode != reproducer.status or not says(ended, reproducer.ends):
        raise NotFound(f"bare: status {ended.returncode}, not {reproducer.status} and "
                    f"{reproducer.ends!r}: {ended.stderr[-400:]}")
    return {"sandboxes": sandboxes(ended, reproducer, reproducer.status),
            "says": (ended.stdout + ended.stderr).strip().splitlines()[-1:]}


def found(reproducer, arguments, work, fault=FAULT):
    ended, report = reported(reproducer, arguments, work, fault=fault)
    if ended.returncode != reproducer.status:
        raise Wrong(f"reported: status {ended.returncode}: {ended.stderr[-400:]}")
    for finding in reproducer.finds:
        if not has(report, finding, report["totals"]["owners_ended"]):
            raise NotFound(f"reported: no {finding.text()} in {told(report)}")
    if not reproducer.finds and report["findings"]:
        raise Wrong(f"reported: {told(report)}")
    return {"findings": told(report), "totals": summary(report)}


def survives(reproducer, arguments, work, fault=FAULT):
    ended, report = reported(reproducer, arguments, work, reproducer.policy, fault)
    done = sandboxes(ended, reproducer, 0)
    if ended.returncode != 0 or done != reproducer.count():
        raise Wrong(f"with {' '.join(reproducer.policy)}: status {ended.returncode} after "
                    f"{done} sandboxes: {ended.stderr[-400:]} {told(report)}")
    return {"sandboxes": done, "totals": summary(report), "findings": told(report)}


def silent(reproducer, arguments, work):
    ended, report = reported(reproducer, arguments, work)
    done = sandboxes(ended, reproducer, reproducer.fixed_status)
    if (ended.returncode != reproducer.fixed_status or done != reproducer.count()
            or not says(ended, reproducer.fixed_says)):
        raise Wrong(f"fixed: status {ended.returncode} after {done} sandboxes: "
                    f"{ended.stderr[-400:]}")
    if report["findings"]:
        raise Wrong(f"fixed: {told(report)}")
    if report["totals"]["owners_ended"] != reproducer.count():
        raise Wrong(f"fixed: {report['totals']['owners_ended']} sandboxes in the report")
    return {"sandboxes": done, "totals": summary(report)}


def row(reproducer):
    """The table's: what was asserted, which does not depend on the machine."""
    count = f"{reproducer.count():,}"
    found_text = "; ".join(f.text() for f in reproducer.finds) or reproducer.unfound
    policy = next((o.split("=")[0] for o in reproducer.policy), "")
    return {"field": reproducer.row, "defect": reproducer.name, "bare": reproducer.end,
            "reported": found_text,
            "policy": f"`{policy}`: all {count} sandboxes" if policy else NO_POLICY,
            "fixed": f"nothing left behind by {count} sandbox{'es' * (count != '1')}"}


def arguments_of(reproducer, work):
    """Without the defect, and with it."""
    prepare(work)
    correct = [argument.format(work=work) for argument in reproducer.arguments]
    return correct, [correct[0], "--defect=" + reproducer.name, *correct[1:]]


def few(reproducer):
    """The same without limits, which it does not come to: it is found all the same."""
    if not reproducer.fds and not reproducer.address_space:
        return reproducer
    arguments = [re.sub(r"^--count=.*", f"--count={FEW}", a) for a in reproducer.arguments]
    return replace(reproducer, arguments=arguments, status=0, fds=None, address_space=None)


def must_fail(what, run_it, *arguments):
    try:
        run_it(*arguments)
    except NotFound as error:
        print(f"{what}: not found, as it should be: {str(error)[:100]!r}", flush=True)
        return
    raise Wrong(f"{what}: is found")


def can_fail(reproducer):
    """What finds it does not find it where it is disabled, or where there is no defect."""
    reproducer = few(reproducer)
    with tempfile.TemporaryDirectory(prefix="boxledger-churn.") as work:
        correct, arguments = arguments_of(reproducer, work)
        if not reproducer.finds:
            must_fail(f"{reproducer.name}: without it", bare, reproducer, correct)
            return
        found(reproducer, arguments, work, "none")
        if not reproducer.detections:
            raise Wrong("no detection is named")
        for fault in reproducer.detections:
            must_fail(f"{reproducer.name}: {fault}", found, reproducer, arguments, work, fault)


def reproduce(reproducer):
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="boxledger-churn.") as work:
        correct, arguments = arguments_of(reproducer, work)
        measured = {}
        if not FAULT:  # a fault is the shim's
            measured["bare"] = bare(reproducer, arguments)
        measured["reported"] = found(reproducer, arguments, work)
        if reproducer.policy:
            measured["policy"] = survives(reproducer, arguments, work)
        measured["fixed"] = silent(reproducer, correct, work)
    print(f"{reproducer.name}: as documented, in {time.monotonic() - began:.1f} s")
    return measured


def skipped(reproducer):
    if reproducer.needs_kvm and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "no access to /dev/kvm"
    return ""


BEGIN = "<!-- reproducers: made by tests/churn/reproduce.py --update -->"
END = "<!-- end of reproducers -->"
COLUMNS = ["field", "defect", "bare", "reported", "policy", "fixed"]
HEADS = ["row", "defect", "bare", "under `boxledger run`", "with a policy", "without the defect"]


def result_of(name):
    return os.path.join(RESULTS, name.replace(" ", "-") + ".json")


def table():
    """Its lines, by name; None where that one was not run."""
    rows = {name: {**row_of, "defect": name} for name, row_of in REAL.items()}
    rows.update({r.name: {**row(r), "defect": f"`{r.name}`"} for r in REPRODUCERS})
    lines = {}
    for name in sorted(rows, key=lambda n: (rows[n]["field"], n not in REAL)):
        cells = [rows[name][column] for column in COLUMNS]
        lines[name] = "| " + " | ".join(cells) + " |" if os.path.exists(result_of(name)) else None
    return lines


def passed(name):
    if name not in REAL:
        print("reproduce.py: no such supervisor: " + name, file=sys.stderr)
        return 2
    os.makedirs(RESULTS, exist_ok=True)
    with open(result_of(name), "w", encoding="utf-8") as file:
        json.dump({"row": REAL[name]}, file)
    return 0


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise Wrong(f"{path}: not one place between {BEGIN} and {END}")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    return before, [line for line in old.splitlines() if line][2:], after


def update(path):
    before, _, after = lines_of(path)
    lines = table()
    missing = [name for name, line in lines.items() if line is None]
    if missing:
        raise Wrong("not run yet: " + ", ".join(missing))
    heads = "| " + " | ".join(HEADS) + " |\n|" + " --- |" * len(HEADS) + "\n"
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + "\n\n" + heads + "\n".join(lines.values()) + "\n\n" + END +
                   after)
    return 0


def check(path):
    """Those that could not be run here are not compared, and told."""
    lines = table()
    there = lines_of(path)[1]
    wrong = 0
    for name, line in lines.items():
        if line is None:
            print(f"{name}: was not run here; its line in {path} is not compared")
        elif line not in there:
            print(f"{path} has no line\n  {line}")
            wrong += 1
    if len(there) != len(lines):
        print(f"{path}: {len(there)} lines of {len(lines)}")
        wrong += 1
    return 1 if wrong else 0


def command(option, arguments):
    try:
        if option == "--table":
            print("\n".join(line for line in table().values() if line))
            return 0
        return {"--update": update, "--check": check, "--passed": passed}[option](arguments[0])
    except Wrong as error:
        print(f"reproduce.py: {error}", file=sys.stderr)
        return 1
    except (KeyError, IndexError):
        print(__doc__, file=sys.stderr)
        return 2


def main():
    names = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it made goes with it
    failing = names[:1] == ["--can-fail"]
    if failing:
        names = names[1:]
    if names and names[0].startswith("--"):
        return command(names[0], names[1:])
    chosen = [r for r in REPRODUCERS if not names or r.name in names or r.row in names]
    unknown = [n for n in names if not any(n in (r.name, r.row) for r in REPRODUCERS)]
    if unknown or not chosen:
        print("reproduce.py: no such reproducer: " + " ".join(unknown), file=sys.stderr)
        return 2
    wrong = ran = 0
    why = ""
    for reproducer in chosen:
        why = skipped(reproducer) or why
        if skipped(reproducer):
            print(f"{reproducer.name}: skipped: {why}")
            continue
        ran += 1
        try:
            measured = can_fail(reproducer) if failing else reproduce(reproducer)
        except (Wrong, subprocess.TimeoutExpired) as error:
            print(f"{reproducer.name}: {error}", flush=True)
            wrong += 1
            if FAULT:  # one is enough
                break
            continue
        if not FAULT and not failing:
            os.makedirs(RESULTS, exist_ok=True)
            with open(result_of(reproducer.name), "w", encoding="utf-8") as file:
                json.dump({"row": row(reproducer), "measured": measured}, file, indent=1)
    if ran == 0:
        print("skip: " + why)
        return 77
    return 1 if wrong else 0


sys.exit(main())
