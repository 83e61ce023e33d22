//! The socket of the pages for operators, from its opening to the removal of its file.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use super::Listen;

/// Who may open a Unix socket: its owner and its group.
const OWNER_AND_GROUP: u32 = 0o660;

/// Why the pages cannot be served where they were to be.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve status and metrics at {listen}: {why}; set admin.listen to another address, or to \"off\""
)]
pub struct DoorError {
    listen: Listen,
    why: String,
}

/// An open socket. The file of a Unix socket is removed when it is dropped.
#[derive(Debug)]
pub struct Door {
    socket: Socket,
    listen: Listen,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix {
        socket: UnixListener,
        _file: OwnFile,
    },
}

/// A file that goes when this does.
#[derive(Debug)]
struct OwnFile(PathBuf);

impl Drop for OwnFile {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A connection, of whichever kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Door {
    /// Opens it; `None` where it is to be off.
    pub async fn open(listen: &Listen) -> Result<Option<Door>, DoorError> {
        let refused = |why: String| DoorError {
            listen: listen.clone(),
            why,
        };
        let socket = match listen {
            Listen::Off => return Ok(None),
            Listen::Tcp(address) => match TcpListener::bind(address).await {
                Ok(socket) => Socket::Tcp(socket),
                Err(error) => return Err(refused(error.to_string())),
            },
            Listen::Unix(path) => {
                make_way(path).map_err(refused)?;
                let bound = || {
                    let socket = UnixListener::bind(path)?;
                    let _file = OwnFile(path.clone());
                    let permissions = std::fs::Permissions::from_mode(OWNER_AND_GROUP);
                    std::fs::set_permissions(path, permissions)?;
                    io::Result::Ok(Socket::Unix { socket, _file })
                };
                bound().map_err(|error| refused(unix_error(path, &error)))?
            }
        };
        let listen = match &socket {
            Socket::Tcp(socket) => socket.local_addr().map_or(listen.clone(), Listen::Tcp),
            Socket::Unix { .. } => listen.clone(),
        };
        Ok(Some(Door { socket, listen }))
    }

    /// Where it is: with port 0 only the system knows before.
    pub fn listen(&self) -> &Listen {
        &self.listen
    }

    /// The next who comes.
    pub(super) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.socket {
            Socket::Tcp(socket) => Box::new(socket.accept().await?.0),
            Socket::Unix { socket, .. } => Box::new(socket.accept().await?.0),
        })
    }
}

/// Removes the socket that a process left behind which is gone; what is in use, or no socket, stays and is an error.
fn make_way(path: &Path) -> Result<(), String> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
        Ok(file) if !file.file_type().is_socket() => {
            return Err("the file is there and is no socket".into());
        }
        Ok(_) => {}
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err("another process that runs serves there".into()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| format!("the old socket stays: {error}"))
        }
        Err(error) => Err(format!("the socket is there: {error}")),
    }
}

fn unix_error(path: &Path, error: &io::Error) -> String {
    let folder = path.parent().unwrap_or(path).display();
    match error.kind() {
        ErrorKind::NotFound => format!("there is no folder {folder}"),
        ErrorKind::PermissionDenied => format!("nothing may be written to {folder}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(path: &Path) -> Result<Door, String> {
        let door = Door::open(&Listen::Unix(path.to_owned())).await;
        door.map(Option::unwrap).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_socket_that_a_dead_process_left_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        // Closed, and its file left behind, as by a process that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let door = open(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, OWNER_AND_GROUP);
        let said = open(&path).await.unwrap_err();
        assert!(said.contains("another process that runs"), "{said}");
        assert!(said.contains("set admin.listen"), "{said}");
        assert!(path.exists(), "the one in use was touched");
        drop(door);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_cannot_be_served_at_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes");
        std::fs::write(&file, "mine").unwrap();
        let said = open(&file).await.unwrap_err();
        assert!(said.contains("is no socket"), "{said}");
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
        let said = open(&folder.path().join("none/admin.sock"))
            .await
            .unwrap_err();
        assert!(said.contains("there is no folder"), "{said}");
        assert!(Door::open(&Listen::Off).await.unwrap().is_none());
    }
}
