"""A Debian of its own with systemd as process 1, in namespaces that end with it."""

import os
import pathlib
import shutil
import subprocess
import time

HERE = pathlib.Path(__file__).parent
NAMESPACES = ["--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net"]
PACKAGES = "systemd,systemd-sysv,dbus,ca-certificates"


def tree(suite, folder):
    """The unpacked Debian, made once."""
    made = folder / suite
    if (made / ".complete").exists():
        return made
    shutil.rmtree(made, ignore_errors=True)
    print(f"unpacking Debian {suite} into {made}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    mirror = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
    subprocess.run(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={PACKAGES}", suite, made, mirror],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    (made / ".complete").touch()
    return made


def what_forbids_it():
    """Why this machine lets nobody start a systemd of their own; empty where it does."""
    if os.geteuid() != 0:
        return "only root may"
    mounts = "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && mkdir /mnt/c && mount -t cgroup2 cgroup2 /mnt/c"
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "--fork", "--kill-child", "sh", "-c", mounts],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return "" if tried.returncode == 0 else tried.stdout.strip() or "no namespaces"


def until(holds, seconds, what):
    """Waits for something, and is not patient for ever."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return found


class House:
    """A booted Debian. Its processes are seen from outside, and end with it."""

    def __init__(self, suite, out):
        layer = out / f"layer-{suite}"
        layer.mkdir(parents=True, exist_ok=True)
        made = tree(suite, pathlib.Path("target/systemd"))
        self.log = (out / f"boot-{suite}.log").open("w")
        self.outer = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--kill-child", HERE / "boot", made, layer],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        try:
            self.first = until(self.process_1, 20, "systemd starts")
            until(lambda: self.ask("systemctl", "is-system-running") in ("running", "degraded"), 60, "systemd is up")
        except BaseException:
            self.close()
            raise

    def process_1(self):
        assert self.outer.poll() is None, "systemd cannot be started"
        children = pathlib.Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
        for child in children:
            if "systemd" in os.path.basename(os.readlink(f"/proc/{child}/exe")):
                return int(child)
        return None

    def command(self, *words):
        inside = ["nsenter", f"--target={self.first}", *NAMESPACES, f"--root=/proc/{self.first}/root", f"--wd=/proc/{self.first}/root"]
        return [*inside, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=", *map(str, words)]

    def run(self, *words, seconds=60):
        """Runs a program inside; gives exit code and what it said."""
        done = subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        return done.returncode, done.stdout.strip()

    def ask(self, *words):
        return self.run(*words)[1]

    def must(self, *words, seconds=60):
        code, said = self.run(*words, seconds=seconds)
        assert code == 0, f"{' '.join(map(str, words))} ends with {code}: {said}"
        return said

    def start(self, *words):
        """A program inside that goes on; its words are read at its end."""
        return subprocess.Popen(
            self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def path(self, inside):
        return pathlib.Path(f"/proc/{self.first}/root/{inside.lstrip('/')}")

    def show(self, key, unit="wabridge"):
        return self.ask("systemctl", "show", "--value", "--property", key, unit)

    def journal(self, *words):
        return self.ask("journalctl", "--quiet", "--output=cat", "--unit=wabridge", *words)

    def close(self):
        self.outer.kill()
        self.outer.wait()
        self.log.close()
