"""Where a broker's data lies: a plain folder, or a real file system on a disk that can lose power.

`CutDisk` is a disk image with a volatile write cache (../shared/tools/vdisk.c, served over FUSE) under a loop
device that carries ext4 or XFS. `cut` switches the power off at once; only then may the broker be killed.
`SmallDisk` is a small ext4 on a loop device, to run out of space on. Both need root, FUSE and loop devices.
"""
import os, shutil, subprocess, time

from broker import CACHE, ROOT

SHARED = os.environ.get("TIDELOG_SHARED") or os.path.join(ROOT, "../shared")


def missing():
    """Why no such disk can be made here, or an empty string."""
    if os.geteuid() != 0:
        return "needs root"
    for path in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(path):
            return f"needs {path}"
    for tool in ("losetup", "mkfs.ext4", "mkfs.xfs", "gcc", "pkg-config"):
        if not shutil.which(tool):
            return f"needs {tool}"
    if not os.path.exists(os.path.join(SHARED, "tools/vdisk.c")):
        return "needs ../shared/tools/vdisk.c"
    return ""


def run(*command, timeout=60):
    done = subprocess.run(command, timeout=timeout, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def make_image(path, fs, megabytes):
    with open(path, "wb") as f:
        f.truncate(megabytes << 20)
    run(*(["mkfs.ext4", "-qF"] if fs == "ext4" else ["mkfs.xfs", "-qf", "-s", "size=4096"]), path)


def unmount(path, seconds=20):
    """Unmounts; after a kill -9 the rings of the dead process keep the mount busy for a moment."""
    end = time.monotonic() + seconds
    while subprocess.run(["umount", path], stderr=subprocess.DEVNULL).returncode != 0:
        if time.monotonic() > end:
            raise RuntimeError(f"{path} stays busy for {seconds} s after the kill")
        time.sleep(0.01)


class FileSystemLost(Exception):
    """The cut tore the file system's own metadata, so that it cannot be mounted: says nothing about the broker."""


class Folder:
    """A plain folder: survives a kill -9, knows no power cut."""

    def __init__(self, work):
        self.data = os.path.join(work, "data")
        os.makedirs(self.data, exist_ok=True)

    def strike(self, broker, random, cut, is_slow):
        """kill -9, whatever the cut."""
        broker.kill()

    def close(self):
        pass


class CutDisk:
    def __init__(self, work, fs, megabytes):
        self.work, self.mounted, self.loop = work, False, None
        self.back, self.served, self.at = (os.path.join(work, n) for n in ("back.img", "served", "fs"))
        self.data = os.path.join(self.at, "data")
        for folder in (self.served, self.at):
            os.makedirs(folder, exist_ok=True)
        make_image(self.back, fs, megabytes)
        self.server = subprocess.Popen([build_vdisk(), self.back, self.served, "-f", "-o", "allow_other"],
                                       stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not os.path.exists(os.path.join(self.served, "disk")):
            if time.monotonic() > end or self.server.poll() is not None:
                raise RuntimeError("vdisk did not come up")
            time.sleep(0.02)
        self._attach()
        os.makedirs(self.data, exist_ok=True)
        run("sync", "-f", self.data)

    def control(self, words):
        with open(os.path.join(self.served, "ctl"), "w") as f:
            f.write(words + "\n")

    def counters(self):
        with open(os.path.join(self.served, "ctl")) as f:
            return dict(word.split("=") for word in f.read().split())

    def cut(self, share, seed, mode, sector):
        """Power off now; mode 0 keeps each unflushed sector with chance `share`, 1 the earliest, 2 the latest writes."""
        self.control(f"cut {share} {seed} {mode} {sector}")

    def strike(self, broker, random, cut, is_slow):
        """Cuts the power under the broker and brings it back; `cut` is (share, mode, sector) of :meth:`cut`."""
        if is_slow:                                # more is written and not yet flushed when the cut comes
            self.control("delay 4000")
            time.sleep(random.uniform(0.03, 0.12))
        share, mode, sector = cut
        self.cut(share, random.randrange(1 << 30), mode, sector)    # before the kill: a cut takes no farewell
        broker.kill()
        self.control("delay 0")
        self.power_on()

    def power_on(self):
        """Call after the broker is dead: the file system is unmounted, the disk comes back, its journal is replayed."""
        self._detach()
        self.control("on")
        self._attach()

    def _attach(self):
        self.loop = run("losetup", "-f", "--show", os.path.join(self.served, "disk"))
        try:
            run("mount", self.loop, self.at)
        except RuntimeError as e:
            raise FileSystemLost(str(e)) from e
        self.mounted = True

    def _detach(self):
        if self.mounted:
            unmount(self.at)
            self.mounted = False
        if self.loop:
            run("losetup", "-d", self.loop)
            self.loop = None

    def close(self):
        try:
            self._detach()
        finally:
            subprocess.run(["fusermount3", "-u", self.served], stderr=subprocess.DEVNULL)
            try:
                self.server.wait(10)
            except subprocess.TimeoutExpired:
                self.server.kill()
                subprocess.run(["umount", "-l", self.served], stderr=subprocess.DEVNULL)


class SmallDisk:
    def __init__(self, work, megabytes):
        self.at, self.image = os.path.join(work, "small"), os.path.join(work, "small.img")
        self.data = os.path.join(self.at, "data")
        os.makedirs(self.at, exist_ok=True)
        make_image(self.image, "ext4", megabytes)
        self.loop = run("losetup", "-f", "--show", self.image)
        run("mount", self.loop, self.at)
        os.makedirs(self.data, exist_ok=True)

    def free_bytes(self):
        s = os.statvfs(self.at)
        return s.f_bavail * s.f_frsize

    def close(self):
        unmount(self.at)
        run("losetup", "-d", self.loop)


def build_vdisk():
    """The compiled vdisk, built once per version of its source."""
    source, built = os.path.join(SHARED, "tools/vdisk.c"), os.path.join(CACHE, "vdisk")
    if not os.path.exists(built) or os.path.getmtime(built) < os.path.getmtime(source):
        os.makedirs(CACHE, exist_ok=True)
        flags = run("pkg-config", "--cflags", "--libs", "fuse3").split()
        run("gcc", "-O2", "-w", source, "-o", built, *flags, timeout=120)
    return built
