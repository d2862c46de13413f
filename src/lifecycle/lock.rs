//! What keeps a second program away from the state file, and how a new state file
//! takes the old one's place. Unix and Windows each have their own [`Lock`].

use std::{
    fs::{self, File},
    io,
    path::Path,
    thread,
    time::Duration,
};

#[cfg(not(unix))]
pub use windows::Lock;

#[cfg(unix)]
pub use unix::Lock;

#[cfg(unix)]
mod unix {
    use std::{
        cell::RefCell,
        fs::{self, File, TryLockError},
        io,
        os::unix::fs::MetadataExt,
        path::Path,
    };

    use super::options;

    /// The locked state file, and the next one before it takes its place. A second
    /// program is kept away even where somebody deletes files beside it.
    #[derive(Debug)]
    pub struct Lock(RefCell<File>);

    impl Lock {
        /// Locks the state file, which is made where there is none. None where
        /// another program has it.
        pub fn take(path: &Path) -> io::Result<Option<Self>> {
            let file = options().open(path)?;
            match file.try_lock() {
                // The other program may have put a new file in its place meanwhile.
                Ok(()) => Ok(is_still_at(&file, path).then(|| Self(RefCell::new(file)))),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        }

        /// Locks a file that is to become the state file, before it is written.
        pub fn cover(&self, new: &File) -> io::Result<()> {
            new.try_lock().map_err(io::Error::from)
        }

        /// Gives a written file the state file's name.
        pub fn replace(&self, new: File, from: &Path, to: &Path) -> io::Result<()> {
            fs::rename(from, to)?;
            // Only now is the old file closed, and with it its lock.
            self.0.replace(new);
            sync_folder(to);
            Ok(())
        }
    }

    fn is_still_at(file: &File, path: &Path) -> bool {
        let place =
            |metadata: io::Result<fs::Metadata>| metadata.map(|it| (it.dev(), it.ino())).ok();
        place(file.metadata()) == place(fs::metadata(path))
    }

    /// Makes the rename itself durable, where folders can be synced.
    fn sync_folder(path: &Path) {
        if let Some(folder) = path.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
    }
}

#[cfg(not(unix))]
mod windows {
    use std::{
        fs::{self, File},
        io,
        os::windows::fs::OpenOptionsExt,
        path::Path,
    };

    use super::{super::state::beside, SHARING_VIOLATION, patiently};

    const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;

    /// A file beside the state file, opened so that nobody else can open or delete
    /// it; it goes with the program, however that ends. Windows' locks would keep
    /// everyone from reading the state file, and not every one of its file systems
    /// replaces a file that is open.
    #[derive(Debug)]
    pub struct Lock {
        _beside: File,
    }

    impl Lock {
        /// Makes the file beside the state file. None where another program has it.
        pub fn take(path: &Path) -> io::Result<Option<Self>> {
            let file = patiently(|| {
                File::options()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .share_mode(0)
                    .custom_flags(FILE_FLAG_DELETE_ON_CLOSE)
                    .open(beside(path, ".lock"))
            });
            match file {
                Ok(_beside) => Ok(Some(Self { _beside })),
                Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => Ok(None),
                Err(error) => Err(error),
            }
        }

        /// The file beside covers this one, too.
        pub fn cover(&self, _new: &File) -> io::Result<()> {
            Ok(())
        }

        /// Gives a written file the state file's name.
        pub fn replace(&self, new: File, from: &Path, to: &Path) -> io::Result<()> {
            drop(new);
            patiently(|| fs::rename(from, to))
        }
    }
}

/// Opens for reading and writing, makes the file where there is none, and keeps what
/// is in it. Session ids and user names are nobody else's business: on Unix the file
/// is readable by its owner alone.
pub fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.create(true).read(true).write(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

const ACCESS_DENIED: i32 = 5;
const SHARING_VIOLATION: i32 = 32;

/// Tries again for half a second what Windows refuses as long as another program
/// (a virus scanner, a backup) has the file open.
pub fn patiently<T>(mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const PAUSE: Duration = Duration::from_millis(50);
    let mut pauses = if cfg!(windows) { 10 } else { 0 };
    loop {
        match action() {
            Err(error)
                if pauses > 0
                    && matches!(error.raw_os_error(), Some(ACCESS_DENIED | SHARING_VIOLATION)) =>
            {
                pauses -= 1;
                thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// Says what Windows does not: that it refuses because the file is read-only.
pub fn refusal(path: &Path, error: io::Error) -> io::Error {
    let is_read_only =
        || fs::metadata(path).is_ok_and(|metadata| metadata.permissions().readonly());
    if cfg!(windows) && error.raw_os_error() == Some(ACCESS_DENIED) && is_read_only() {
        let message = "it is read-only; remove that attribute (attrib -r)";
        return io::Error::new(io::ErrorKind::PermissionDenied, message);
    }
    error
}
