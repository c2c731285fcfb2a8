"""gate_examples.py: what doc/gate.md shows: the jobs for GitHub Actions and GitLab CI do what the
page says: every command of theirs is run, on a supervisor that leaves nothing behind, then on one
that does; the reports that later steps take are there either way."""
import os
import re
import subprocess
import sys
import tempfile

build = os.environ["BOXLEDGER_BUILD"]
source = os.environ["BOXLEDGER_SOURCE"]
sandboxes = os.path.join(build, "tests/system/gate_sandboxes")

try:
    import yaml
except ImportError:
    yaml = None


def check(condition, message):
    if not condition:
        print("FAIL:", message, file=sys.stderr)
        sys.exit(1)


with open(os.path.join(source, "doc/gate.md"), encoding="utf-8") as file:
    page = file.read()
jobs = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def commands(text):
    """What its steps run: `run: COMMAND`, an item of `script:`, either also folded with `>`."""
    found, lines = [], text.splitlines()
    in_script = False
    for number, line in enumerate(lines):
        step = re.match(r"( *)- run: (.*)", line)
        item = re.match(r"( *)- (.*)", line) if in_script else None
        if re.match(r" *script:$", line):
            in_script = True
        elif not line.lstrip().startswith("-") and re.match(r" *\w+:", line):
            in_script = False
        if not step and not item:
            continue
        indent, command = (step or item).groups()
        if command == ">":
            command = ""
            for more in lines[number + 1:]:
                if len(more) - len(more.lstrip()) <= len(indent) or \
                        re.match(r" *(- |\w+:)", more) and not more.strip().startswith("-- "):
                    break
                command += more.strip() + " "
        found.append(command.strip())
    return found


def parsed_commands(text):
    """The same, by a YAML parser."""
    document = yaml.safe_load(text)
    if "jobs" in document:
        return [step["run"].strip() for job in document["jobs"].values() for step in job["steps"]
                if "run" in step]
    return [command.strip() for job in document.values() for command in job["script"]]


def checkout(work, takes):
    """The project's tree, with the programs that the job expects, and boxledger's in it."""
    for path, lines in (
            # Building takes minutes and is scripts/check's to show; here it is done already.
            ("boxledger/scripts/build", [f"ln -sfn '{build}' boxledger/build"]),
            ("bin/make", [f"[[ $* == '' ]] || '{sandboxes}' clean=3"]),
            ("my-supervisor", ['[[ $* == --self-test ]] || exit 9', f"exec '{sandboxes}' {takes}"])):
        path = os.path.join(work, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/bash\n" + "\n".join(lines) + "\n")
        os.chmod(path, 0o755)


def run_job(text, takes, variables):
    """The status of the first command that fails, or 0; the files that are there then, and what
    was said on standard output."""
    with tempfile.TemporaryDirectory(prefix="boxledger-gate.") as work:
        checkout(work, takes)
        with open(os.path.join(work, "leaks.json"), "w", encoding="utf-8") as file:
            file.write('{"boxledger_baseline": 1, "program": "my-supervisor", "findings": []}\n')
        environment = {**os.environ, **variables(work),
                       "PATH": f"{work}/bin:{os.environ['PATH']}"}
        said = ""
        for command in commands(text):
            print(f"$ {command}")
            ended = subprocess.run(["bash", "-e", "-c", command], cwd=work, env=environment,
                                   check=False, timeout=120, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, text=True)
            said += ended.stdout
            if ended.returncode:
                return ended.returncode, os.listdir(work), said
        return 0, os.listdir(work), said


check(len(jobs) == 2, f"{len(jobs)} jobs in doc/gate.md")
services = (
    (lambda work: {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": work}, ("leaks.sarif",)),
    (lambda work: {"CI_PROJECT_DIR": work, "GITLAB_CI": "true"}, ("leaks.xml", "leaks.txt")))
for text, (variables, reports) in zip(jobs, services):
    check(len(commands(text)) == 3, commands(text))
    if yaml:
        check(commands(text) == parsed_commands(text), (commands(text), parsed_commands(text)))
    for report in reports:
        check(len(re.findall(rf"\b{report}\b", text)) >= 2, f"{report} is written and not taken")
    for takes, status in (("clean=5", 0), ("keeps_fd=3", 1), ("keeps_fd=3 exit=4", 3)):
        got, files, said = run_job(text, takes, variables)
        check(got == status, f"{takes}: status {got}, not {status}")
        check(set(reports) <= set(files), f"{takes}: there is only {files}")
        annotated = "::error title=boxledger" in said
        check(annotated == (status != 0 and "GITHUB_ACTIONS" in variables("")), said)

# The other commands that are left to this test: with a `make` that runs sandboxes in a child.
single = re.findall(r"^<!-- shown by tests/system/gate_examples.py -->\n\n((?:    .*\n)+)", page,
                    re.MULTILINE)
check(len(single) == 1, single)
with tempfile.TemporaryDirectory(prefix="boxledger-gate.") as work:
    checkout(work, "clean=3")
    os.symlink(build, os.path.join(work, "build"))
    for command in single[0].split("\n"):
        ended = subprocess.run(["bash", "-e", "-c", command.strip()], cwd=work, check=False,
                               timeout=120, stdin=subprocess.DEVNULL, capture_output=True,
                               env={**os.environ, "PATH": f"{work}/bin:{os.environ['PATH']}"})
        check(ended.returncode == 0, f"{command}: {ended.stderr}")
    # Where make runs none, it is no verdict.
    ended = subprocess.run(["bash", "-e", "-c", single[0].replace("check-sandboxes", "")], cwd=work,
                           check=False, timeout=120, stdin=subprocess.DEVNULL, capture_output=True,
                           env={**os.environ, "PATH": f"{work}/bin:{os.environ['PATH']}"})
    check(ended.returncode == 3, f"without sandboxes: {ended.returncode}")
print("both jobs" + ("" if yaml else "; not read by a YAML parser: python3-yaml is not installed"))
