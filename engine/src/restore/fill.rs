//! Writes what a snapshot holds, a bounded batch at a time.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, symlink},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustic_core::repofile::{Node, NodeType};
use rustix::fs::{CWD, FileType, Mode};

use super::{Links, Warnings, local, settle};
use crate::{
    BlobError, EngineError, Progress,
    format::{BlobKind, Extent, FileKind, Id, Index, Place, Step, Trees, Vault, content_of, open_blob, runs},
};

/// Plain bytes of a batch: enough that neighbours in a pack are fetched together.
const BATCH_BYTES: u64 = 64 << 20;
/// Files of a batch, each of which is open.
const BATCH_FILES: usize = 256;
/// Threads that fetch, open and write; each holds one run of blobs.
const THREADS: usize = 4;

/// Writes everything below the folder `tree` into `target`; folders get their attributes later.
pub(super) fn run(
    vault: &Vault,
    index: &Index,
    trees: &mut Trees<'_>,
    tree: Id,
    target: &Path,
    warnings: &mut Warnings,
    progress: &dyn Progress,
) -> Result<(), EngineError> {
    let mut fill = Fill {
        vault,
        index,
        target,
        warnings,
        progress,
        batch: Batch::default(),
        links: Links::default(),
    };
    trees.walk(tree, &mut |step, path, node| match step {
        Step::Enter => {
            let at = target.join(path);
            DirBuilder::new()
                .mode(0o700)
                .create(&at)
                .map_err(|e| local(&at, e))
        }
        Step::Leaf => fill.leaf(path, node),
        Step::Leave => Ok(()),
    })?;
    fill.flush()
}

/// A blob of the batch and all the places it goes to: number of the file, offset in it.
struct Wanted {
    id: Id,
    place: Place,
    to: Vec<(usize, u64)>,
}

impl Wanted {
    fn extent(&self) -> Extent {
        let Place {
            pack, offset, length, ..
        } = self.place;
        Extent { pack, offset, length }
    }
}

struct OpenFile {
    path: PathBuf,
    handle: File,
    node: Node,
}

#[derive(Default)]
struct Batch {
    files: Vec<OpenFile>,
    /// By pack and offset in it.
    blobs: BTreeMap<(u32, u32), Wanted>,
    bytes: u64,
}

struct Fill<'a> {
    vault: &'a Vault,
    index: &'a Index,
    target: &'a Path,
    warnings: &'a mut Warnings,
    progress: &'a dyn Progress,
    batch: Batch,
    links: Links,
}

impl Fill<'_> {
    fn leaf(&mut self, path: &Path, node: &Node) -> Result<(), EngineError> {
        let at = self.target.join(path);
        let special = |kind: FileType, device: u64| {
            rustix::fs::mknodat(CWD, &at, kind, Mode::from_raw_mode(0o600), device).map_err(|e| local(&at, e))
        };
        match &node.node_type {
            NodeType::File => return self.file(path, node),
            // Folders are made on entering; a program makes its sockets anew.
            NodeType::Dir | NodeType::Socket => return Ok(()),
            link @ NodeType::Symlink { .. } => symlink(link.to_link(), &at).map_err(|e| local(&at, e))?,
            NodeType::Fifo => special(FileType::Fifo, 0)?,
            NodeType::Dev { device } => special(FileType::BlockDevice, *device)?,
            NodeType::Chardev { device } => special(FileType::CharacterDevice, *device)?,
        }
        settle::entry(self.target, path, node, self.warnings)?;
        self.progress.advance(1, 0);
        Ok(())
    }

    fn file(&mut self, path: &Path, node: &Node) -> Result<(), EngineError> {
        let at = self.target.join(path);
        if let Some(first) = self.links.earlier(path, node) {
            fs::hard_link(self.target.join(first), &at).map_err(|e| local(&at, e))?;
            self.progress.advance(1, 0);
            return Ok(());
        }
        // Never through a link or over something: the name must be new.
        let mut options = OpenOptions::new();
        let handle = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&at)
            .map_err(|e| local(&at, e))?;
        // Pieces of zeros stay holes, so a sparse file does not grow to its full size.
        handle.set_len(node.meta.size).map_err(|e| local(&at, e))?;
        if self.batch.files.len() >= BATCH_FILES {
            self.flush()?;
        }
        let open = OpenFile {
            path: path.to_owned(),
            handle,
            node: Node {
                content: None,
                ..node.clone()
            },
        };
        self.batch.files.push(open);
        let mut offset = 0;
        for id in content_of(path, node)? {
            if self.batch.bytes >= BATCH_BYTES {
                self.flush_but_last()?;
            }
            let place = self.index.place(BlobKind::Data, id)?;
            let number = self.batch.files.len() - 1;
            let wanted = self.batch.blobs.entry((place.pack, place.offset));
            let wanted = wanted.or_insert_with(|| Wanted {
                id,
                place,
                to: Vec::new(),
            });
            wanted.to.push((number, offset));
            offset += place.text_length();
            self.batch.bytes += place.text_length();
        }
        if offset != node.meta.size {
            let (path, size) = (path.display(), node.meta.size);
            return Err(EngineError::Corrupt(format!(
                "{path} has {offset} of {size} bytes"
            )));
        }
        Ok(())
    }

    /// Writes the batch, and keeps its last file open, of which more is to come.
    fn flush_but_last(&mut self) -> Result<(), EngineError> {
        self.write_blobs()?;
        let last = self.batch.files.pop();
        self.close_files()?;
        self.batch.files.extend(last);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        self.write_blobs()?;
        self.close_files()
    }

    fn close_files(&mut self) -> Result<(), EngineError> {
        for file in std::mem::take(&mut self.batch.files) {
            settle::entry(self.target, &file.path, &file.node, self.warnings)?;
            self.progress.advance(1, 0);
        }
        Ok(())
    }

    fn write_blobs(&mut self) -> Result<(), EngineError> {
        let blobs: Vec<Wanted> = std::mem::take(&mut self.batch.blobs).into_values().collect();
        self.batch.bytes = 0;
        let runs = runs(&blobs, Wanted::extent);
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let has_failed = || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        std::thread::scope(|scope| {
            for _ in 0..THREADS.min(runs.len()) {
                scope.spawn(|| {
                    while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if has_failed() {
                            return;
                        }
                        if let Err(error) = self.write_run(run) {
                            failed
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .get_or_insert(error);
                        }
                    }
                });
            }
        });
        failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }

    fn write_run(&self, run: &[Wanted]) -> Result<(), EngineError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(());
        };
        let start = u64::from(first.place.offset);
        let end = u64::from(last.place.offset) + u64::from(last.place.length);
        let name = FileKind::Pack.name(self.index.pack(first.place)?.id);
        let fetched = self
            .vault
            .store
            .get_range(&name, start..end)
            .map_err(|error| match error {
                BlobError::NotFound(_) => EngineError::damaged(&name, "is missing"),
                BlobError::Corrupt(why) => EngineError::damaged(&name, format!("is cut short: {why}")),
                other => other.into(),
            })?;
        for blob in run {
            let from = (u64::from(blob.place.offset) - start) as usize;
            let sealed = fetched.get(from..from + blob.place.length as usize);
            let sealed = sealed.ok_or_else(|| EngineError::Corrupt(format!("{name} is cut short")))?;
            let text = open_blob(&self.vault.cipher, blob.id, blob.place, sealed)
                .map_err(|error| EngineError::Corrupt(format!("{name}: {error}")))?;
            let is_hole = text.iter().all(|byte| *byte == 0);
            for (number, offset) in &blob.to {
                let file = self.batch.files.get(*number);
                let file = file.ok_or_else(|| EngineError::Internal("a blob names no file".to_owned()))?;
                if !is_hole {
                    let written = file.handle.write_all_at(&text, *offset);
                    written.map_err(|e| local(&self.target.join(&file.path), e))?;
                }
                self.progress.advance(0, text.len() as u64);
            }
        }
        Ok(())
    }
}
