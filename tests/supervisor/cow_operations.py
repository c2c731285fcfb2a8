# cow_operations.py BASE SEED COUNT: does COUNT random things to the files below BASE, the same ones
# for each SEED, and prints what each has come to. process_cow_random.sh compares what is printed in a
# copy-on-write directory with what is printed in an ordinary one.
import errno, os, random, stat, subprocess, sys

base, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
dice = random.Random(seed)
# Those that are there at first, and others. Directories of the first kind cannot be moved.
files = ["f0", "f1", "f2", "new0", "new1"]
first_directories, directories = ["d0", "d1", "d2"], ["n0", "n1"]
links = ["l0", "l1", "up", "there", "dangling", "loop"]


def told(text):
    return str(text).replace(base, "BASE").replace(os.path.dirname(base), "ABOVE")


def name():
    return dice.choice(files * 2 + first_directories * 2 + directories + links)


used = []  # the paths of one operation


def path():
    used.append(any_path())
    return used[-1]


def any_path():
    parts = []
    for _ in range(dice.choice([0, 0, 1, 1, 2])):
        parts.append(dice.choice(first_directories + directories + [".", "..", "there", "up"]))
    parts.append(name())
    start = dice.choice(["", "", "", base + "/", base + "/../" + os.path.basename(base) + "/", "./",
                         "/proc/self/cwd/"])
    end = dice.choice([""] * 12 + ["/"])
    whole = os.path.join(start, *parts) + end
    # Never out of the directory that both are in, by which they would differ.
    inside = os.path.normpath(os.path.join(os.getcwd(), whole.replace("/proc/self/cwd", os.getcwd())))
    return whole if inside.startswith(base + "/") else os.path.join(base, "d0", parts[-1])


def status(found):
    kind = stat.S_IFMT(found.st_mode)
    size = found.st_size if kind != stat.S_IFDIR else None
    return oct(found.st_mode), size, found.st_nlink if kind == stat.S_IFREG else None


def read_all(fd):
    return os.read(fd, 1 << 20)


def open_it():
    flags = dice.choice([os.O_RDONLY, os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
    for flag in (os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW, os.O_DIRECTORY):
        if dice.random() < 0.25:
            flags |= flag
    where, mode = path(), dice.choice([0o644, 0o600, 0o777, 0o640])
    if flags & os.O_CREAT and flags & os.O_DIRECTORY:
        flags &= ~os.O_DIRECTORY  # whose meaning depends on the kernel
    fd = os.open(where, flags, mode)
    try:
        found = status(os.fstat(fd))
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            return sorted(os.listdir(fd))
        if flags & os.O_ACCMODE == os.O_RDONLY:
            return found, read_all(fd)
        done = os.write(fd, bytes([65 + dice.randrange(26)]) * dice.randrange(1, 9000))
        return found, done, status(os.fstat(fd))
    finally:
        os.close(fd)


def append():
    with open(path(), "a") as file:
        file.write("more")
    return "appended"


def execute():
    where = os.path.join(dice.choice(["./", base + "/"]), dice.choice(["new0", "new1"]))
    with open(where, "w") as file:
        file.write("#!/bin/sh\necho ran\n")
    os.chmod(where, 0o755)
    return subprocess.run([where], capture_output=True).stdout


def move():
    source, target = path(), path()
    if os.path.isdir(source) and not os.path.islink(source.rstrip("/")):
        source = os.path.join(os.path.dirname(source.rstrip("/")), dice.choice(directories))
    if os.path.isdir(target) and not os.path.isfile(source):
        return "not tried"
    return os.rename(source, target)


operations = [
    (6, open_it),
    (2, append),
    (2, lambda: os.mkdir(path().rstrip("/"), dice.choice([0o755, 0o700, 0o1777]))),
    (1, lambda: os.rmdir(path())),
    (3, lambda: os.unlink(path())),
    (3, move),
    (1, lambda: os.link(path(), path(), follow_symlinks=False)),
    (1, lambda: os.symlink(dice.choice(["f0", "d0/../f1", "d0", base + "/d1", "nowhere"]), path())),
    (1, lambda: told(os.readlink(path()))),
    (3, lambda: status(os.stat(path()))),
    (3, lambda: status(os.lstat(path()))),
    (1, lambda: os.access(path(), dice.choice([os.F_OK, os.R_OK, os.X_OK]))),
    (2, lambda: sorted(os.listdir(path()))),
    (2, lambda: os.chdir(path())),
    (1, lambda: os.chdir(base)),
    (1, lambda: told(os.getcwd())),
    (1, lambda: told(os.path.realpath(path()))),
    (1, lambda: os.truncate(path(), dice.randrange(5000))),
    (1, lambda: os.chmod(path(), dice.choice([0o644, 0o755, 0o777]))),
    (1, lambda: os.utime(path(), (1e9, 1e9))),
    (1, execute),
]
weighted = [operation for weight, operation in operations for _ in range(weight)]

os.chdir(base)
os.umask(0o022)
for number in range(count):
    operation = dice.choice(weighted)
    used.clear()
    try:
        result = operation()
    except OSError as error:
        result = errno.errorcode[error.errno]
    print(number, operation.__name__, told(used), told(result))

# The whole at the end.
for directory, below, names in os.walk(base):
    below.sort()
    for entry in sorted(below + names):
        whole = os.path.join(directory, entry)
        line = [told(whole)]
        try:
            found = os.lstat(whole)
            line.append(status(found))
            if stat.S_ISREG(found.st_mode):
                with open(whole, "rb") as file:
                    line.append(hash(file.read()))
            elif stat.S_ISLNK(found.st_mode):
                line.append(told(os.readlink(whole)))
        except OSError as error:
            line.append(errno.errorcode[error.errno])
        print(*line)
