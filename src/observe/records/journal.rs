//! The file that records are appended to: whole lines only, whoever moves it, however full the disk is.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Who may read a new file: it holds telephone numbers.
const MODE: u32 = 0o640;
/// How long rotation rests after it failed; records go on into the file that there is.
const ROTATION_RESTS: Duration = Duration::from_secs(60);

/// When the file is put aside, and how many of those are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rotation {
    /// Octets that a file may have; `None`: somebody else rotates.
    pub(super) max_size: Option<u64>,
    /// Files beside the one that is written.
    pub(super) keep: u16,
}

/// A file that only grows.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Option<File>,
    rotation_rests_until: Option<Instant>,
}

impl Journal {
    /// Opens the file, and makes it if it is not there. A last line that a crash left unfinished is ended.
    pub(super) fn open(path: &Path) -> io::Result<Journal> {
        let mut journal = Journal::at(path);
        journal.current()?;
        Ok(journal)
    }

    /// The same, but it is opened when it is needed.
    pub(super) fn at(path: &Path) -> Journal {
        Journal {
            path: path.to_owned(),
            file: None,
            rotation_rests_until: None,
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines, all of them or none.
    pub(super) fn append(&mut self, lines: &[u8], rotation: Rotation) -> io::Result<()> {
        let mut before = self.current()?;
        if self.is_full(before.len(), lines.len() as u64, rotation) {
            match self.rotate(rotation.keep) {
                Ok(metadata) => before = metadata,
                Err(error) => {
                    self.rotation_rests_until = Some(Instant::now() + ROTATION_RESTS);
                    tracing::error!(%error, file = %self.path.display(), "call records cannot be rotated");
                    before = self.current()?;
                }
            }
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        file.write_all(lines)
            .inspect_err(|_| self.take_back(&before))
    }

    /// Waits until all that was appended is on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match &self.file {
            Some(file) if file.metadata()?.is_file() => file.sync_data(),
            _ => Ok(()),
        }
    }

    /// The file that has the name now, open: logrotate may have moved the one that was open.
    fn current(&mut self) -> io::Result<Metadata> {
        if let Some(file) = &self.file {
            let open = file.metadata()?;
            let same = |named: &Metadata| (named.dev(), named.ino()) == (open.dev(), open.ino());
            if fs::metadata(&self.path).as_ref().is_ok_and(same) {
                return Ok(open);
            }
            // Its records are written; what the disk did to them nobody can mend by keeping the file open.
            if let Err(error) = self.sync() {
                tracing::error!(%error, "call records in a file that was moved may be lost");
            }
            self.file = None;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            .open(&self.path)?;
        end_last_line(&mut file)?;
        let metadata = file.metadata()?;
        if metadata.len() == 0 {
            self.sync_folder();
        }
        self.file = Some(file);
        Ok(metadata)
    }

    /// A new name is on the disk only when its folder is. Where that cannot be, the file system does it in its own time.
    fn sync_folder(&self) {
        if let Some(folder) = self
            .path
            .parent()
            .and_then(|folder| File::open(folder).ok())
        {
            let _ = folder.sync_all();
        }
    }

    fn is_full(&mut self, size: u64, more: u64, rotation: Rotation) -> bool {
        let rests = self
            .rotation_rests_until
            .is_some_and(|until| Instant::now() < until);
        let too_large = rotation.max_size.is_some_and(|max| size + more > max);
        size > 0 && too_large && !rests
    }

    /// Moves `records.jsonl` to `records.jsonl.1`, what has that name to `.2`, and so on; the last one goes.
    fn rotate(&mut self, keep: u16) -> io::Result<Metadata> {
        self.sync()?;
        for n in (1..keep).rev() {
            match fs::rename(self.numbered(n), self.numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))?;
        self.current()
    }

    fn numbered(&self, n: u16) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }

    /// A disk that is full may take half of a line: it is taken back, since all of it is written again later.
    fn take_back(&mut self, before: &Metadata) {
        let cut = self.file.as_ref().map(|file| file.set_len(before.len()));
        if !matches!(cut, Some(Ok(()))) {
            // Opening it anew ends what could not be taken back with a line end.
            self.file = None;
        }
    }
}

fn end_last_line(file: &mut File) -> io::Result<()> {
    let size = file.metadata()?.len();
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    match last {
        [b'\n'] => Ok(()),
        _ => file.write_all(b"\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Rotation = Rotation {
        max_size: None,
        keep: 1,
    };

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_new_file_is_not_for_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        Journal::open(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o7, 0, "{mode:o}");
    }

    #[test]
    fn what_a_crash_left_unfinished_is_ended_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        fs::write(&path, "{\"whole\":1}\n{\"half").unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.append(b"{\"next\":1}\n", NEVER).unwrap();
        drop(Journal::open(&path).unwrap());
        assert_eq!(text(&path), "{\"whole\":1}\n{\"half\n{\"next\":1}\n");
    }

    #[test]
    fn a_file_that_was_renamed_or_removed_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("records"), folder.path().join("moved"));
        let mut journal = Journal::open(&path).unwrap();
        journal.append(b"1\n", NEVER).unwrap();
        fs::rename(&path, &moved).unwrap();
        journal.append(b"2\n", NEVER).unwrap();
        assert_eq!((text(&moved), text(&path)), ("1\n".into(), "2\n".into()));
        fs::remove_file(&path).unwrap();
        journal.append(b"3\n", NEVER).unwrap();
        assert_eq!(text(&path), "3\n");
    }

    #[test]
    fn rotation_keeps_so_many_files_and_puts_no_line_in_two() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let mut journal = Journal::open(&path).unwrap();
        let rotation = Rotation {
            max_size: Some(10),
            keep: 2,
        };
        for n in 0..10 {
            journal
                .append(format!("{n}..\n").as_bytes(), rotation)
                .unwrap();
        }
        let name = |suffix: &str| folder.path().join(format!("records{suffix}"));
        assert_eq!(text(&name("")), "8..\n9..\n");
        assert_eq!(text(&name(".1")), "6..\n7..\n");
        assert_eq!(text(&name(".2")), "4..\n5..\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_line_that_is_larger_than_a_file_may_be_gets_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let mut journal = Journal::open(&path).unwrap();
        let rotation = Rotation {
            max_size: Some(1),
            keep: 3,
        };
        journal.append(b"long\n", rotation).unwrap();
        journal.append(b"longer\n", rotation).unwrap();
        assert_eq!(text(&path), "longer\n");
        assert_eq!(text(&journal.numbered(1)), "long\n");
    }

    #[test]
    fn where_rotation_fails_the_file_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        // A folder that is not empty cannot be replaced by a file.
        fs::create_dir_all(folder.path().join("records.1/full")).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        let rotation = Rotation {
            max_size: Some(1),
            keep: 1,
        };
        for line in [b"1\n", b"2\n"] {
            journal.append(line, rotation).unwrap();
        }
        assert_eq!(text(&path), "1\n2\n");
    }

    #[test]
    fn a_disk_that_is_full_is_an_error_and_takes_nothing() {
        let mut journal = Journal::open(Path::new("/dev/full")).unwrap();
        let error = journal.append(b"1\n", NEVER).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
