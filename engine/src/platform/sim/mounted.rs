//! The disk as one process sees it: names, small files, opens.
//!
//! Invariant: a process's first operation begins behind the name operations of one that was killed; a file is open for
//! writing once at most, and the next such open waits.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use net::platform::Runtime;

use super::file::{OpenFile, SimFile};
use super::hardware::{Shared, input_output_error};
use super::media::Media;
use crate::platform::{BLOCK_BYTES, DirectoryEntry, DirectoryLook, OpenMode, Space};

/// How long an open waits for a lock before it gives up, as on a real file system.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);

/// What a process sees.
#[derive(Clone)]
pub(in crate::platform) struct MountedDisk {
    pub(super) shared: Rc<Shared>,
    pub(super) runtime: Runtime,
    /// Whether the process has the data directory for itself.
    pub(super) has_begun: Rc<Cell<bool>>,
}

impl MountedDisk {
    pub(in crate::platform) async fn open_file(
        &self,
        path: &str,
        mode: OpenMode,
    ) -> io::Result<SimFile> {
        let (name, epoch) = (path.to_owned(), self.shared.epoch.get());
        let inode = self
            .on_media(path, move |media| {
                let inode = match media.lookup_file(&name) {
                    Err(error)
                        if error.kind() == io::ErrorKind::NotFound && mode == OpenMode::Create =>
                    {
                        media.create_file(&name)?
                    }
                    result => result?,
                };
                media.opened(inode);
                Ok(inode)
            })
            .await?;
        let open = OpenFile {
            shared: self.shared.clone(),
            inode,
            path: path.into(),
            epoch,
            writable: mode != OpenMode::Read,
            write_through: mode == OpenMode::WriteThrough,
            locked: Cell::new(false),
        };
        let file = SimFile {
            open: Rc::new(open),
        };
        if mode != OpenMode::Read {
            self.lock(&file).await?;
        }
        if mode == OpenMode::Create && file.length()? > 0 {
            file.truncate(0).await?;
        }
        Ok(file)
    }

    async fn lock(&self, file: &SimFile) -> io::Result<()> {
        let started = self.runtime.monotonic();
        while !self.shared.locked.borrow_mut().insert(file.open.inode) {
            self.shared.sim.trace("lock_wait", &[]);
            if self.runtime.monotonic() - started > LOCK_WAIT_MAX {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.runtime.sleep(Duration::from_millis(1)).await;
        }
        file.open.locked.set(true);
        Ok(())
    }

    pub(in crate::platform) async fn create_directory(&self, path: &str) -> io::Result<()> {
        let name = path.to_owned();
        self.on_media(path, move |media| media.create_directory(&name))
            .await
    }

    pub(in crate::platform) async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let names = (from.to_owned(), to.to_owned());
        self.on_media(from, move |media| media.rename(&names.0, &names.1))
            .await
    }

    pub(in crate::platform) async fn remove_file(&self, path: &str) -> io::Result<()> {
        let name = path.to_owned();
        self.on_media(path, move |media| media.remove_file(&name))
            .await
    }

    pub(in crate::platform) async fn remove_directory(&self, path: &str) -> io::Result<()> {
        let name = path.to_owned();
        self.on_media(path, move |media| media.remove_directory(&name))
            .await
    }

    pub(in crate::platform) async fn sync_directory(&self, path: &str) -> io::Result<()> {
        let (shared, epoch, path) = (
            self.shared.clone(),
            self.shared.epoch.get(),
            path.to_owned(),
        );
        let operation = async move {
            shared.pass_time(epoch).await?;
            if shared.flush_fails(&path) {
                return Err(input_output_error());
            }
            shared.sim.trace("sync_directory", &[path.len() as u64]);
            shared.media.borrow_mut().sync_directory(&path)
        };
        self.begin().await;
        self.shared.start_on_names(operation).await
    }

    pub(in crate::platform) async fn list(&self, path: &str) -> io::Result<Vec<DirectoryEntry>> {
        let name = path.to_owned();
        self.on_media(path, move |media| media.list(&name)).await
    }

    pub(in crate::platform) async fn look_into(
        &self,
        directories: Vec<String>,
        small_file: &'static str,
        length_max: usize,
    ) -> io::Result<Vec<Option<DirectoryLook>>> {
        let mut looks = Vec::with_capacity(directories.len());
        for directory in directories {
            looks.push(
                self.look_into_one(&directory, small_file, length_max)
                    .await?,
            );
        }
        Ok(looks)
    }

    async fn look_into_one(
        &self,
        directory: &str,
        small_file: &str,
        length_max: usize,
    ) -> io::Result<Option<DirectoryLook>> {
        let entries = match self.list(directory).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        let path = format!("{directory}/{small_file}");
        let small_file = match self.read_small(&path, length_max).await {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidData
                ) =>
            {
                None
            }
            result => Some(result?),
        };
        Ok(Some(DirectoryLook {
            entries,
            small_file,
        }))
    }

    pub(in crate::platform) async fn exists(&self, path: &str) -> io::Result<bool> {
        self.begin().await;
        match self.shared.media.borrow().lookup(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(in crate::platform) async fn allocated_bytes(&self, path: &str) -> io::Result<u64> {
        self.begin().await;
        let media = self.shared.media.borrow();
        Ok(media.allocated_bytes(media.lookup_file(path)?))
    }

    pub(in crate::platform) async fn read_small(
        &self,
        path: &str,
        length_max: usize,
    ) -> io::Result<Vec<u8>> {
        let file = self.open_file(path, OpenMode::Read).await?;
        let content = file.read_at(0, length_max + 1).await?;
        if content.len() > length_max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file is longer than it may be",
            ));
        }
        Ok(content.into())
    }

    pub(in crate::platform) async fn write_small(
        &self,
        path: &str,
        content: &[u8],
        durable: bool,
    ) -> io::Result<()> {
        let temporary = format!("{path}.tmp");
        let file = self.open_file(&temporary, OpenMode::Create).await?;
        if !content.is_empty() {
            let mut blocks = content.to_vec();
            blocks.resize(content.len().next_multiple_of(BLOCK_BYTES), 0);
            file.write_at(blocks, 0).await?;
            file.truncate(content.len() as u64).await?;
        }
        if !durable {
            drop(file);
            return self.rename(&temporary, path).await;
        }
        file.fdatasync().await?;
        drop(file);
        self.rename(&temporary, path).await?;
        self.sync_directory(path.rsplit_once('/').map_or("", |(directory, _)| directory))
            .await
    }

    pub(in crate::platform) async fn sync_filesystem(&self) -> io::Result<()> {
        let (shared, epoch) = (self.shared.clone(), self.shared.epoch.get());
        let bound = shared.media.borrow().next_sequence();
        let operation = async move {
            shared.pass_time(epoch).await?;
            let mut media = shared.media.borrow_mut();
            media.write_back(bound);
            if shared.options.borrow().syncfs_flushes_device {
                media.flush_device();
            }
            shared.sim.trace("syncfs", &[bound]);
            Ok(())
        };
        self.shared.start(operation).await
    }

    pub(in crate::platform) async fn space(&self) -> io::Result<Space> {
        let media = self.shared.media.borrow();
        let total_bytes = media.quota_bytes.unwrap_or(u64::MAX / 2);
        let used = media.quota_bytes.map_or(0, |_| media.used_bytes());
        Ok(Space {
            total_bytes,
            free_bytes: total_bytes.saturating_sub(used),
        })
    }

    /// Runs an operation on names, all at once at some moment.
    async fn on_media<T: 'static>(
        &self,
        path: &str,
        work: impl FnOnce(&mut Media) -> io::Result<T> + 'static,
    ) -> io::Result<T> {
        let (shared, epoch, length) = (
            self.shared.clone(),
            self.shared.epoch.get(),
            path.len() as u64,
        );
        let operation = async move {
            shared.pass_time(epoch).await?;
            shared.sim.trace("names", &[length]);
            work(&mut shared.media.borrow_mut())
        };
        self.begin().await;
        self.shared.start_on_names(operation).await
    }

    /// Waits, before the process's first operation, until the name operations of one that was killed are over.
    async fn begin(&self) {
        while !self.has_begun.get() && self.shared.names_in_flight.get() > 0 {
            self.shared.sim.trace("begin_wait", &[]);
            self.runtime.sleep(Duration::from_millis(1)).await;
        }
        self.has_begun.set(true);
    }
}
