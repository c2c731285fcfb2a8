#!/usr/bin/env python3
"""Every row of a library's CFI, as the unwinder reads it and as readelf does.

unwind_cfi_tables.py [OBJECT...]: by default libc, libstdc++ and what else is at hand. The first
and the last address of each row must give the row that readelf prints, and the address after a
function's last none at all unless another begins there.
"""
import os
import re
import shutil
import subprocess
import sys

BUILD = os.environ.get("BOXLEDGER_BUILD", "build")
QUERY = os.path.join(BUILD, "tests/system/unwind_cfi_query")
USUAL = ["libc.so.6", "libstdc++.so.6", "libcrypto.so.3", "libm.so.6", "libpython3.11.so.1.0"]


def path_of(name):
    """Where the loader finds a library; None: nowhere."""
    code = ("import ctypes,sys\n"
            "ctypes.CDLL(sys.argv[1])\n"
            "for l in open('/proc/self/maps'):\n"
            "  if '/' + sys.argv[1] in l: print(l.split()[-1]); break\n")
    run = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True)
    return run.stdout.strip() or None


def rows_of(path):
    """(start, end, row) for each row; row as unwind_cfi_query prints it, or None: anything."""
    dump = subprocess.run(["readelf", "-W", "--debug-dump=frames-interp", path],
                          capture_output=True, text=True).stdout # warnings fail it
    rows, columns, end, signal, cies = [], None, None, False, {}
    for line in dump.splitlines() + ["00000000 ZERO"]:
        head = re.match(r"([0-9a-f]+) [0-9a-f]+ [0-9a-f]+ (CIE|FDE)(.*)", line)
        if head:
            columns = None
            if head[2] == "CIE":
                cies[head[1]] = '"zRS' in head[3] or '"zPRS' in head[3]
                end = None
            else:
                cie = re.search(r"cie=([0-9a-f]+)", head[3])[1]
                start, end = re.search(r"pc=([0-9a-f]+)\.\.([0-9a-f]+)", head[3]).groups()
                start, end, signal = int(start, 16), int(end, 16), cies.get(cie, False)
                function = []
                rows.append((start, end, signal, function))
            continue
        if end is None:
            continue
        words = re.sub(r"(r[0-9]+) \([a-z0-9]+\)", r"\1", line).split()
        if words[:2] == ["LOC", "CFA"]:
            columns = words
        elif columns and words and re.fullmatch("[0-9a-f]{16}", words[0]):
            function.append((int(words[0], 16), dict(zip(columns, words))))
    for start, end, signal, function in rows:
        if not function: # no row of its own: the CIE's, which readelf does not repeat
            continue
        bounds = [at for at, _ in function[1:]] + [end]
        for (at, row), after in zip(function, bounds):
            if after > at:
                yield at, after, "opaque" if signal else expected(row)


def expected(row):
    cfa, bp, ra = row["CFA"], row.get("rbp", "u"), row.get("ra", "u")
    if ra == "u":
        return "end"
    if ra != "c-8":
        return "opaque"
    if cfa == "exp":
        return "exp"
    if not re.match(r"(rsp|rbp)[+-]", cfa):
        return "opaque"
    if bp not in ("u", "exp", "s") and not bp.startswith("c"):
        bp = "lost"
    return f"{cfa} {'u' if bp == 's' else bp} {ra}"


def agrees(want, got):
    if want == "exp": # readelf does not print expressions: the layout is one, or opaque
        return got.split()[0] in ("exp", "opaque") or re.match(r"r[sb]p[+-]", got)
    if " exp " in want and " lost " in got:
        return True
    return want == got


def check(path):
    rows = list(rows_of(path))
    asked = [a for at, after, _ in rows for a in (at, after - 1)]
    run = subprocess.run([QUERY, path], input="".join(f"{a:x}\n" for a in asked),
                         capture_output=True, text=True, check=True)
    got = run.stdout.splitlines()
    wants = [want for _, _, want in rows for _ in (0, 1)]
    bad = [(a, w, g) for a, w, g in zip(asked, wants, got) if not agrees(w, g)]
    opaque = sum(g == "opaque" for g in got)
    print(f"{path}: {len(rows)} rows, {opaque} opaque answers, {len(bad)} wrong")
    for address, want, answer in bad[:10]:
        print(f"  {address:#x}: {answer}, readelf says {want}")
    return not bad and len(rows) > 0 and len(got) == len(asked)


def main():
    if not shutil.which("readelf") or os.uname().machine != "x86_64":
        print("skip: needs readelf, and knows x86-64's columns only")
        return 77
    paths = sys.argv[1:] or [p for p in map(path_of, USUAL) if p]
    good = [check(p) for p in paths]
    return 0 if good and all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
