"""judge.py: runs `supervise` under boxledger and holds the report against the program's own truth.

    judge.py correct --kind=KIND --count=N --seed=S [--keep] [--live] [--reclaim=MS]
    judge.py mutant --site=SITE --count=N --seed=S [--live] [--reclaim=MS]
    judge.py mutants --number=N --seed=S [--kind=KIND] [--live-every=K] [--reclaim=MS]
                     [--jobs=J]
    judge.py growth --scenario=NAME [--ends=child|api|mark]

A correct supervisor has no finding and as many owners as sandboxes. A mutant has exactly one
finding: its own. --live judges a process that still runs, after its last sandbox had time to
settle, by `boxledger report` and by boxledger_check. With --reclaim the policy is on, with that
settling time: of a correct supervisor nothing is reclaimed; of a mutant what it leaves, and nothing
else; of mutants it is also said how many lost nothing for good. --jobs judges so many at a time:
with --reclaim they mostly sleep. Exits with 0, 1, or 77 and "skip: why".
"""
import argparse
import ctypes
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time

build = os.environ["BOXLEDGER_BUILD"]
source = os.environ["BOXLEDGER_SOURCE"]
boxledger = os.environ.get("BOXLEDGER_COMMAND", os.path.join(build, "boxledger"))
shim = os.environ.get("BOXLEDGER_SHIM", os.path.join(build, "libboxledger.so"))
supervise = os.path.join(os.environ.get("BOXLEDGER_OWNERS_PROGRAMS",
                                        os.path.join(build, "tests/owners")), "supervise")
policy_counts = os.path.join(build, "tests/policies/policy_counts")
SKIPPED = 77
PR_SET_CHILD_SUBREAPER = 36
SECONDS = 900           # for one run, of 10,000 sandboxes at most
SETTLE_S = 1.6          # the settling time is 1 s
LIVE_PAUSE_MS = 120000  # how long a run that is judged live waits at its end, at the most
GROWING_COUNT = 192  # sandboxes of a mutant that is found by its rate: up to 20 live at once
ANCHOR_COUNT = 24       # of one whose thing may outlive 8 later sandboxes
# A living VM's memory is left behind when the like is taken anew, by the clock: some time passes.
REPEATED = ("kvm_restored_alive",)
MUTANT_COUNT, MUTANT_COUNT_MAX = 12, 200
RATE_TOLERANCE = 0.3
KINDS = ("kvm", "seccomp", "child", "api")
RECLAIM_COUNT = 60   # sandboxes of a mutant that is reclaimed from: evidence takes some
RECLAIM_PACE_MS = 8  # from one to the next: they must settle while others come
# boxledger_end promises: what this supervisor releases after its end must not take longer. It works
# at one of several sandboxes at a time, by chance: one in some thousand waits for a second.
PROMISED_MS, PROMISED_COUNT, PROMISED_PACE_MS = 3000, 250, 20
LINGER_MS = 500 # and the settling time: from the last sandbox to the last look
# Of which it must take something: strongly known things by stacks that release nothing else, or that
# were promised. Of others it may: as far as a stack has never released when the evidence is in.
RECLAIMED = {
    "kvm_memory_memfd", "kvm_file_map", "kvm_guest_memfd", "child_proc_relative",
    "seccomp_memory_of_child", "seccomp_memfd_worker", "seccomp_unseen_memfd_worker",
    "seccomp_unseen_memfd_elsewhere", "api_memfd", "api_socket", "api_file_mapping",
    "api_assigned_mapping", "api_assigned_middle"}

try:
    import jsonschema
except ImportError:
    jsonschema = None
with open(os.path.join(source, "doc/report.schema.json"), encoding="utf-8") as file:
    schema = json.load(file)


class Wrong(Exception):
    """The report is not what the truth says."""


class Skip(Exception):
    """What the supervisor needs is not here."""


def expect(condition, message):
    if not condition:
        raise Wrong(message)


def valid(report):
    if jsonschema:
        jsonschema.validate(report, schema)
    return report


def reap():
    """The orphans that sandboxes leave come to this process, which is their subreaper."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] > 0:
            pass
    except ChildProcessError:
        pass


def program_ended(status, output):
    if status == SKIPPED:
        # What boxledger has to say of it may come after.
        why = [line for line in output.splitlines() if line.startswith("skip: ")]
        raise Skip(why[-1].removeprefix("skip: ") if why else "it does not say why")
    expect(status == 0, f"the supervisor's own status is {status}: {output.strip()}")


def counted(ledger):
    """What a ledger says that policies did."""
    return json.loads(subprocess.run([policy_counts, ledger], check=True, timeout=SECONDS,
                                     stdout=subprocess.PIPE, text=True).stdout)


def run(arguments, options=(), truth=True, reclaim=None):
    """(report, truth) of a run that has ended."""
    with tempfile.TemporaryDirectory() as work:
        report, facts = os.path.join(work, "report"), os.path.join(work, "truth")
        ledger = os.path.join(work, "ledger")
        if reclaim is not None:
            options = [*options, "--reclaim", f"--settle-ms={reclaim}", "--ledger=" + ledger]
        ended = subprocess.run(
            [boxledger, "run", "--format=json", "--exit-wait-ms=30000", "--report=" + report,
             *options, "--", supervise, *arguments,
             *(["--truth=" + facts] if truth else [])],
            check=False, timeout=SECONDS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=dict(os.environ, BOXLEDGER_SHIM=shim))
        reap()
        program_ended(ended.returncode, ended.stdout)
        with open(report, encoding="utf-8") as file:
            document = valid(json.load(file))
        if reclaim is not None:
            document["counted"] = counted(ledger)
        return document, json.load(open(facts, encoding="utf-8")) if truth else None


def run_live(arguments, options=(), reclaim=None):
    """The same of one that still runs, and has ended its last sandbox a while ago."""
    with tempfile.TemporaryDirectory() as work:
        ledger, facts = os.path.join(work, "ledger"), os.path.join(work, "truth")
        errors = os.path.join(work, "stderr")
        policy = "" if reclaim is None else f":reclaim=1:settle_ms={reclaim}"
        environment = dict(os.environ, LD_PRELOAD=shim,
                           BOXLEDGER_OPTIONS="ledger=" + ledger + policy)
        with open(errors, "w", encoding="utf-8") as stderr, subprocess.Popen(
                [supervise, *arguments, "--truth=" + facts, f"--pause={LIVE_PAUSE_MS}"],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                text=True) as program:
            said = program.stdout.readline()
            if said == "ready\n":
                time.sleep(SETTLE_S)
                document = valid(json.loads(subprocess.run(
                    [boxledger, "report", "--format=json", *options, ledger], check=True,
                    stdout=subprocess.PIPE, timeout=SECONDS).stdout))
                if reclaim is not None:
                    document["counted"] = counted(ledger)
            program.stdin.close()
            program.wait(timeout=SECONDS)
        reap()
        with open(errors, encoding="utf-8") as file:
            program_ended(program.returncode, said + file.read())
        expect(document["process"]["ended"] == "running", "it was not judged while it ran")
        return document, json.load(open(facts, encoding="utf-8"))


def short(finding):
    stack = " < ".join(frame["function"] for frame in finding["stack"][:3])
    return (f"{finding['verdict']} {finding['count']} {finding['resource']} ({finding['what']}) of "
            f"{finding['owners']} {finding['owner_kind']} at {stack}")


def listed(findings):
    return "; ".join(short(f) for f in findings) or "none"


def check_owners(report, truth):
    totals = report["totals"]
    for name in ("owners_begun", "owners_ended"):
        expect(totals[name] == truth[name], f"{name} is {totals[name]}, not {truth[name]}")
    expect(not totals["incomplete"], "the report says incomplete")


def check_silence(report, truth):
    check_owners(report, truth)
    expect(not report["findings"], "findings: " + listed(report["findings"]))
    expect(not any(report.get("counted", {}).values()), f"reclaimed: {report.get('counted')}")
    totals = report["totals"]
    expect(totals["leaked_fds"] == totals["leaked_mappings"] == totals["leaked_bytes"] == 0,
           f"totals say that something leaked: {totals}")


def check_live_answer(truth, fds=0, mappings=0, owners=0):
    """What boxledger_check said inside the process."""
    answer = truth.get("check")
    if answer is not None:
        expect((answer["result"], answer["fds"], answer["mappings"], answer["owners"]) ==
               (1 if owners else 0, fds, mappings, owners),
               f"boxledger_check says {answer}, not {fds} descriptors and {mappings} mappings "
               f"of {owners}")


def check_reclaimed(report, truth):
    """What was reclaimed is the mutant's. The truth goes on without it."""
    counts, resource = report["counted"], truth["resource"]
    told = report["policies"]
    expect((told["reclaimed_fds"], told["reclaimed_mappings"], told["reclaimed_bytes"]) ==
           (counts["fds"], counts["mappings"], counts["bytes"]), f"{told}, not {counts}")
    taken = [f for f in report["findings"] if f["verdict"] == "reclaimed"]
    others = [f for f in taken if not f["stack"] or f["resource"] != resource or
              f["stack"][0]["function"] != truth["function"]]
    expect(not others, "reclaimed from others: " + listed(others))
    mine = {"fd": counts["fds"], "mapping": counts["mappings"]}.get(resource, 0)
    expect(counts["fds"] + counts["mappings"] == mine, f"not only of its resource: {counts}")
    expect(counts["late"] == 0, f"a mutant releases nothing late: {counts}")
    expect(sum(f["count"] for f in taken) == mine, f"{counts} by the ledger: " + listed(taken))
    expect(mine == 0 or truth["verdict"] not in ("kept", "unended"), f"reclaimed: {counts}")
    expect(mine <= truth["count"], f"more than {truth['count']} were reclaimed: {counts}")
    left = sum(f["count"] for f in report["findings"] if f["verdict"] == "leaked")
    if truth["verdict"] == "leaked":
        expect(mine + left == truth["count"],
               f"{mine} reclaimed and {left} left are not {truth['count']}")
        expect(mine > 0 or truth["site"] not in RECLAIMED or truth["count"] < RECLAIM_COUNT // 2,
               f"nothing of {truth['count']} was reclaimed: " + listed(report["findings"]))
    others = [f for f in report["findings"]
              if not f["stack"] or f["stack"][0]["function"] != truth["function"]]
    expect(not others, "findings: " + listed(others))


def check_mutant(report, truth):
    check_owners(report, truth)
    if "counted" in report:
        check_reclaimed(report, truth)
        if any(report["counted"].values()):
            return
    findings, verdict, function = report["findings"], truth["verdict"], truth["function"]
    if verdict == "kept":
        expect(not findings, "findings: " + listed(findings))
        return
    if verdict == "unended":
        # Not tied to an end: `held`, or found by its rate, but nothing else is.
        others = [f for f in findings if f["verdict"] not in ("held", "growing") or
                  f["stack"][0]["function"] != function]
        expect(not others, "findings: " + listed(others))
        if truth["resource"] == "process":
            return
        held = [f for f in report["live"]
                if f["stack"] and f["stack"][0]["function"] == function]
        expect(sum(f["count"] for f in held) == truth["count"],
               f"still held: {listed(held)}, not {truth['count']}")
        return
    expect(len(findings) == 1, f"{len(findings)} findings, not 1: " + listed(findings))
    found = findings[0]
    verdicts = {"either": ("leaked", "growing"), "anchor": ("leaked",)}.get(verdict, (verdict,))
    expect(found["verdict"] in verdicts, f"not {verdict}: " + short(found))
    expect(found["resource"] == truth["resource"], f"no {truth['resource']}: " + short(found))
    expect(found["stack"] and found["stack"][0]["function"] == function,
           f"not from {function}: " + short(found))
    expect(found["count"] == truth["count"], f"count is not {truth['count']}: " + short(found))
    expect(found["verified"], "not verified: " + short(found))
    if truth["resource"] == "mapping":
        expect(found["bytes"] == truth["bytes"],
               f"{found['bytes']} bytes, not {truth['bytes']}: " + short(found))
    if found["verdict"] == "growing":
        rate = truth["count"] / truth["owners_ended"]
        expect(abs(found["rate"] - rate) <= RATE_TOLERANCE * rate,
               f"a rate of {found['rate']}, not {rate}: " + short(found))
        check_live_answer(truth)
        return
    expect(found["owner_kind"] in truth["owner_kinds"],
           f"the kind is none of {truth['owner_kinds']}: " + short(found))
    expect(found["owners"] == truth["owners"], f"owners are not {truth['owners']}: " + short(found))
    expect(abs(found["per_sandbox"] - truth["count"] / truth["owners"]) < 0.01,
           f"{found['per_sandbox']} per sandbox: " + short(found))
    totals = report["totals"]
    leaked = (truth["count"], 0) if truth["resource"] == "fd" else (0, truth["count"])
    expect((totals["leaked_fds"], totals["leaked_mappings"]) == leaked,
           f"totals say {totals['leaked_fds']} descriptors, {totals['leaked_mappings']} mappings")
    check_live_answer(truth, *leaked, truth["owners"])


def sites():
    lines = subprocess.run([supervise, "--list-sites"], check=True, stdout=subprocess.PIPE,
                           text=True).stdout.splitlines()
    return {fields[0]: {"kind": fields[1], "verdict": fields[3]} for fields in map(str.split, lines)}


def paced(kind, reclaim):
    """(arguments, settling time, least number of sandboxes) where the policy is on."""
    if reclaim is None:
        return [], None, 0
    promised = kind == "api"
    settle = max(reclaim, PROMISED_MS) if promised else reclaim
    return [f"--pace={PROMISED_PACE_MS if promised else RECLAIM_PACE_MS}",
            f"--reclaimed={settle + LINGER_MS}"], settle, \
        PROMISED_COUNT if promised else RECLAIM_COUNT


def judge_correct(kind, count, seed, keep=False, live=False, reclaim=None):
    pace, settle, _ = paced(kind, reclaim)
    arguments = [f"--kind={kind}", f"--count={count}", f"--seed={seed}",
                 *(["--keep"] if keep else []), *pace]
    report, truth = (run_live if live else run)(arguments, reclaim=settle)
    check_silence(report, truth)
    expect(truth["sandboxes"] == count and truth["owners_begun"] >= count, f"truth: {truth}")
    if live:
        check_live_answer(truth)
    return truth


def judge_mutant(site, about, count, seed, live=False, reclaim=None):
    pace, settle, least = paced(about["kind"], reclaim)
    count = max(count, least)
    if about["verdict"] in ("growing", "either"):
        count = max(count, GROWING_COUNT)
    elif about["verdict"] == "anchor" or site in REPEATED:
        count = max(count, ANCHOR_COUNT)
    while True:
        arguments = [f"--mutate={site}", f"--count={count}", f"--seed={seed}", *pace]
        options = ["--live"] if about["verdict"] == "unended" else []
        report, truth = (run_live if live else run)(arguments, options, reclaim=settle)
        # What a scope alone says counts from the second owner on.
        enough = truth["owners"] >= (2 if about["kind"] == "seccomp" else 1) or \
            about["verdict"] == "kept"
        if enough or count > MUTANT_COUNT_MAX:
            expect(truth["count"] > 0 or about["verdict"] == "kept", "it never came to its site")
            check_mutant(report, truth)
            counts = report.get("counted", {"fds": 0, "mappings": 0})
            truth["reclaimed"] = counts["fds"] + counts["mappings"]
            return truth
        count *= 2


def verdict_of(what, judgement, *arguments, **options):
    """("right", what the judgement answers), ("wrong", why) or ("skipped", why)."""
    try:
        return "right", judgement(*arguments, **options)
    except Wrong as wrong:
        return "wrong", f"FAIL: {what}: {wrong}"
    except Skip as why:
        return "skipped", str(why)


def one(what, judgement, *arguments, **options):
    """1 if it was wrong, None if it could not be judged."""
    verdict, said = verdict_of(what, judgement, *arguments, **options)
    if verdict == "wrong":
        print(said, flush=True)
        return 1
    if verdict == "skipped":
        print(f"{what}: skipped: {said}", flush=True)
        one.skipped = said
        return None
    return 0


class Reclaimed:
    """Of the mutants that leak: how much of it was reclaimed."""

    def __init__(self):
        self.sites = {}

    def add(self, truth):
        if truth["verdict"] not in ("kept", "unended") and truth["count"] > 0:
            self.sites.setdefault(truth["site"], []).append((truth["count"], truth["reclaimed"]))

    def __str__(self):
        mutants = [mutant for site in self.sites.values() for mutant in site]
        things, taken = (sum(column) for column in zip(*mutants)) if mutants else (0, 0)
        wholly = sum(left == reclaimed for left, reclaimed in mutants)
        nothing = sum(reclaimed == 0 for _, reclaimed in mutants)
        shares = sorted((-sum(m[1] for m in site) / sum(m[0] for m in site), name)
                        for name, site in self.sites.items())
        return (f"of {len(mutants)} that leak, all of it was reclaimed in {wholly}, but for the "
                f"last in {len(mutants) - wholly - nothing}, nothing in {nothing}, which were only "
                f"reported; {taken} of {things} things\nreclaimed, in percent: " +
                ", ".join(f"{name} {-share * 100:.0f}" for share, name in shares if share < 0) +
                "\nonly reported: " + ", ".join(name for share, name in shares if share == 0))


def become_subreaper():
    """Each judge reaps the orphans of its own supervisors, and nobody else's."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def judge_drawn(drawn):
    name, about, seed, live, reclaim = drawn
    what = f"{name} --seed={seed}{' live' if live else ''}"
    return drawn, verdict_of(what, judge_mutant, name, about, MUTANT_COUNT, seed, live=live,
                             reclaim=reclaim)


def draw_mutants(number, seed, kind, live_every, reclaim):
    """Every site as often as every other, in an order of the seed's."""
    chosen, known = random.Random(seed), sites()
    names = sorted(name for name in known if kind in (None, known[name]["kind"]))
    order = []
    while len(order) < number:
        order += chosen.sample(names, len(names))
    return [(name, known[name], chosen.randrange(1, 1 << 31),
             bool(live_every and i % live_every == 0), reclaim)
            for i, name in enumerate(order[:number])]


def judge_mutants(number, seed, kind, live_every, reclaim=None, jobs=1):
    wrong = judged = 0
    unavailable = set()
    reclaimed = Reclaimed()
    with multiprocessing.get_context("fork").Pool(jobs, become_subreaper) as judges:
        mutants = draw_mutants(number, seed, kind, live_every, reclaim)
        for (name, about, *_), (verdict, said) in judges.imap(judge_drawn, mutants):
            if verdict == "skipped":
                if about["kind"] not in unavailable:
                    print(f"{name}: skipped: {said}", flush=True)
                unavailable.add(about["kind"])
                one.skipped = said
                continue
            judged += 1
            if verdict == "wrong":
                wrong += 1
                print(said, flush=True)
            elif reclaim is not None:
                reclaimed.add(said)
    print(f"{judged - wrong} of {judged} mutants have exactly their finding", flush=True)
    if reclaim is not None:
        print(reclaimed, flush=True)
    return wrong


# What each scenario is: how many ends, and the rate of the leak, if it is one.
SCENARIOS = {
    "leak-seldom": (400, 0.2, "take_maintenance_eventfd"),
    "leak-once": (400, 1, "take_maintenance_eventfd"),
    "leak-often": (400, 7, "take_maintenance_eventfd"),
    "leak-by-chance": (600, 0.2, "take_maintenance_eventfd"),
    "leak-mapping": (400, 1, "take_maintenance_mapping"),
    "cache": (2000, 0, ""),
    "pool": (1000, 0, ""),
    "heap": (1050, 0, ""),
    "daily-log": (2000, 0, ""),
    "daily-log-kept": (2000, 0, ""),
    "thread-pool": (400, 0, ""),
    "ramp-up": (500, 0, ""),
    "ramp-up-and-down": (500, 0, ""),
}


def judge_growth(scenario, ends):
    count, rate, function = SCENARIOS[scenario]
    report, _ = run(["--kind=growth", f"--scenario={scenario}", f"--count={count}",
                     f"--order={ends}"], truth=False)
    findings, totals = report["findings"], report["totals"]
    if scenario == "ramp-up-and-down":
        expect(totals["owners_ended"] == totals["owners_begun"], f"not all ended: {totals}")
    elif ends != "mark":
        expect(totals["owners_ended"] == count, f"owners_ended is {totals['owners_ended']}")
    if rate == 0:
        expect(not findings, "findings: " + listed(findings))
        return
    expect(len(findings) == 1, f"{len(findings)} findings, not 1: " + listed(findings))
    found = findings[0]
    expect(found["verdict"] == "growing", "not growing: " + short(found))
    expect(found["stack"][0]["function"] == function, f"not from {function}: " + short(found))
    expect(abs(found["rate"] - rate) <= RATE_TOLERANCE * rate, f"a rate of {found['rate']}")
    expect(abs(found["count"] - rate * count) <= RATE_TOLERANCE * rate * count,
           f"a count of {found['count']}")


def judge_growths(only, ends):
    wrong = 0
    for scenario in SCENARIOS if only is None else [only]:
        for end in ("child", "api", "mark") if ends is None else [ends]:
            if scenario.startswith("ramp") and end != "child":
                continue # its sandboxes are children, all of them
            wrong += one(f"growth {scenario} --order={end}", judge_growth, scenario, end) or 0
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=["correct", "mutant", "mutants", "growth"])
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--count", type=int, default=MUTANT_COUNT)
    parser.add_argument("--number", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--site")
    parser.add_argument("--scenario", choices=SCENARIOS)
    parser.add_argument("--ends", choices=["child", "api", "mark"])
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--live-every", type=int, default=0)
    parser.add_argument("--reclaim", type=int, metavar="MS")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    become_subreaper()
    one.skipped = None
    if given.what == "correct":
        what = f"{given.kind} --count={given.count} --seed={given.seed}" + \
            (" --keep" if given.keep else "") + (" live" if given.live else "") + \
            (f" --reclaim={given.reclaim}" if given.reclaim is not None else "")
        wrong = one(what, judge_correct, given.kind, given.count, given.seed, given.keep,
                    given.live, given.reclaim)
        if wrong == 0:
            print(f"silent: {what}")
    elif given.what == "mutant":
        wrong = one(f"{given.site} --seed={given.seed}", judge_mutant, given.site,
                    sites()[given.site], given.count, given.seed, given.live, given.reclaim)
    elif given.what == "mutants":
        wrong = judge_mutants(given.number, given.seed, given.kind, given.live_every,
                              given.reclaim, given.jobs)
    else:
        wrong = judge_growths(given.scenario, given.ends)
    if not jsonschema:
        print("python3-jsonschema is not installed: the reports were not validated")
    if wrong:
        sys.exit(1)
    if one.skipped is not None:
        print("skip: " + one.skipped)
        sys.exit(SKIPPED)


main()
