//! The SQLite file: every event once, the counters beside them, and who may touch it.
//!
//! One thread owns the only connection that writes (`writer`); readers open their own and see a consistent past (WAL). What
//! [`Store::insert`] acknowledges is on disk: the transaction was committed with `synchronous=FULL`, so it survives `kill -9`
//! and a power failure. A lock file keeps a second process out, because the counters are also held in memory.

pub mod query;
mod schema;
mod writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::cloudevent::Event;
use crate::rejection::Rejections;
use crate::tally::{Live, Stats, Tally};
use crate::timestamp;
use writer::{Command, Writer};

/// Requests that wait for the writer; more wait before their body is read.
const QUEUE_REQUESTS_MAX: usize = 1024;
/// Queries at the same time; more wait.
const READERS_MAX: usize = 8;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another receiver has it open.
    #[error("{0} is in use by another receiver: stop it, or set RECEIVER_DB to another file")]
    InUse(PathBuf),
    /// It cannot be created, locked or synced.
    #[error("cannot use {path}")]
    File {
        /// The file or its directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is somebody else's, or of a version that this program does not know.
    #[error("{0} is not a database of this version of the receiver: move it away, or set RECEIVER_DB to another file")]
    Foreign(PathBuf),
    /// The file system or the file cannot do what durability needs.
    #[error("{0} cannot be opened in WAL mode: use a local file")]
    Wal(PathBuf),
    /// SQLite failed.
    #[error("sqlite failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The thread that writes is gone.
    #[error("the writer has stopped")]
    Stopped,
}

/// What an acknowledged request did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Receipt {
    /// Events that were new.
    pub stored: u64,
    /// Events whose id was stored before.
    pub duplicates: u64,
    /// Those of the duplicates whose bytes differ from what is stored; the first version stays.
    pub conflicts: u64,
}

/// The request was not stored, none of it. Storing it again later may succeed.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error("the events could not be stored")]
pub struct Unavailable;

/// A handle on the file; all clones share it.
#[derive(Clone)]
pub struct Store {
    path: Arc<Path>,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    readers: Arc<Semaphore>,
}

/// What the writer and the handlers both see.
struct Shared {
    tally: Mutex<Tally>,
    rejections: Rejections,
    /// Whether the last transaction failed.
    failing: AtomicBool,
    changed: Notify,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Opens or creates the file at `path` and starts the writer. `file_bytes_max` limits the file (0: no limit); at the limit
    /// requests are refused as if the disk were full.
    ///
    /// # Errors
    /// The file cannot be used; the message says what to do.
    pub fn open(path: &Path, file_bytes_max: u64) -> Result<Self, Error> {
        let lock = lock(path)?;
        let connection = schema::open(path, file_bytes_max)?;
        sync_directory(path)?;
        let loaded = schema::load(&connection)?;
        let shared = Arc::new(Shared {
            tally: Mutex::new(loaded.tally),
            rejections: Rejections::load(&loaded.rejected),
            failing: AtomicBool::new(false),
            changed: Notify::new(),
        });
        let (commands, received) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let writer = Writer::new(connection, Arc::clone(&shared), lock);
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || writer.run(received))
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
        Ok(Self { path: path.into(), commands, shared, readers: Arc::new(Semaphore::new(READERS_MAX)) })
    }

    /// Stores the events of one request in one transaction, shared with other waiting requests, and returns after its commit.
    ///
    /// # Errors
    /// Nothing of the request was stored.
    pub async fn insert(&self, events: Vec<Event>) -> Result<Receipt, Unavailable> {
        let (reply, receipt) = oneshot::channel();
        let command = Command::Insert { events, reply };
        self.commands.send(command).await.map_err(|_| Unavailable)?;
        receipt.await.map_err(|_| Unavailable)?
    }

    /// The counters of rejected requests.
    #[must_use]
    pub fn rejections(&self) -> &Rejections {
        &self.shared.rejections
    }

    /// Writes the counters of rejected requests to the file if they changed.
    pub async fn save_rejections(&self) {
        // A closed channel means that the writer is gone, which `stopped` reports.
        let _ = self.commands.send(Command::SaveRejections).await;
    }

    /// The numbers of this moment: they include every acknowledged request.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.tally().stats(self.rejected(), timestamp::now_us())
    }

    /// What the dashboard shows at this moment.
    #[must_use]
    pub fn live(&self) -> Live {
        self.shared.tally().live(self.rejected(), timestamp::now_us())
    }

    /// Whether the last transaction failed.
    #[must_use]
    pub fn failing(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed)
    }

    /// Returns when something was stored since the last call returned.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Returns when the writer is gone; without it nothing can be acknowledged any more.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }

    /// Stores what is waiting, saves every counter and closes the file.
    pub async fn close(&self) {
        if self.commands.send(Command::Close).await.is_ok() {
            self.commands.closed().await;
        }
    }

    fn rejected(&self) -> BTreeMap<&'static str, u64> {
        self.shared.rejections.by_reason()
    }
}

/// Takes the lock that lasts as long as the returned file is open, however the process ends.
fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let failed = |source| Error::File { path: lock_path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Makes the name of a new file durable; SQLite syncs the directory for its log but not for the database itself.
fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let synced = File::open(directory).and_then(|opened| opened.sync_all());
    synced.map_err(|source| Error::File { path: directory.to_owned(), source })
}
