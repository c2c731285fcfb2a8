"""gate_formats.py: the gate's result as JSON is what doc/gate.schema.json says, as JUnit what
tests/gate/junit.xsd says (by xmllint), as SARIF it has what services need; and all of them, and the
text, say the same, whatever the command is called and however it ended."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

build = os.environ["BOXLEDGER_BUILD"]
source = os.environ["BOXLEDGER_SOURCE"]
boxledger = os.path.join(build, "boxledger")
sandboxes = os.path.join(build, "tests/system/gate_sandboxes")
FORMATS = ("txt", "json", "xml", "sarif")
for name in ("GITHUB_ACTIONS", "GITHUB_WORKSPACE", "CI_PROJECT_DIR", "BOXLEDGER_OPTIONS"):
    os.environ.pop(name, None)

try:
    import jsonschema
except ImportError:
    jsonschema = None
xmllint = shutil.which("xmllint")


def schema(file):
    with open(os.path.join(source, "doc", file), encoding="utf-8") as text:
        return json.load(text)


def check(condition, message):
    if not condition:
        print("FAIL:", message, file=sys.stderr)
        sys.exit(1)


class Result:
    """One gate, in all formats."""

    def __init__(self, *command, options=(), status=0, cwd=None):
        with tempfile.TemporaryDirectory() as work:
            paths = {kind: os.path.join(work, "report." + kind) for kind in FORMATS}
            reports = ["--report=" + paths[kind] for kind in FORMATS]
            ended = subprocess.run([boxledger, "gate", *reports, *options, "--", *command],
                                   check=False, timeout=60, cwd=cwd, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
            check(ended.returncode == status, f"{command}: {ended.returncode}: {ended.stderr}")
            self.stderr = ended.stderr.decode("utf-8", "replace")
            self.files = {}
            for kind, path in paths.items():
                with open(path, "rb") as file:
                    self.files[kind] = file.read()
            if xmllint:
                lint = subprocess.run(
                    [xmllint, "--noout", "--schema", os.path.join(source, "tests/gate/junit.xsd"),
                     paths["xml"]], check=False, capture_output=True, text=True, timeout=60)
                check(lint.returncode == 0, lint.stderr)
        self.text = self.files["txt"].decode("utf-8", "replace")
        self.json = json.loads(self.files["json"])
        self.junit = ElementTree.fromstring(self.files["xml"]).find("testsuite")
        self.sarif = json.loads(self.files["sarif"])["runs"][0]
        self.status = status
        self.judge_json()
        self.judge_junit()
        self.judge_sarif()
        self.judge_text()

    def judge_json(self):
        document = self.json
        if jsonschema:
            jsonschema.validate(document, schema("gate.schema.json"))
            for run in document["runs"]:
                jsonschema.validate(run, schema("report.schema.json"))
        check(document["status"] == self.status, document["status"])
        states = [finding["state"] for finding in document["findings"]]
        check({state: states.count(state) for state in document["tally"]} == document["tally"],
              "the tally is not that of the findings")
        check(self.status != 0 or not any(f["fails"] for f in document["findings"]), states)

    def judge_junit(self):
        suite, cases = self.junit, self.junit.findall("testcase")
        failures = [case for case in cases if case.find("failure") is not None]
        for attribute, count in (
                ("tests", len(cases)), ("failures", len(failures)),
                ("errors", sum(case.find("error") is not None for case in cases)),
                ("skipped", sum(case.find("skipped") is not None for case in cases))):
            check(int(suite.get(attribute)) == count, f"{attribute}: {suite.get(attribute)}")
        check(len(cases) == 1 + len(self.json["findings"]), "not a case for each finding")
        check(len(failures) == sum(f["fails"] for f in self.json["findings"]), "failures")
        check((cases[0].find("error") is not None) == (self.status == 3), "the command's case")

    def judge_sarif(self):
        document = json.loads(self.files["sarif"])
        check(document["version"] == "2.1.0" and "sarif" in document["$schema"], "SARIF's version")
        driver = self.sarif["tool"]["driver"]
        rules = [rule["id"] for rule in driver["rules"]]
        check(driver["name"] == "boxledger" and len(set(rules)) == len(rules) >= 5, driver)
        invocation, = self.sarif["invocations"]
        check(invocation["executionSuccessful"] == (self.status != 3), invocation)
        check(invocation["exitCode"] == self.status, invocation)
        there = [f for f in self.json["findings"] if f["state"] != "gone"]
        check(len(there) == len(self.sarif["results"]), "not a result for each finding")
        for finding, result in zip(there, self.sarif["results"]):
            check(rules[result["ruleIndex"]] == result["ruleId"] == finding["verdict"], result)
            check(result["message"]["text"] == finding["text"], result)
            check((result["level"] == "error") == finding["fails"], result)
            check(bool(result["suppressions"]) == (finding["state"] in ("known", "allowed",
                                                                         "rare")), result)
            check(re.fullmatch("[0-9a-f]{16}", result["partialFingerprints"]["boxledger/v1"]),
                  result)
            # Services take no result without a file.
            check(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], result)
            check(result["occurrenceCount"] == finding["count"], result)

    def judge_text(self):
        last = self.text.splitlines()[-1]
        check(last.startswith("SUMMARY: boxledger: gate "), last)
        # The job's log has the findings in a line each, and not the reports.
        check(self.stderr.splitlines()[-1] == last or not self.json["runs"], self.stderr)
        check("taken at:" not in self.stderr, self.stderr)
        for finding in self.json["findings"]:
            line = f"{finding['state'].capitalize()}: {finding['text']}"
            check(line in self.text, f"the text has no {line}")

    def fingerprints(self):
        return [result["partialFingerprints"]["boxledger/v1"] for result in self.sarif["results"]]


# Clean: nothing but the command's own case.
clean = Result(sandboxes, "clean=3")
check(clean.json["result"] == "clean" and clean.json["sandboxes"] == 3, clean.json)
check(clean.sarif["results"] == [] and clean.junit.get("tests") == "1", "clean, and yet findings")

# Findings of all kinds, with their lines.
found = Result(sandboxes, "keeps_fd=4", "keeps_map=2", "twice=1", "grows=20", status=1, cwd=source)
check(found.json["result"] == "findings" and found.json["tally"]["new"] == 4, found.json["tally"])
first = next(f for f in found.json["findings"] if f["function"] == "keep_descriptor")
check(first["count"] == 4 and first["verdict"] == "leaked" and first["resource"] == "fd", first)
check(first["stack"][:3] == ["keep_descriptor", "run_sandbox", "main"], first["stack"])
check(len(first["stack"]) == 3, f"frames of libc in {first['stack']}")
if first["line"]:
    check(first["file"] == "tests/system/gate_sandboxes.c", first["file"])
    with open(os.path.join(source, first["file"]), encoding="utf-8") as file:
        check("memfd_create(\"kept\"" in file.read().splitlines()[first["line"] - 1], first["line"])
    result = found.sarif["results"][found.json["findings"].index(first)]
    place = result["locations"][0]["physicalLocation"]
    check(place["artifactLocation"] == {"uri": first["file"], "uriBaseId": "%SRCROOT%"}, place)
    check(place["region"]["startLine"] == first["line"], place)
    base = found.sarif["originalUriBaseIds"]["%SRCROOT%"]["uri"]
    check(base == "file://" + os.path.realpath(source) + "/", base)
failure = next(case for case in found.junit.findall("testcase")
               if case.get("name") == "keep_descriptor (memfd)").find("failure")
check("Left behind: 4 descriptors (memfd)" in failure.text, failure.text)
check("in run_sandbox" in failure.text, failure.text)
check(len(set(found.fingerprints())) == 4, "fingerprints that are not")
check(Result(sandboxes, "keeps_fd=9", "keeps_map=1", "twice=2", "grows=40", status=1, cwd=source)
      .fingerprints() == found.fingerprints(), "the same findings have other fingerprints")

# With a baseline: states, in each format.
with tempfile.TemporaryDirectory() as work:
    known = os.path.join(work, "known.json")
    written = Result(sandboxes, "keeps_fd=4", "keeps_map=2",
                     options=["--baseline=" + known, "--update-baseline"])
    check(written.json["tally"]["known"] == 2, written.json["tally"])
    held = Result(sandboxes, "keeps_fd=5", "keeps_other=1", options=["--baseline=" + known],
                  status=1)
    states = {f["state"]: f for f in held.json["findings"]}
    check(set(states) == {"new", "grown", "gone"}, states)
    check(states["grown"]["known_count"] == 4 and states["gone"]["count"] == 0, states)
    check([r["baselineState"] for r in held.sarif["results"]] == ["new", "updated"],
          held.sarif["results"])
    held = Result(sandboxes, "keeps_fd=4", "keeps_map=2", options=["--baseline=" + known])
    check([r["baselineState"] for r in held.sarif["results"]] == ["unchanged"] * 2, held.sarif)
    held = Result(sandboxes, "keeps_fd=2", options=["--max-leaked=2"])
    check([f["state"] for f in held.json["findings"]] == ["allowed"], held.json["findings"])
    check("baselineState" not in held.sarif["results"][0], "a state without a baseline")

# No verdict: failed, killed, never watched; the findings are there as far as there are any.
for end in ("exit=7", "signal=6", "signal=9", "signal=11"):
    failed = Result(sandboxes, "keeps_fd=2", end, status=3)
    check(failed.json["result"] == "no-verdict" and failed.json["trouble"], failed.json)
    check(len(failed.json["runs"]) == 1, failed.json["runs"])
unwatched = Result(os.path.join(build, "tests/system/static_program"), status=3)
check(unwatched.json["runs"] == [] and unwatched.json["findings"] == [], unwatched.json)
check("statically linked" in unwatched.json["trouble"], unwatched.json["trouble"])
doubtful = Result(sandboxes)
check("doubt" in doubtful.json and "no sandbox" in doubtful.junit.findtext("system-err"),
      doubtful.json)

# Several runs, and suppressions.
with tempfile.NamedTemporaryFile("w", suffix=".supp") as supp:
    supp.write("leak:keep_mapping\n")
    supp.flush()
    twice = Result(sandboxes, "keeps_fd=1", "keeps_map=1", status=1,
                   options=["--repeat=2", "--suppressions=" + supp.name])
    check(len(twice.json["runs"]) == 2 and twice.json["findings"][0]["runs"] == 2, twice.json)
    check(twice.json["suppressions"][0]["findings"] == 2, twice.json["suppressions"])
    check(len(twice.json["findings"]) == 1, twice.json["findings"])

# Children, and their findings in one with those of their parent.
followed = Result("bash", "-c", f"'{sandboxes}' keeps_fd=1; '{sandboxes}' keeps_fd=2; true",
                  options=["--follow"], status=1)
check(len(followed.json["runs"][0]["followed"]) >= 2, followed.json["runs"])
check([f["count"] for f in followed.json["findings"]] == [3], followed.json["findings"])

# Names that are anything but names.
with tempfile.TemporaryDirectory() as work:
    for name in (b"<&>\"'", b"]]>--><!--", b"\x01\x1b[31m\x7f", b"\xff\xfe\xc0\xaf", b"%0A::error::",
                 "\u00e9\u2028\ufffe\U0001f4a5".encode(), b"a\nb\tc", b"{0} %s\\u0000"):
        odd = os.path.join(work.encode(), name)
        shutil.copy(sandboxes, odd)
        result = Result(odd, "keeps_fd=1", status=1)
        check(result.json["tally"]["new"] == 1, name)
        for kind in FORMATS:
            control = set(range(0x20)) - set(b"\n\t") | ({0x7f} if kind in ("txt", "xml") else set())
            check(not control & set(result.files[kind]), f"{name} in {kind} as it is")
        known = os.path.join(work, "odd.json")
        if os.path.exists(known):
            os.unlink(known)
        Result(odd, "keeps_fd=1", options=["--baseline=" + known, "--update-baseline"])
        Result(odd, "keeps_fd=1", options=["--baseline=" + known])
        os.unlink(odd)

# What a file is called says what it is; --format says it for all, and for standard error.
with tempfile.TemporaryDirectory() as work:
    for option, ending, begins in (("--format=json", "txt", b"{"), ("--format=junit", "sarif", b"<?xml"),
                                   ("--format=text", "xml", b"====="), (None, "sarif.json", b"{\n \"$schema\""),
                                   (None, "log", b"=====")):
        path = os.path.join(work, "r." + ending)
        ended = subprocess.run([boxledger, "gate", *([option] if option else []), "--report=" + path,
                                "--", sandboxes, "clean=1"], check=False, timeout=60,
                               stderr=subprocess.DEVNULL)
        with open(path, "rb") as file:
            start = file.read(20)
        check(ended.returncode == 0 and start.startswith(begins), f"{option} {ending}: {start}")
    for kind, begins in (("json", b"{\n \"boxledger_gate\""), ("junit", b"<?xml"),
                         ("sarif", b"{\n \"$schema\""), ("text", b"=====")):
        ended = subprocess.run([boxledger, "gate", "--format=" + kind, "--", sandboxes, "clean=1"],
                               check=False, timeout=60, stderr=subprocess.PIPE)
        check(ended.returncode == 0 and ended.stderr.startswith(begins), (kind, ended.stderr[:40]))

missing = [what for what, there in (("python3-jsonschema", jsonschema), ("xmllint", xmllint))
           if not there]
if missing:
    print("skip: all but the schemas was looked at; not installed: " + ", ".join(missing))
    sys.exit(77)
