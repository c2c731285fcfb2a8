"""command_surroundings.py: `boxledger run` where its surroundings are tight: a stderr that somebody
made non-blocking and that is full, and fewer descriptors than it follows children.
"""
import fcntl
import os
import resource
import subprocess
import sys
import threading
import time

build = os.environ["BOXLEDGER_BUILD"]
shim = os.environ.get("BOXLEDGER_SHIM", os.path.join(build, "libboxledger.so"))
boxledger = os.environ.get("BOXLEDGER_COMMAND", os.path.join(build, "boxledger"))
environment = dict(os.environ, BOXLEDGER_SHIM=shim)
SECONDS = 100
CHILDREN = 14


def fail(message):
    print("FAIL: " + message)
    sys.exit(1)


def drain(fd, got):
    while True:
        piece = os.read(fd, 65536)
        if not piece:
            return
        got.append(piece)
        time.sleep(0.01)


def full_and_non_blocking():
    """Whoever reads takes its time; nothing of the report may be lost."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETFL, os.O_NONBLOCK)
    try:
        while True:
            os.write(write_end, b"." * 4096)
    except BlockingIOError:
        pass
    with subprocess.Popen([boxledger, "run", "--live", "--", "true"], stderr=write_end,
                          env=environment) as command:
        os.close(write_end)
        time.sleep(0.3)
        got = []
        reader = threading.Thread(target=drain, args=(read_end, got))
        reader.start()
        status = command.wait(timeout=SECONDS)
    reader.join(timeout=SECONDS)
    os.close(read_end)
    said = b"".join(got).lstrip(b".").decode()
    if status != 0:
        fail(f"into a full pipe: status {status}: {said}")
    if not said.startswith("=====") or "SUMMARY: boxledger: " not in said.splitlines()[-1]:
        fail(f"into a full pipe: not the whole report: {said}")


def more_children_than_descriptors():
    """The command has as many as the hard limit allows, the program what it had."""
    few, most = 24, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < 4 * CHILDREN:
        print(f"skip: the hard limit of descriptors is {most}")
        sys.exit(77)
    sleepers = "sleep 0.6 & " * CHILDREN
    ran = subprocess.run([boxledger, "run", "--follow", "--", "sh", "-c",
                          sleepers + "wait; ulimit -n"],
                         env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, check=False, timeout=SECONDS,
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE,
                                                               (few, most)))
    if ran.returncode != 0 or ran.stdout != f"{few}\n":
        fail(f"with {few} descriptors: status {ran.returncode}, the program has {ran.stdout}")
    if ran.stderr.count("exited with status 0") != CHILDREN + 1 or "not verified" in ran.stderr:
        fail(f"with {few} descriptors: {ran.stderr}")


full_and_non_blocking()
more_children_than_descriptors()
