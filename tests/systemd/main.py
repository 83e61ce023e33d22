"""The package in a Debian of its own, under a real systemd; the daemon with a notify socket, which needs neither.

Every check is a function below, run in its order; a failed one does not stop the others. The last line has the sums.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback

from house import House, until, what_forbids_it
from stuck import Stuck

OUT = pathlib.Path("target/tests/systemd").absolute()
WABRIDGE = os.environ.get("WABRIDGE", "target/release/wabridge")
USER, BUSINESS, PASSWORD = "+12195550714", "+12145551869", "meta-generated-secret"
OURS, METAS, PBXS = "127.86.7.1", "127.86.7.2", "127.86.7.3"


def configuration(folder, password, ports="45000-45999"):
    return f"""
[meta]
listen = "{OURS}:5061"
hostname = "bridge.example.com"
certificate = "{folder}/fullchain.pem"
key = "{folder}/privkey.pem"
address = "{METAS}"
ca_file = "{folder}/ca.pem"
allowed_sources = ["{METAS}/32"]
[[number]]
number = "{BUSINESS}"
{password}
keying = "sdes"
[[pbx]]
name = "main"
address = "{PBXS}:5060"
[pbx_listener]
udp = "{OURS}:5070"
tcp = "off"
[calls]
max = 100
[admin]
listen = "{OURS}:9091"
[media]
meta_address = "{OURS}"
pbx_address = "{OURS}"
ports = "{ports}"
workers = 2
"""


def answering(program, folder):
    """The PBX's end, whose telephone answers and does not hang up."""
    return [program, "sim", "pbx", "--listen", f"{PBXS}:5060", "--bridge", f"{OURS}:5070", "answer", "--calls", "1"]


def calling(program, folder, *how):
    """A WhatsApp user's end."""
    files = ["--ca", f"{folder}/ca.pem", "--cert", f"{folder}/meta.pem", "--key", f"{folder}/meta.key"]
    files += ["--password-file", f"{folder}/password"]
    ends = ["--listen", f"{METAS}:5061", "--bridge", f"{OURS}:5061", "--hostname", "bridge.example.com", "--keying", "sdes"]
    return [program, "sim", "meta", *ends, *files, "call", "--to", BUSINESS, "--from", USER, "--json", *how]


class Notified:
    """Plays the service manager for a daemon on this machine: a socket that hears, and signals."""

    def __init__(self, watchdog):
        self.folder = OUT / "notify"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        make_files(self.folder)
        self.file = self.folder / "wabridge.toml"
        self.file.write_text(configuration(self.folder, 'password_file = "password"'))
        # A socket's path may have 107 characters at most, which a deep clone exceeds.
        self.path = f"/tmp/wabridge-notify-{os.getpid()}"
        pathlib.Path(self.path).unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        environment = {**os.environ, "NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": str(watchdog * 1_000_000)}
        environment.pop("WATCHDOG_PID", None)
        self.daemon = subprocess.Popen(
            [WABRIDGE, "run", "-c", self.file],
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=(self.folder / "daemon.log").open("w"),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.daemon.poll() is None:
            self.daemon.kill()
        self.daemon.wait()
        self.socket.close()
        os.unlink(self.path)

    def hears(self, word, seconds=20):
        """The next message that has this word, as lines."""
        end = time.monotonic() + seconds
        while True:
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                lines = self.socket.recv(65536).decode().splitlines()
            except TimeoutError:
                raise AssertionError(f"{word} was not heard within {seconds} s") from None
            if any(line.startswith(word) for line in lines):
                return lines


def make_files(folder):
    subprocess.run(["certs/make", folder, "bridge.example.com"], check=True, stdout=subprocess.DEVNULL)
    (folder / "password").write_text(PASSWORD)


# ---- with a notify socket --------------------------------------------------------------------------------------------


def a_manager_hears_of_start_reload_stuck_worker_and_stop():
    with Notified(watchdog=2) as manager:
        assert "READY=1" in manager.hears("READY=1")
        manager.hears("WATCHDOG=1")

        manager.daemon.send_signal(signal.SIGHUP)
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        lines = manager.hears("RELOADING=1")
        (told,) = (int(line.split("=")[1]) for line in lines if line.startswith("MONOTONIC_USEC="))
        assert abs(told - before) < 10_000_000, "MONOTONIC_USEC is of this clock"
        assert "last reload" not in str(manager.hears("READY=1"))

        good = manager.file.read_text()
        manager.file.write_text(good.replace("workers", "wokers"))
        manager.daemon.send_signal(signal.SIGHUP)
        manager.hears("RELOADING=1")
        lines = str(manager.hears("READY=1"))
        assert "the last reload changed nothing" in lines and "wokers" in lines, lines
        manager.file.write_text(good)

        with Stuck(manager.daemon.pid, "media-1"):
            time.sleep(2)  # what was said before it was stuck
            manager.socket.setblocking(False)
            try:
                while manager.socket.recv(65536):
                    pass
            except BlockingIOError:
                pass
            try:
                manager.hears("WATCHDOG=1", seconds=3)
            except AssertionError:
                pass
            else:
                raise AssertionError("the watchdog is fed while a media worker is stuck")
        manager.hears("WATCHDOG=1")

        manager.daemon.send_signal(signal.SIGTERM)
        lines = manager.hears("STOPPING=1")
        assert "EXTEND_TIMEOUT_USEC=330000000" in lines, lines
        assert manager.daemon.wait(timeout=10) == 0


# ---- in a Debian of its own ------------------------------------------------------------------------------------------


def install(house, deb):
    shutil.copy(deb, house.path("/root/wabridge.deb"))
    house.must("dpkg", "--install", "/root/wabridge.deb")


def installing_makes_an_account_and_starts_nothing(house, deb):
    install(house, deb)
    assert house.ask("systemctl", "is-enabled", "wabridge") == "enabled"
    assert house.show("ActiveState") == "inactive"
    said = house.must("stat", "--format=%n %a %U %G", "/etc/wabridge/wabridge.toml", "/etc/wabridge/credentials")
    assert said.split("\n") == ["/etc/wabridge/wabridge.toml 640 root wabridge", "/etc/wabridge/credentials 700 root root"], said
    assert re.fullmatch(r"wabridge \S+ \(.+\)", house.must("wabridge", "-V"))
    for file in (
        "bash-completion/completions/wabridge",
        "zsh/vendor-completions/_wabridge",
        "fish/vendor_completions.d/wabridge.fish",
        "man/man1/wabridge-run.1.gz",
    ):
        # minbase leaves manual pages out only where dpkg is told to.
        assert house.path(f"/usr/share/{file}").exists(), file


def configure(house):
    folder = house.path("/etc/wabridge")
    make_files(folder)
    house.must("chgrp", "wabridge", "/etc/wabridge/privkey.pem")
    house.must("chmod", "640", "/etc/wabridge/privkey.pem", "/etc/wabridge/fullchain.pem", "/etc/wabridge/ca.pem")
    house.must("chgrp", "wabridge", "/etc/wabridge/fullchain.pem", "/etc/wabridge/ca.pem")
    # The password is a credential: only root can read it.
    (folder / "credentials/password").write_text(PASSWORD)
    house.must("chmod", "600", "/etc/wabridge/credentials/password")
    text = configuration("/etc/wabridge", 'password_credential = "wabridge_password"')
    (folder / "wabridge.toml").write_text(text)


def a_wrong_file_is_in_the_status_and_no_hindrance_once_it_is_mended(house):
    configure(house)
    file = house.path("/etc/wabridge/wabridge.toml")
    good = file.read_text()
    file.write_text(good.replace("workers", "wokers"))
    try:
        # More often than systemd lets a service fail by default: five times in ten seconds.
        for _ in range(6):
            code, _ = house.run("systemctl", "start", "wabridge")
            assert code != 0
            assert "not started: " in house.show("StatusText") and "wokers" in house.show("StatusText")
    finally:
        file.write_text(good)
    house.must("systemctl", "start", "wabridge")
    house.must("systemctl", "stop", "wabridge")


def it_starts_when_it_is_configured_and_says_so(house):
    configure(house)
    house.must("systemctl", "start", "wabridge")
    assert house.show("ActiveState") == "active"
    assert house.show("StatusText") == "running: 0 calls are up"
    version = int(house.must("systemctl", "--version").split()[1])
    expected = "notify-reload" if version >= 253 else "notify"
    assert house.show("Type") == expected, house.show("Type")
    process = house.show("MainPID")
    status = house.must("cat", f"/proc/{process}/status")
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M) and re.search(r"^CapEff:\s+0+$", status, re.M), status
    print("        systemd", version, "as process 1, Type =", expected, flush=True)


def a_valid_file_is_taken_over_by_systemctl_reload(house):
    read_anew = "the configuration was read anew"
    before = house.journal().count(read_anew)
    house.must("systemctl", "reload", "wabridge")
    until(lambda: house.journal().count(read_anew) == before + 1, 5, "one reload, once")
    file = house.path("/etc/wabridge/wabridge.toml")
    file.write_text(file.read_text().replace("[calls]", "[calls]\nring_timeout = 54"))
    house.must("systemctl", "reload", "wabridge")
    until(lambda: "calls.ring_timeout" in house.journal(), 5, "the key that changed is named")
    assert house.show("StatusText") == "running: 0 calls are up"


def an_invalid_file_changes_nothing_and_fails_systemctl_reload(house):
    file = house.path("/etc/wabridge/wabridge.toml")
    good, process = file.read_text(), house.show("MainPID")
    try:
        file.write_text(good.replace("workers", "wokers"))
        code, said = house.run("systemctl", "reload", "wabridge")
        assert code != 0, said
        assert (house.show("ActiveState"), house.show("MainPID")) == ("active", process)
        until(lambda: "the last reload changed nothing" in house.show("StatusText"), 5, "the status has the reason")
        assert "wokers" in house.show("StatusText")
        assert "the configuration is not taken over" in house.journal()
    finally:
        file.write_text(good)
    house.must("systemctl", "reload", "wabridge")
    assert house.show("StatusText") == "running: 0 calls are up"


def call_is_up(house, seconds):
    phone = house.start(*answering("wabridge", "/etc/wabridge"))
    until(lambda: f"{PBXS}:5060" in listeners(house), 10, "the PBX listens")
    user = house.start(*calling("wabridge", "/etc/wabridge", "--seconds", str(seconds)))
    until(lambda: "1 call is up" in house.show("StatusText"), 20, "the call is up")
    return phone, user


def listeners(house):
    """UDP sockets inside, as address:port."""
    found = set()
    for line in house.must("cat", "/proc/net/udp").splitlines()[1:]:
        address, port = line.split()[1].split(":")
        octets = bytes.fromhex(address)[::-1]
        found.add(f"{'.'.join(map(str, octets))}:{int(port, 16)}")
    return found


def was_undisturbed(user, seconds=40):
    said, _ = user.communicate(timeout=seconds)
    report = json.loads(said.splitlines()[-1] if said.startswith("{") is False else said)
    assert user.returncode == 0, report


def stop_waits_for_the_call_that_is_up_and_takes_no_other(house):
    # So that the status is told every second.
    drop_in(house, "WatchdogSec=4")
    house.must("systemctl", "restart", "wabridge")
    phone, user = call_is_up(house, 12)
    house.must("systemctl", "--no-block", "stop", "wabridge")
    until(lambda: house.show("StatusText") == "draining: 1 call is up", 5, "it drains")
    assert house.show("ActiveState") == "deactivating"
    answer = house.must("bash", "-c", OPTIONS)
    assert answer.startswith("SIP/2.0 503") and "Retry-After: 30" in answer, answer
    assert user.poll() is None, "the call goes on"
    was_undisturbed(user)
    phone.communicate(timeout=20)
    until(lambda: house.show("ActiveState") == "inactive", 10, "the last call was over")
    assert house.show("Result") == "success"


def whoever_does_not_want_to_wait_ends_the_calls(house):
    house.must("systemctl", "start", "wabridge")
    phone, user = call_is_up(house, 60)
    house.must("systemctl", "--no-block", "stop", "wabridge")
    until(lambda: house.show("StatusText") == "draining: 1 call is up", 5, "it drains")
    house.must("systemctl", "kill", "wabridge")
    until(lambda: house.show("ActiveState") == "inactive", 15, "it ends")
    assert house.show("Result") == "success"
    assert '"status":200' in user.communicate(timeout=20)[0].replace(" ", "")
    phone.communicate(timeout=20)


# A PBX that asks whether a call would be taken: over UDP, from its own address, by nothing but bash's Perl.
OPTIONS = f"""exec perl -MIO::Socket::INET -e '
my $s = IO::Socket::INET->new(Proto => "udp", LocalAddr => "{PBXS}", PeerAddr => "{OURS}:5070") or die $!;
my $port = $s->sockport;
$s->send(join("\\r\\n", "OPTIONS sip:{OURS}:5070 SIP/2.0", "Via: SIP/2.0/UDP {PBXS}:$port;branch=z9hG4bKq$port;rport",
  "Max-Forwards: 70", "From: <sip:q\\@{PBXS}>;tag=q", "To: <sip:{OURS}>", "Call-ID: q$port", "CSeq: 1 OPTIONS",
  "Content-Length: 0", "", ""));
$SIG{{ALRM}} = sub {{ die "no answer" }}; alarm 5; $s->recv(my $answer, 9000); print $answer'
"""


def drop_in(house, line):
    folder = house.path("/etc/systemd/system/wabridge.service.d")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test.conf").write_text(f"[Service]\n{line}\n")
    house.must("systemctl", "daemon-reload")


def a_stuck_media_worker_trips_the_watchdog_and_it_starts_anew(house):
    house.must("systemctl", "start", "wabridge")
    inner = house.show("MainPID")
    process = outer_pid(house, inner)
    with Stuck(process, "media-0"):
        until(lambda: "Watchdog timeout" in house.journal(), 40, "the watchdog is not fed")
    # A process of which a tracer holds one thread cannot even die.
    until(lambda: house.show("NRestarts") == "1", 20, "systemd starts it anew")
    until(lambda: house.show("ActiveState") == "active" and house.show("MainPID") != inner, 20, "it is back")
    assert "media worker 0" in house.journal(), "the log says who was stuck"


def outer_pid(house, inner):
    """The pid out here of a process in there."""
    here = os.readlink(f"/proc/{house.first}/ns/pid")
    for one in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(one / "ns/pid") != here:
                continue
            ids = re.search(r"^NSpid:(.*)$", (one / "status").read_text(), re.M).group(1).split()
            if ids[-1] == inner:
                return int(one.name)
        except OSError:
            continue
    raise AssertionError("it has no process")


def an_upgrade_leaves_the_call_that_is_up_alone(house, deb):
    newer = OUT / "newer"
    shutil.rmtree(newer, ignore_errors=True)
    subprocess.run(["dpkg-deb", "--raw-extract", deb, newer], check=True)
    control = newer / "DEBIAN/control"
    control.write_text(re.sub(r"^(Version: .*)$", r"\1+newer", control.read_text(), flags=re.M))
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Znone", newer, OUT / "newer.deb"], check=True, stdout=subprocess.DEVNULL)
    before = house.show("MainPID")
    phone, user = call_is_up(house, 12)
    began = time.monotonic()
    install(house, OUT / "newer.deb")
    assert time.monotonic() - began < 10, "dpkg does not wait for the call"
    until(lambda: house.show("StatusText") == "draining: 1 call is up", 5, "the old one drains")
    was_undisturbed(user)
    phone.communicate(timeout=20)
    until(lambda: house.show("ActiveState") == "active" and house.show("MainPID") not in (before, "0"), 20, "the new one runs")
    assert house.must("cat", "/etc/wabridge/wabridge.toml").find(BUSINESS) > 0, "the configuration is kept"


def removing_stops_it_and_purging_leaves_nothing(house):
    house.must("dpkg", "--remove", "wabridge")
    assert house.ask("systemctl", "is-active", "wabridge") == "inactive"
    assert house.path("/etc/wabridge/wabridge.toml").exists()
    house.must("dpkg", "--purge", "wabridge")
    left = house.must("bash", "-c", "find /etc /var /usr -path '*wabridge*' -not -path '/etc/systemd/system/wabridge.service.d*'")
    assert not left, left


# ---- without systemd -------------------------------------------------------------------------------------------------


def the_unit_exposes_little(_):
    """Of what systemd-analyze counts (0 to 10), 1.5 at most."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", "systemd/wabridge.service"],
        capture_output=True,
        text=True,
    )
    print("       ", [line for line in done.stdout.splitlines() if "Overall" in line], flush=True)
    assert done.returncode == 0, done.stdout + done.stderr


def main(deb):
    shutil.rmtree(OUT / "notify", ignore_errors=True)
    OUT.mkdir(parents=True, exist_ok=True)
    passed = failed = 0

    def check(name, function, *arguments):
        nonlocal passed, failed
        try:
            function(*arguments)
        except Exception:  # whatever it is, it is this check's
            failed += 1
            print(f"FAILED  {name}", flush=True)
            traceback.print_exc(file=sys.stdout)
        else:
            passed += 1
            print(f"ok      {name}", flush=True)

    def named(function):
        return function.__name__.replace("_", " ")

    check(named(the_unit_exposes_little), the_unit_exposes_little, None)
    notified = a_manager_hears_of_start_reload_stuck_worker_and_stop
    check(f"notify socket: {named(notified)}", notified)
    forbidden = what_forbids_it()
    if forbidden:
        print(f"MODE: no systemd can be started here ({forbidden}): tested by a notify socket and signals alone", flush=True)
    else:
        print("MODE: a real systemd as process 1, in namespaces of its own, and a notify socket besides", flush=True)
    for suite in () if forbidden else ("trixie", "bookworm"):
        try:
            house = House(suite, OUT)
        except (AssertionError, OSError, subprocess.SubprocessError) as why:
            failed += 1
            said = OUT / f"boot-{suite}.log"
            print(f"FAILED  {suite}: systemd is not started: {why}", said.read_text() if said.exists() else "", flush=True)
            continue
        try:
            for function, arguments in (
                (installing_makes_an_account_and_starts_nothing, (deb,)),
                (a_wrong_file_is_in_the_status_and_no_hindrance_once_it_is_mended, ()),
                (it_starts_when_it_is_configured_and_says_so, ()),
                (a_valid_file_is_taken_over_by_systemctl_reload, ()),
                (an_invalid_file_changes_nothing_and_fails_systemctl_reload, ()),
                (stop_waits_for_the_call_that_is_up_and_takes_no_other, ()),
                (whoever_does_not_want_to_wait_ends_the_calls, ()),
                (a_stuck_media_worker_trips_the_watchdog_and_it_starts_anew, ()),
                (an_upgrade_leaves_the_call_that_is_up_alone, (deb,)),
                (removing_stops_it_and_purging_leaves_nothing, ()),
            ):
                check(f"{suite}: {named(function)}", function, house, *arguments)
        finally:
            (OUT / f"journal-{suite}.log").write_text(house.ask("journalctl", "--quiet", "--no-pager"))
            house.close()
    print(f"systemd: {passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
