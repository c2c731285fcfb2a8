"""documented_commands.py: every command in the README and doc/ is run by a test.

A block of lines indented by four spaces is one of four things:
  - lines "$ COMMAND", each with the output it has: this test runs them, all of one page in one
    shell, in a copy of what they need, and compares. In the output "..." stands for any text, a
    line of it for any lines, and every number for any number.
  - a block right after <!-- run -->: commands that must succeed, whatever they print, with
    stand-ins for the reader's own programs.
  - a block right after <!-- shown by FILE -->: that file of the tree runs it.
  - a block right after <!-- no command -->: a picture, an excerpt.
Anything else fails. In a manual page the blocks (.nf, .EX) under EXAMPLES are run as they are, with
stand-ins for the reader's own programs. A comment before any other says what it is:
  - run: commands, which must succeed, too
  - given to COMMAND: the block is that command's FILE, which it must accept
  - shown by FILE, no command: as above
"""
import os
import re
import subprocess
import sys
import tempfile
import threading

build = os.environ["BOXLEDGER_BUILD"]
source = os.environ["BOXLEDGER_SOURCE"]
MARK = re.compile(r"<!-- (shown by (?P<file>\S+)|(?P<run>run)|no command)[^>]*-->")
TIMEOUT = 300
# Programs of the reader's in examples.
STAND_INS = ["my-supervisor", "my-tests", "pytest", "make"]


def pages():
    doc = os.path.join(source, "doc")
    yield os.path.join(source, "README.md")
    for name in sorted(os.listdir(doc)):
        if name.endswith(".md"):
            yield os.path.join(doc, name)


def blocks(path):
    """(line number, the mark before it, lines) of each indented or fenced block outside of lists."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    mark, block, at, fenced = None, [], 0, False
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            fenced = not fenced
            if not fenced:
                yield at, mark, block
                mark, block = None, []
            at = number + 1
        elif fenced:
            block.append(line)
        elif line.startswith("    ") and (block or not lines[number - 2].strip()):
            at = at if block else number
            block.append(line[4:])
        elif block and not line.strip() and number < len(lines) and \
                lines[number].startswith("    "):
            block.append("")
        else:
            if block:
                yield at, mark, block
                mark, block = None, []
            if MARK.match(line):
                mark = MARK.match(line)
            elif line.strip():
                mark = None
    if block:
        yield at, mark, block


def pattern(expected):
    """A regular expression for the output that is documented."""
    result = ""
    for line in expected:
        if line.strip() == "...":
            result += r"(?:.*\n)*?"
            continue
        piece = re.escape(line.rstrip()).replace(r"\.\.\.", ".*?")
        result += re.sub(r"\d[\d,.]*", r"[\\d,.]+", piece) + r"[ \t]*\n"
    return result


def commands(lines):
    """[(command, expected output)]"""
    result = []
    for line in lines:
        if line.startswith("$ "):
            result.append((line[2:], []))
        elif result:
            result[-1][1].append(line)
        else:
            return None
    return result


def stand_in(folder):
    """The reader's programs: they do nothing, and succeed."""
    os.mkdir(folder)
    for name in STAND_INS:
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\ntrue\n")
        os.chmod(os.path.join(folder, name), 0o755)


class Shell:
    """One page's shell, in a folder that looks like the tree's root after a build."""

    def __init__(self, work):
        os.symlink(build, os.path.join(work, "build"))
        for name in ("src", "scripts", "doc", "tests"):
            os.symlink(os.path.join(source, name), os.path.join(work, name))
        stand_in(os.path.join(work, "bin"))
        path = f"{work}/bin:{os.environ['PATH']}"
        self.shell = subprocess.Popen(["bash", "--norc"], cwd=work, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                      env={**os.environ, "PATH": path})

    def run(self, command):
        end = "---end of documented command---"
        watch = threading.Timer(TIMEOUT, self.shell.kill)
        watch.start()
        self.shell.stdin.write(command + "\necho; echo '" + end + "'\n")
        self.shell.stdin.flush()
        output = ""
        for line in self.shell.stdout:
            if line.strip() == end:
                break
            output += line
        watch.cancel()
        return output[:-1] if output.endswith("\n\n") or output == "\n" else output

    def close(self):
        self.shell.stdin.close()
        self.shell.wait(timeout=TIMEOUT)


def judge_block(path, at, mark, lines, shell):
    """What is wrong with it; None: nothing."""
    where = f"{os.path.relpath(path, source)}:{at}"
    if mark and mark["file"]:
        return None if os.path.exists(os.path.join(source, mark["file"])) else \
            f"{where}: {mark['file']} is not there"
    if mark and mark["run"]:
        for line in filter(None, lines):
            ended = shell.run(f"(\n{line}\n) >log 2>&1 </dev/null || "
                              "{ echo failed: $?; cat log; }")
            if ended.strip():
                return f"{where}: {line}: {ended}"
            print(f"{where}: {line[:70]}")
        return None
    if mark:
        return None
    found = commands(lines)
    if found is None:
        return f"{where}: neither commands nor marked: {lines[0]!r}"
    for command, expected in found:
        while expected and not expected[-1].strip():
            expected.pop()
        output = shell.run(command)
        if not re.fullmatch(r"(?:\s*\n)?" + pattern(expected), output):
            return f"{where}: {command}\n  gave\n{output}\n  not\n" + "\n".join(expected)
        print(f"{where}: {command[:70]}")
    return None


def manual_blocks(path):
    """(line number, what it is, lines) of each block of a manual page."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    section, mark, block = "", "", None
    for number, line in enumerate(lines, 1):
        if line.startswith(".SH "):
            section = line[4:]
        if re.match(r"\.(nf|EX)$", line):
            block = []
        elif re.match(r"\.(fi|EE)$", line):
            yield number - len(block), mark or ("run" if "EXAMPLE" in section else ""), block
            mark, block = "", None
        elif block is not None:
            block.append(line.replace("\\-", "-").replace("\\e", "\\").replace("\\\\", "\\"))
        elif line.startswith('.\\" '):
            mark = line[4:]
        elif line.strip() and not line.startswith("."):
            mark = ""


def prepare(work):
    """What the pages' commands find where they are run."""
    stand_ins = os.path.join(work, "bin")
    stand_in(stand_ins)
    for prepared in ("known.txt", "suppressions.txt"):
        with open(os.path.join(work, prepared), "w", encoding="utf-8") as file:
            file.write("# nothing yet\n")
    project = os.path.join(work, "project")
    os.mkdir(project)
    with open(os.path.join(project, "upgrade"), "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\necho new >>settings\n")
    os.chmod(os.path.join(project, "upgrade"), 0o755)
    return {**os.environ, "PATH": f"{stand_ins}:{build}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": build}


def run_manual_block(where, mark, lines, work, environment):
    """What is wrong with it, in a list."""
    commands_of = lines
    if mark.startswith("given to "):
        commands_of = [mark[len("given to "):]]
        with open(os.path.join(work, "FILE"), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    wrong = []
    for command in filter(str.strip, commands_of):
        ended = subprocess.run(["bash", "-c", command], cwd=work, check=False, timeout=TIMEOUT,
                               env=environment, capture_output=True, text=True,
                               stdin=subprocess.DEVNULL)
        if ended.returncode != 0:
            wrong.append(f"{where}: {command}: status {ended.returncode}: {ended.stderr[-300:]}")
        else:
            print(f"{where}: {command.strip()}")
    return wrong


def run_manual(path, work):
    environment = prepare(work)
    wrong = []
    for at, mark, lines in manual_blocks(path):
        where = f"{os.path.basename(path)}:{at}"
        shown = re.match(r"shown by (\S+)", mark)
        if shown and not os.path.exists(os.path.join(source, shown[1])):
            wrong.append(f"{where}: {shown[1]} is not there")
        elif mark == "run" or mark.startswith("given to "):
            wrong += run_manual_block(where, mark, lines, work, environment)
        elif not shown and mark != "no command":
            wrong.append(f"{where}: neither under EXAMPLES nor marked: {lines[:1]!r}")
    return wrong


def main():
    wrong = []
    for path in pages():
        if sys.argv[1:] and os.path.basename(path) not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory(prefix="boxledger-doc.") as work:
            shell = Shell(work)
            for at, mark, lines in blocks(path):
                said = judge_block(path, at, mark, lines, shell)
                if said:
                    wrong.append(said)
            shell.close()
    for name in sorted(os.listdir(os.path.join(source, "doc"))):
        if name[-2:] in (".1", ".3", ".7") and (not sys.argv[1:] or name in sys.argv[1:]):
            with tempfile.TemporaryDirectory(prefix="boxledger-doc.") as work:
                wrong += run_manual(os.path.join(source, "doc", name), work)
    for one in wrong:
        print("FAIL:", one, file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
