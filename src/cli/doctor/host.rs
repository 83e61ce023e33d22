//! This host: what a service needs that no configuration can give it.

use std::fs;
use std::io;
use std::process::Command;

use crate::config::Config;
use crate::daemon;
use crate::media::{self, Io};

use super::finding::Finding;

/// Octets that a disk should have left for call records.
const ROOM: u64 = 500_000_000;
/// Octets that wait for a media thread that is late: some 100 ms of the packets of one call in both directions, doubled
/// by what the kernel counts for each packet.
const BUFFER: u64 = 64 * 1024;

/// Octets that the kernel counts for an INVITE of a PBX that waits in a socket, of whose room it takes half for itself.
const INVITE: u64 = 2304;

pub fn check(config: &Config) -> Vec<Finding> {
    let needed = daemon::files_needed(config);
    let unit = unit();
    let mut findings = vec![files(
        needed,
        rlimit::getrlimit(rlimit::Resource::NOFILE),
        unit.as_deref(),
    )];
    findings.extend(clock(
        Command::new("timedatectl")
            .args(["show", "-p", "NTPSynchronized", "--value"])
            .output()
            .ok()
            .map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
            .as_deref(),
    ));
    findings.extend(buffers(kernel("net/core/rmem_max").as_deref()));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    findings.push(workers(config.media.worker_count(), processors));
    findings.push(media_io(config.media.io, media::usable(config.media.io)));
    if let Some(file) = &config.records.file {
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let free = rustix::fs::statvfs(folder.unwrap_or(std::path::Path::new(".")));
        findings.extend(
            free.ok()
                .map(|disk| room(disk.f_bavail.saturating_mul(disk.f_frsize))),
        );
    }
    findings
}

fn kernel(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()
}

/// What systemd would give the service; `None` where there is no such service.
fn unit() -> Option<String> {
    let show = ["show", "wabridge", "-p", "LoadState", "-p", "LimitNOFILE"];
    let output = Command::new("systemctl").args(show).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.contains("LoadState=loaded").then_some(said)
}

fn files(needed: u64, here: io::Result<(u64, u64)>, unit: Option<&str>) -> Finding {
    const ABOUT: &str = "files";
    let of_unit = unit.and_then(|unit| {
        unit.lines()
            .find_map(|line| line.strip_prefix("LimitNOFILE="))
    });
    let (allowed, whose) = match (of_unit, here) {
        (Some("infinity"), _) => (u64::MAX, "the service"),
        (Some(limit), _) if limit.parse::<u64>().is_ok() => {
            (limit.parse().unwrap_or_default(), "the service")
        }
        (_, Ok((_, hard))) => (hard, "this shell"),
        (_, Err(error)) => {
            return Finding::warn(
                ABOUT,
                format!("the limit of open files is unknown: {error}"),
                "",
            );
        }
    };
    match allowed >= needed {
        true => Finding::ok(
            ABOUT,
            format!("{whose} may open enough files for calls.max ({needed})"),
        ),
        false => Finding::fail(
            ABOUT,
            format!(
                "{whose} may open {allowed} files, and calls.max needs {needed}: calls beyond get 503"
            ),
            format!(
                "LimitNOFILE={needed} in the unit (systemctl edit wabridge), or lower calls.max"
            ),
        ),
    }
}

fn clock(synchronised: Option<&str>) -> Option<Finding> {
    const ABOUT: &str = "clock";
    match synchronised?.trim() {
        "yes" => Some(Finding::ok(ABOUT, "it is synchronised")),
        "no" => Some(Finding::warn(
            ABOUT,
            "it is not synchronised: certificates are judged by it, and times in records will be wrong",
            "timedatectl set-ntp true, or run chrony",
        )),
        // No systemd here: another program may well keep it.
        _ => None,
    }
}

fn buffers(rmem_max: Option<&str>) -> Option<Finding> {
    const ABOUT: &str = "buffers";
    let most: u64 = rmem_max?.trim().parse().ok()?;
    Some(match most >= BUFFER {
        true => Finding::ok(
            ABOUT,
            format!(
                "a socket may keep {most} octets; by UDP that is a burst of some {} INVITEs",
                2 * most / INVITE
            ),
        ),
        false => Finding::warn(
            ABOUT,
            format!("a socket may keep {most} octets only: packets get lost when the host is busy"),
            format!("sysctl -w net.core.rmem_max={}", 4 * BUFFER),
        ),
    })
}

fn workers(workers: usize, processors: usize) -> Finding {
    const ABOUT: &str = "processors";
    match workers <= processors {
        true => Finding::ok(ABOUT, format!("{processors}, and {workers} for media")),
        false => Finding::warn(
            ABOUT,
            format!("{workers} media threads share {processors} processors"),
            "leave media.workers out: one for each processor",
        ),
    }
}

fn media_io(wanted: Io, usable: io::Result<Io>) -> Finding {
    const ABOUT: &str = "media I/O";
    match usable {
        Ok(Io::Epoll) if wanted == Io::Auto => Finding::warn(
            ABOUT,
            "media goes by epoll, for io_uring is not allowed here: calls are as good, and take more of the processor",
            "where it matters: Linux 6.1 or later, sysctl kernel.io_uring_disabled=0, a container profile that allows it",
        ),
        Ok(io) => Finding::ok(ABOUT, format!("media goes by {io}")),
        Err(error) => Finding::fail(
            ABOUT,
            format!("the bridge will not start: {error}"),
            "media.io = \"auto\"",
        ),
    }
}

fn room(free: u64) -> Finding {
    const ABOUT: &str = "records";
    match free >= ROOM {
        true => Finding::ok(
            ABOUT,
            format!("{} MB are free for call records", free / 1_000_000),
        ),
        false => Finding::warn(
            ABOUT,
            format!("only {} MB are free for call records", free / 1_000_000),
            "make room: without any, records wait in memory and then are lost; calls go on",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn the_limit_that_counts_is_the_one_of_the_service() {
        let level = |here: u64, unit: Option<&str>| files(5000, Ok((1024, here)), unit).level;
        assert_eq!(level(4999, None), Level::Fail);
        assert_eq!(level(5000, None), Level::Ok);
        assert_eq!(
            level(1024, Some("LoadState=loaded\nLimitNOFILE=65536\n")),
            Level::Ok
        );
        assert_eq!(
            level(65_536, Some("LoadState=loaded\nLimitNOFILE=4096\n")),
            Level::Fail
        );
        assert_eq!(
            level(1024, Some("LoadState=loaded\nLimitNOFILE=infinity\n")),
            Level::Ok
        );
        let error = io::ErrorKind::PermissionDenied.into();
        assert_eq!(files(5000, Err(error), None).level, Level::Warn);
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_a_warning() {
        assert_eq!(clock(Some("no\n")).unwrap().level, Level::Warn);
        assert_eq!(clock(Some("yes\n")).unwrap().level, Level::Ok);
        assert_eq!(clock(Some("")), None);
        assert_eq!(clock(None), None);
    }

    #[test]
    fn too_little_of_anything_is_said() {
        assert_eq!(buffers(Some("32768\n")).unwrap().level, Level::Warn);
        assert_eq!(buffers(Some("212992\n")).unwrap().level, Level::Ok);
        assert_eq!(workers(8, 4).level, Level::Warn);
        assert_eq!(workers(4, 4).level, Level::Ok);
        assert_eq!(media_io(Io::Auto, Ok(Io::Epoll)).level, Level::Warn);
        assert_eq!(media_io(Io::Epoll, Ok(Io::Epoll)).level, Level::Ok);
        assert_eq!(media_io(Io::Auto, Ok(Io::Uring)).level, Level::Ok);
        let forbidden = Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(media_io(Io::Uring, forbidden).level, Level::Fail);
        assert_eq!(room(100_000_000).level, Level::Warn);
        assert_eq!(room(ROOM).level, Level::Ok);
    }
}
