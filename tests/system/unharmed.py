"""Programs that nobody here wrote do the same with the shim as without: exit status and output.

unharmed.py [--list] [CASE...]. With BOXLEDGER_LONG=1 the long cases run as well. A case whose
program is not installed is skipped by name; if none could run, the test is.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

SOURCE = os.environ.get("BOXLEDGER_SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(__file__), "../..")
)
BUILD = os.environ.get("BOXLEDGER_BUILD") or os.path.join(SOURCE, "build")
LONG = os.environ.get("BOXLEDGER_LONG", "0") not in ("", "0")
COMMAND = os.path.join(BUILD, "boxledger")

PYTHON_WORK = r"""
import asyncio, concurrent.futures, mmap, os, selectors, signal, socket, subprocess, sys
import tempfile, threading, multiprocessing

def square(x):
    return x * x

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, pool.map(square, range(10)))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print(sum(pool.map(square, range(1000))))
    for close_fds in (True, False):
        print(subprocess.run(["ls", "/proc/self/fd"], close_fds=close_fds, text=True,
                             stdout=subprocess.PIPE).stdout.split())
    print(subprocess.run("exit 7", shell=True).returncode)
    a, b = socket.socketpair()
    with tempfile.TemporaryFile() as f:
        f.write(b"x" * 10000)
        f.flush()
        socket.send_fds(a, [b"hi"], [f.fileno()])
        data, fds, _, _ = socket.recv_fds(b, 10, 4)
        with mmap.mmap(fds[0], 0, access=mmap.ACCESS_READ) as m:
            print(data, len(m), fds[0] - f.fileno())
        os.close(fds[0])
    print(os.open("/", os.O_RDONLY), os.dup(0), os.pipe())
    try:
        os.close(9999)
    except OSError as e:
        print(e)
    pid = os.fork()
    if pid == 0:
        os.closerange(3, 4096)
        os._exit(5)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    signal.signal(signal.SIGALRM, lambda *a: os.close(os.open("/dev/null", os.O_RDONLY)))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    for i in range(2000):
        mmap.mmap(-1, 4096).close()
        os.close(os.dup(0))
    signal.setitimer(signal.ITIMER_REAL, 0)

    async def echo():
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for i in range(50):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            writer.close()
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        print(await process.communicate(b"through cat"))
        server.close()
    asyncio.run(echo())
    print(len(os.listdir("/proc/self/fd")), sorted(k for k in os.environ if "BOX" in k or "LD_" in k))
    os.execv(sys.executable, [sys.executable, "-c", "import os; print('exec', len(os.listdir('/proc/self/fd')))"])
"""

GIT_WORK = r"""
set -e
git init -q a && cd a
for i in $(seq 30); do
    seq $((i * 50)) >file$((i % 7)); git add . ; git commit -q -m "change $i"
done
git log --stat --format='%H %s' | tail -n 50
git checkout -q -b side HEAD~5; echo side >side; git add side; git commit -q -m side
git merge -q -m merge master; git blame file3 | tail -n 2; git grep -c 77
git gc -q; git fsck --strict; git count-objects -v | grep in-pack
cd .. && git clone -q --no-local a b && git -C b rev-parse HEAD && git -C b diff --stat HEAD~3
git -C b bisect start -q HEAD HEAD~8 && git -C b bisect run sh -c 'test $(wc -l <file1) -lt 1200' | tail -n 3
tar c --sort=name --mtime=@0 a/file0 a/file1 | sha256sum
"""

C_WORK = r"""
set -e
cat >lib.c <<'E'
#include <stdio.h>
#include <stdlib.h>
int twice(int x) { return 2 * x; }
E
cat >main.c <<'E'
#include <pthread.h>
#include <stdio.h>
int twice(int);
static void *f(void *p) { *(int *)p = twice(*(int *)p); return p; }
int main(void) {
    int v[4] = {1, 2, 3, 4}; pthread_t t[4];
    for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, f, &v[i]);
    for (int i = 0; i < 4; i++) { pthread_join(t[i], 0); printf("%d\n", v[i]); }
}
E
cat >Makefile <<'E'
all: main shared.so
main: main.o lib.o
	gcc -pthread -o $@ $^
shared.so: lib.c
	gcc -g -O2 -flto -shared -fPIC -o $@ $<
%.o: %.c
	gcc -O2 -g -pipe -Wall -c -o $@ $<
bad:
	gcc -c nothere.c
E
make -j2 --no-print-directory && ./main && make --no-print-directory bad 2>&1 || echo "make: $?"
sha256sum main.o lib.o main shared.so
"""

NODE_WORK = r"""
const fs = require('fs'), cp = require('child_process'), net = require('net');
const {Worker} = require('worker_threads');
fs.writeFileSync('x', 'hello'.repeat(10000));
console.log(fs.readFileSync('x').length, fs.readdirSync('.').length);
console.log(cp.execFileSync('ls', ['/proc/self/fd']).toString().split('\n').length);
const w = new Worker("require('worker_threads').parentPort.postMessage(6*7)", {eval: true});
w.on('message', m => console.log('worker', m));
w.on('exit', () => {
  const s = net.createServer(c => c.end('bye')).listen(0, '127.0.0.1', () => {
    let left = 20;
    for (let i = 0; i < 20; i++)
      net.connect(s.address().port, '127.0.0.1').on('data', d => {
        if (--left === 0) { console.log(String(d)); s.close(); } });
  });
});
fs.promises.open('x').then(async f => { console.log((await f.stat()).size); await f.close(); });
let n = 0;
for (let i = 0; i < 300; i++)
  fs.open('x', 'r', (e, fd) => fs.close(fd, () => { if (++n === 300) console.log('300 files'); }));
"""

PAGE = "<title>t</title><canvas id=c></canvas><p id=p></p><script>let s=0;for(let i=0;i<1e5;i++)s+=i;" \
       "document.getElementById('p').textContent=s</script>"


def outcomes(text):
    """Test -> result, from what regrtest -v prints; everything else of it is times and pids."""
    lines = re.findall(r"^(test\w* \([\w.]+\)).*? \.\.\. (ok|FAIL|ERROR|skipped .*|expected failure)$",
                       text, re.MULTILINE)
    # Some tests print between their name and their result.
    total = re.findall(r"^(?:Total tests: .*|Result: .*|Ran \d+ tests?|OK.*|FAILED.*)", text, re.MULTILINE)
    return sorted(set(lines)), [re.sub(r" in .*", "", line) for line in total]


def any_order(text):
    return "\n".join(sorted(text.splitlines()))


def python_with_tests():
    for python in (sys.executable, "/usr/bin/python3"):
        if os.path.exists(python):
            done = subprocess.run([python, "-c", "import test.test_mmap"], check=False,
                                  stderr=subprocess.DEVNULL)
            if done.returncode == 0:
                return python
    return None


class Case:
    def __init__(self, name, command, long=False, follow=True, normal=None, needs=None, timeout=300):
        self.name, self.command, self.long, self.follow = name, command, long, follow
        self.normal = normal or (lambda text: text)
        self.needs = needs or (command and shutil.which(command[0]) and "")
        if command is None or self.needs is None:
            self.needs = self.needs or f"{name.split()[0]} is not installed"
        self.timeout = timeout


def cases():
    python = python_with_tests()
    interpreter = sys.executable
    # Children are followed by what the environment carries to them: that much shows.
    yield Case("python", [interpreter, "-u", "-I", "work.py"],
               normal=lambda text: text.replace("['BOXLEDGER_OPTIONS', 'LD_PRELOAD']", "[]"))
    yield Case("python alone", [interpreter, "-u", "-I", "work.py"], follow=False)
    yield Case("git", shutil.which("git") and ["bash", "-c", GIT_WORK])
    yield Case("gcc and make", shutil.which("make") and shutil.which("gcc") and ["bash", "-c", C_WORK])
    yield Case("node", shutil.which("node") and ["node", "-e", NODE_WORK],
               normal=any_order)
    for name, long in (("test_mmap", False), ("test_os", False), ("test_threading", True),
                       ("test_subprocess", True), ("test_socket", True)):
        # A virtual machine may have a vsock that leads nowhere: that test waits for ever, bare too.
        # The other wants two looks at the clock within 50 ms.
        yield Case(f"python {name}", python and [python, "-m", "test", "-v", "-i", "*VSOCK*", "-i", "*utime_current*", name],
                   long=long, follow=False, normal=outcomes, timeout=900,
                   needs=None if python else "no python3 with its test package")
    yield Case("this tree", ["bash", "-c", f"'{SOURCE}/configure' -q >/dev/null && make -s -j2 &&"
               " for o in src/*.o src/*/*.o; do nm $o; done"]
               if os.path.exists(f"{SOURCE}/configure") else None, long=True, timeout=900, normal=any_order)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    for follow in (False, True):
        yield Case("chromium" + " and its children" * follow,
                   chromium and [chromium, "--headless", "--no-sandbox", "--disable-gpu",
                                 "--user-data-dir=profile", "--dump-dom", "page.html"],
                   long=True, follow=follow, timeout=90)


def run(case, prefix, report):
    """Status and output of the case in a directory that is the same each time."""
    work = os.path.join(run.directory, "work")
    os.mkdir(work)
    with open(os.path.join(work, "work.py"), "w") as f:
        f.write(PYTHON_WORK)
    with open(os.path.join(work, "page.html"), "w") as f:
        f.write(PAGE)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": work,
        "LANG": "C.UTF-8",
        "TMPDIR": work,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "init.defaultBranch",
        "GIT_CONFIG_VALUE_0": "master",
        **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "N"), ("EMAIL", "e@example.org"), ("DATE", "@1700000000 +0000"))},
    }
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        # Files, not pipes: what a case leaves running must not keep us waiting.
        process = subprocess.Popen([*prefix, *case.command], cwd=work, env=environment,
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   start_new_session=True)
        try:
            status = process.wait(case.timeout)
        except subprocess.TimeoutExpired:
            status = "timeout"
        try:
            os.killpg(process.pid, signal.SIGKILL)  # the rest of it, if anything is left
        except ProcessLookupError:
            pass
        process.wait()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    result = status, *texts
    shutil.rmtree(work, ignore_errors=True)
    return result


def noise(case, text):
    if case.name.startswith("chromium"):  # its log lines: [pid:tid:date:LEVEL:file] ...
        text = "\n".join(l for l in text.splitlines() if not re.match(r"\[\d+:\d+:", l))
        text = re.sub(r"\d{6,}", "N", text)  # its start script prints what memory is free
    return re.sub(r"0x[0-9a-f]{6,}", "0x...", text)


def compare(case):
    """None, or how the two differ."""
    report = os.path.join(run.directory, "report")
    prefix = [COMMAND, "run", *(["--follow"] if case.follow else []), f"--report={report}", "--live", "--"]
    bare = run(case, [], report)
    shim = run(case, prefix, report)
    if bare[0] == "timeout":
        return f"does not end in {case.timeout} s even without the shim"
    if bare[0] != shim[0]:
        return f"exit {bare[0]} without the shim, {shim[0]} with it\n{tail(bare)}\n--- with:\n{tail(shim)}"
    if not os.path.exists(report) or os.path.getsize(report) == 0:
        return "no report: was the shim there at all?"
    for which in (1, 2):
        if case.normal is outcomes:
            before, after = outcomes(bare[1] + bare[2]), outcomes(shim[1] + shim[2])
            if not before[0]:
                return f"no test results without the shim:\n{tail(bare)}"
        else:
            before, after = (case.normal(noise(case, r[which])) for r in (bare, shim))
        if before != after:
            with tempfile.TemporaryDirectory(dir=run.directory) as directory:
                for name, text in (("without", before), ("with", after)):
                    with open(os.path.join(directory, name), "w") as f:
                        f.write(text if isinstance(text, str) else
                                "\n".join(map(str, text[0] + text[1])) + "\n")
                diff = subprocess.run(["diff", "-U2", "without", "with"], cwd=directory, check=False,
                                      stdout=subprocess.PIPE, text=True)
            return "output differs:\n" + diff.stdout[:6000]
    return None


def tail(result):
    return (result[1] + result[2])[-3000:]


def main():
    wanted = [a for a in sys.argv[1:] if not a.startswith("--")]
    everything = list(cases())
    if "--list" in sys.argv:
        print("\n".join(case.name for case in everything))
        return 0
    ran = failed = 0
    with tempfile.TemporaryDirectory() as directory:
        run.directory = directory
        for case in everything:
            if case.name not in wanted if wanted else case.long and not LONG:
                continue
            if case.needs:
                print(f"{case.name}: skipped: {case.needs}", flush=True)
                continue
            ran += 1
            problem = compare(case)
            failed += problem is not None
            print(f"{case.name}: {'FAILED: ' + problem if problem else 'the same'}", flush=True)
            report = os.path.join(directory, "report")
            if os.path.exists(report):
                os.unlink(report)
    if ran == 0:
        print("skip: none of the programs is installed")
        return 77
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
