"""With every policy off none of their code runs, but what decides at the start that they are off.

Callgrind lists the functions that a program under the shim went through; the same with all of them
on shows that they are seen. Skips where there is no valgrind.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.environ.get("BOXLEDGER_SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(__file__), "../..")
)
BUILD = os.environ.get("BOXLEDGER_BUILD") or os.path.join(SOURCE, "build")
SHIM = os.path.join(BUILD, "libboxledger.so")
PROGRAM = os.path.join(BUILD, "tests/policies/promise")
ON = "reclaim=1:rescue=1:placement=1:limit_vmas=60000:limit_fds=500"
SETTLE_MS = 50
SECONDS = 300
# Of the policies' sources; left.c judges for reports as well.
POLICIES = re.compile(r"/src/(policy/(?!left)\w+|preload/police\w*)\.c$")
AT_THE_START = {"police_begin", "drop_contradictions", "limit_begin", "maps_count"}


def skip(why):
    print("skip: " + why)
    sys.exit(77)


def ran(options, mode):
    """Functions of the policies that ran, by name."""
    with tempfile.TemporaryDirectory() as work:
        ledger, profile = os.path.join(work, "ledger"), os.path.join(work, "profile")
        done = subprocess.run(
            ["valgrind", "-q", "--tool=callgrind", "--callgrind-out-file=" + profile, PROGRAM,
             ledger, mode, str(SETTLE_MS)],
            env=dict(os.environ, LD_PRELOAD=SHIM,
                     BOXLEDGER_OPTIONS=f"ledger={ledger}:settle_ms={SETTLE_MS}{options}"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=SECONDS, check=False)
        if not os.path.exists(profile):
            skip("valgrind does not run the program: " + done.stdout.strip()[-200:])
        names, files, found, of_shim = {}, {}, set(), 0
        file = ""
        with open(profile, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                match = re.match(r"(fl|fi|fe|fn|cfn|cfi|cfl)=\((\d+)\)(?: (.*))?$", line.rstrip())
                if not match:
                    continue
                kind, number, name = match.groups()
                known = names if kind in ("fn", "cfn") else files
                if name is not None:
                    known[number] = name
                if kind == "fl":
                    file = files[number]
                if kind == "fn":
                    of_shim += "/src/preload/" in file
                    if POLICIES.search(file):
                        found.add(names[number])
        if of_shim == 0:
            skip("callgrind knows no function of the shim: it was built without debug information")
        return found


def main():
    if not shutil.which("valgrind"):
        skip("valgrind is not installed")
    off = ran("", "off") - AT_THE_START
    on = ran(":" + ON, "all") - AT_THE_START
    print(f"{len(on)} functions of policies ran with all of them on, {len(off)} with all off")
    if off:
        sys.exit("FAIL: with every policy off these ran: " + ", ".join(sorted(off)))
    for name in ("police_munmap", "reclaim_look"):
        if name not in on:
            sys.exit(f"FAIL: with every policy on {name} was not seen: {', '.join(sorted(on))}")


main()
