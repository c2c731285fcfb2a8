"""live_figures.py: `boxledger top` and `boxledger metrics` on a process that runs: what they say is
what it holds, in a form that OpenMetrics' readers take, and the process does not notice."""
import os
import re
import subprocess
import sys
import tempfile

build = os.environ["BOXLEDGER_BUILD"]
boxledger = os.path.join(build, "boxledger")
shim = os.path.join(build, "libboxledger.so")
DESCRIPTORS = 7
PROGRAM = f"""
import os, sys
kept = [os.memfd_create("kept") for _ in range({DESCRIPTORS})]
children = [os.fork() for _ in range(1)]
if children[0] == 0:
    os._exit(0)
os.waitpid(children[0], 0)
print("ready", flush=True)
sys.stdin.readline()
"""


def check(condition, message):
    if not condition:
        print("FAIL:", message, file=sys.stderr)
        sys.exit(1)


def ask(*arguments, status=0):
    ended = subprocess.run([boxledger, *arguments], check=False, timeout=60, capture_output=True,
                           text=True)
    check(ended.returncode == status, f"{arguments}: status {ended.returncode}: {ended.stderr}")
    return ended.stdout if status == 0 else ended.stderr


def samples(text):
    """The values of an OpenMetrics text, which must be one: types before samples, names alike, an
    end mark."""
    lines = text.splitlines()
    check(lines and lines[-1] == "# EOF", f"no end mark: {lines[-1:]}")
    values, types = {}, {}
    for line in lines[:-1]:
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            check(name not in types, f"twice: {name}")
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[a-z]+"\})? (\d+)', line)
            check(match, f"no sample: {line}")
            family = match[1].removesuffix("_total")
            check(types.get(family) == ("gauge" if family == match[1] else "counter"),
                  f"of no type: {line}")
            values[match[1] + (match[2] or "")] = int(match[3])
    return values


with tempfile.TemporaryDirectory(prefix="boxledger-live.") as work:
    ledger = os.path.join(work, "ledger")
    environment = {**os.environ, "LD_PRELOAD": shim, "BOXLEDGER_OPTIONS": "ledger=" + ledger}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as program:
        check(program.stdout.readline() == "ready\n", "the program did not start")
        figures = samples(ask("metrics", ledger))
        held = len(os.listdir(f"/proc/{program.pid}/fd"))
        check(figures["boxledger_descriptors"] == held,
              f"{figures['boxledger_descriptors']} descriptors, not {held}")
        check(figures['boxledger_sandboxes_begun_total{kind="child"}'] == 1, "no child begun")
        check(figures['boxledger_sandboxes_ended_total{kind="child"}'] == 1, "no child ended")
        screen = ask("top", "--interval-ms=0", ledger)
        check(f"process {program.pid}: {held} of " in screen, f"top: {screen}")
        check("sandboxes: 0 live, 1 ended" in screen, f"top: {screen}")
        with subprocess.Popen([boxledger, "top", "--interval-ms=50", ledger], text=True,
                              stdout=subprocess.PIPE) as watching:
            check(watching.stdout.readline().startswith("process "), "top says nothing")
            program.stdin.write("\n")
            program.stdin.flush()
            rest = watching.communicate(timeout=60)[0]  # it ends by itself
            check(" (ended): " in rest and watching.returncode == 0,
                  f"top after the end: {watching.returncode}: {rest[-500:]}")
        program.communicate(timeout=60)

    check("no such file" in ask("top", ledger + "x", status=125).lower(), "a ledger that is not")
    with open(ledger + "y", "w", encoding="utf-8") as file:
        file.write("something else")
    check(ask("metrics", ledger + "y", status=125).count("\n") == 1, "not a ledger: one line")
    check("which ledger" in ask("top", status=2), "top of nothing")
    check("is not" in ask("metrics", "--interval-ms=5", ledger, status=2), "metrics at intervals")
