"""What reads a file's lazy shadow, in all the ways there are: every byte must be the file's.

lazy_shadows.py FILE SECOND EXPECTED OUT CASE

FILE and SECOND are shadows, of which nothing is there when the case begins; EXPECTED has the same
bytes and is none. OUT may be written. It exits with 1 and a reason if anything is wrong.
"""

import ctypes
import fcntl
import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time

FILE, SECOND, EXPECTED, OUT, CASE = sys.argv[1:6]
MIB = 1 << 20
MAP_FIXED, MAP_POPULATE = 0x10, 0x8000
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
MCL_FUTURE = 2
SYS_USERFAULTFD = 323
FAILED = ctypes.c_void_p(-1).value

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mremap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 2, ctypes.c_int, ctypes.c_void_p]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
with open(EXPECTED, "rb") as expected_file:
    expected = expected_file.read()
SIZE = len(expected)


def reason():
    return os.strerror(ctypes.get_errno())


def open_it(name=FILE):
    return os.open(name, os.O_RDONLY)


def map_it(fd, flags=mmap.MAP_PRIVATE, protection=mmap.PROT_READ, size=SIZE, at=None, offset=0):
    start = libc.mmap(at, size, protection, flags, fd, offset)
    assert start != FAILED, f"mmap: {reason()}"
    return start


def check(start, offset, count):
    """Compares mapped bytes, where start is the mapping of the file's own start."""
    got = ctypes.string_at(start + offset, count)
    assert got == expected[offset : offset + count], f"wrong bytes from {offset} on"


def check_some(start, times=10, count=5000):
    for _ in range(times):
        check(start, random.randrange(SIZE - count), count)


def is_caught():
    """Whether faults are: then most of a copy that is mapped is not there."""
    return os.environ["CAUGHT"] == "1"


def check_few(fd):
    filled = os.fstat(fd).st_blocks * 512
    assert (filled < SIZE // 2) == is_caught(), f"{filled} bytes are there"


def in_threads(work):
    wrong = []

    def run():
        try:
            work()
        except AssertionError as error:
            wrong.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def faults():
    """Private and shared mappings, in random order; no descriptor of boxsup's stays."""
    fd = open_it()
    for flags in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
        start = map_it(fd, flags)
        check_some(start, times=6)
    check_few(fd)
    descriptors = os.listdir("/proc/self/fd")  # the last is the list's own
    assert len(descriptors) == 5, descriptors
    check(start, 0, SIZE)


def kernel():
    """System calls that touch what is missing, and a path that boxsup reads there."""
    start = map_it(open_it())
    one, other = os.pipe()
    assert libc.write(other, ctypes.c_void_p(start + 5 * MIB), 100) == 100, reason()
    assert os.read(one, 100) == expected[5 * MIB : 5 * MIB + 100]
    with open("/dev/null", "wb", 0) as null:
        assert null.write((ctypes.c_char * 300000).from_address(start + MIB)) == 300000
    assert libc.open(ctypes.c_void_p(start + 6 * MIB), os.O_RDONLY) == -1


def threads():
    start = map_it(open_it())
    in_threads(lambda: check_some(start, times=100))


def many():
    """Threads that map, read and unmap."""
    fds = [open_it(), open_it(SECOND)]

    def work():
        for _ in range(20):
            start = map_it(random.choice(fds))
            check_some(start, times=2)
            libc.munmap(start, SIZE)

    in_threads(work)


def writes():
    """To a private mapping: the copy is as before."""
    fd = open_it()
    start = map_it(fd, protection=mmap.PROT_READ | mmap.PROT_WRITE)
    ctypes.memmove(start + 700000, b"changed", 7)
    around = expected[699990:700000] + b"changed" + expected[700007:700017]
    assert ctypes.string_at(start + 699990, 27) == around
    check(map_it(fd), 699990, 27)


def forks():
    """The child has its parent's mappings, and new ones; so has the parent afterwards."""
    start = map_it(open_it())
    check(start, 0, 100)
    pid = os.fork()
    if pid == 0:
        try:
            check(start, 0, SIZE)
            check(map_it(open_it(SECOND)), 4 * MIB, 100)
            os._exit(9)
        finally:
            os._exit(1)
    check(map_it(open_it(SECOND)), 3 * MIB, 100)
    assert os.waitpid(pid, 0)[1] == 9 << 8


def forks_at_once():
    """Threads that map while others fork."""
    fds = [open_it(), open_it(SECOND)]

    def work():
        for _ in range(5):
            start = map_it(random.choice(fds))
            pid = os.fork()
            if pid == 0:
                try:
                    check_some(start, times=2)
                    os._exit(9)
                finally:
                    os._exit(1)
            check_some(start, times=2)
            assert os.waitpid(pid, 0)[1] == 9 << 8
            libc.munmap(start, SIZE)

    in_threads(work)


def others_fork():
    """What has nothing to do with the mapping."""
    fd = open_it()
    start = map_it(fd)
    check(start, 0, 100)
    subprocess.run(["sh", "-c", "for i in 1 2 3; do (exit 0); done"], check=True)
    check_few(fd)


def children():
    """Other programs, more than boxsup watches at once, map it while this one does."""
    start = map_it(open_it())
    for _ in range(36):
        code = (
            "import mmap, os, sys; m = mmap.mmap(os.open(sys.argv[1], 0), 0, mmap.MAP_PRIVATE,"
            "mmap.PROT_READ); sys.stdout.buffer.write(m[3000000:3000100])"
        )
        command = [sys.executable, "-S", "-c", code, SECOND]
        assert subprocess.check_output(command) == expected[3000000:3000100]
    check(start, 2 * MIB, 100)


def execs():
    map_it(open_it())
    os.execv(sys.executable, [sys.executable, *sys.argv[:5], "faults"])


def moves():
    """A mapping that moves, and grows."""
    start = map_it(open_it(), size=MIB)
    check(start, 0, 100)
    start = libc.mremap(start, MIB, MIB, MREMAP_MAYMOVE, None)
    room = map_it(-1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 0, 2 * SIZE)
    moved = libc.mremap(start, MIB, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, room)
    assert moved == room, f"mremap: {reason()}"
    check(moved, 700000, 100)
    check(moved, 7 * MIB, 100)


def fixed():
    """Over what is there, in pieces, in and out of order."""
    fd = open_it()
    start = map_it(-1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 0, SIZE)
    for flags, piece in (
        (mmap.MAP_SHARED, 5),
        (mmap.MAP_PRIVATE, 0),
        (mmap.MAP_PRIVATE, 3),
        (mmap.MAP_SHARED, 0),
    ):
        offset = piece * MIB
        map_it(fd, flags | MAP_FIXED, size=SIZE - offset, at=start + offset, offset=offset)
        check(start, random.randrange(offset, SIZE - 100), 100)
    check_some(start)


def at_once():
    """Pages that are wanted with the mapping."""
    check(map_it(open_it(), mmap.MAP_PRIVATE | MAP_POPULATE), 0, SIZE)
    if libc.mlockall(MCL_FUTURE) == 0:
        start = libc.mmap(None, MIB, mmap.PROT_READ, mmap.MAP_PRIVATE, open_it(SECOND), 0)
        if start != FAILED:
            check(start, 0, MIB)


def calls():
    fd = open_it()
    assert os.pread(fd, 5000, 1234567) == expected[1234567:1239567]
    assert os.pread(fd, 5000, SIZE - 100) == expected[-100:]
    assert os.pread(fd, 5000, SIZE + 5) == b""
    filled = os.fstat(fd).st_blocks * 512
    assert filled < SIZE // 2, f"{filled} bytes are there"
    vector = bytearray(100)
    assert os.preadv(fd, [vector], 3 * MIB) == 100 and vector == expected[3 * MIB : 3 * MIB + 100]
    second = open_it(SECOND)
    in_threads(lambda: os.read(second, 100000))  # they share an offset
    assert os.read(second, SIZE) == expected[800000:]


def sends():
    out = os.open(OUT, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    assert os.sendfile(out, open_it(), 0, 100000) == 100000
    assert os.pread(out, 100000, 0) == expected[:100000]
    one, other = os.pipe()
    assert os.splice(open_it(SECOND), other, 4000, offset_src=MIB) == 4000
    assert os.read(one, 4000) == expected[MIB : MIB + 4000]


def holes():
    """What has not been filled is no hole."""
    fd = open_it()
    assert os.lseek(fd, 0, os.SEEK_DATA) == 0
    assert os.lseek(fd, 0, os.SEEK_HOLE) == SIZE
    assert subprocess.check_output(["cat", SECOND]) == expected


def refused():
    """It is nobody's to write to, before all of it is there and after."""

    def check_refused(what):
        try:
            what()
        except OSError:
            return
        sys.exit(f"{what.__code__.co_consts} is not refused")

    fd = open_it()
    start = map_it(fd)
    for seals in (fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK, 0xF):
        check_refused(lambda: os.write(fd, b"x"))
        check_refused(lambda: os.ftruncate(fd, 1))
        check_refused(lambda: os.write(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), b"x"))
        check_refused(lambda: mmap.mmap(fd, 0, access=mmap.ACCESS_WRITE))
        check_refused(lambda: os.fchmod(fd, 0o777) or os.execve(fd, ["x"], {}))
        check_refused(lambda: os.open("/dev/userfaultfd", os.O_RDWR))
        assert libc.syscall(SYS_USERFAULTFD, 1) == -1, "userfaultfd is permitted"
        found = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        assert found & seals == seals, f"seals {found}"
        check(start, 0, SIZE)  # now all of it is there


def signals():
    """Handlers that run meanwhile: a call is neither lost nor done twice."""
    caught = []
    signal.signal(signal.SIGALRM, lambda *_: caught.append(0))
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    fd = open_it()
    starts = set()
    for _ in range(100):
        start = map_it(fd)
        starts.add(start)
        check_some(start, times=1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    with open("/proc/self/maps", encoding="ascii") as maps:
        mapped = sum(
            (int(high, 16) - int(low, 16)) // SIZE
            for low, high in (
                line.split()[0].split("-") for line in maps if "boxsup-shadow" in line
            )
        )
    assert len(starts) == 100 and mapped == 100, f"{len(starts)} starts, {mapped} mappings"
    assert caught


def changed():
    """The file changes: what has been read stays, the rest is an error, never other bytes."""
    fd = open_it()
    start = map_it(fd)
    check(start, MIB, 100)
    with open(OUT, "w", encoding="ascii") as out:
        out.write("opened\n")
    while os.path.exists(OUT):
        time.sleep(0.01)
    check(start, MIB, 100)
    assert os.pread(fd, 100, MIB) == expected[MIB : MIB + 100]
    if not is_caught():
        check(start, 0, SIZE)
        return
    for call in (
        lambda: os.pread(fd, 100, 5 * MIB),
        lambda: os.read(fd, 100),
        lambda: os.lseek(fd, 0, os.SEEK_DATA),
        os.fork,
    ):
        try:
            call()
            sys.exit("what is lost can be read")
        except OSError as error:
            assert error.strerror == "Stale file handle", error
    null = os.open("/dev/null", os.O_WRONLY)
    one, other = os.pipe()
    assert null >= 0 and libc.write(other, ctypes.c_void_p(start + 6 * MIB), 100) == -1
    signal.signal(signal.SIGBUS, signal.SIG_DFL)
    with open(OUT, "w", encoding="ascii") as out:
        out.write("lost\n")
    ctypes.string_at(start + 5 * MIB, 1)
    sys.exit("what is lost can be touched")


random.seed(CASE)
globals()[CASE]()
