//! The durable ledger: one JSON record per line, appended and flushed to the disk before anybody is answered. One thread
//! writes for all; whatever arrived while it waited for the disk goes with the next flush (group commit).

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use super::book::Record;

/// As many records go with one flush at most.
const LARGEST_BATCH: usize = 1024;

struct Entry {
    line: Vec<u8>,
    durable: oneshot::Sender<()>,
}

/// The way to the writing thread; without one, nothing is kept.
pub(super) struct Journal(Option<mpsc::Sender<Entry>>);

/// The disk did not take a record; nothing is answered from then on.
pub(super) struct NotDurable;

/// Resolves when a record is on the disk.
pub(super) struct Durable(Option<oneshot::Receiver<()>>);

impl Durable {
    pub async fn wait(self) -> Result<(), NotDurable> {
        match self.0 {
            None => Ok(()),
            Some(durable) => durable.await.map_err(|_| NotDurable),
        }
    }
}

impl Journal {
    /// Keeps nothing.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// Reads what the file holds, hands each record over, and is ready to append. A last line that was cut off in the
    /// middle of its write was never answered for and is removed.
    pub fn open(path: &Path, mut replay: impl FnMut(&Record)) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        file.try_lock()
            .map_err(|_| io::Error::new(io::ErrorKind::WouldBlock, "another process uses it"))?;
        let good_bytes = read_records(&file, &mut replay)?;
        file.set_len(good_bytes)?;
        file.seek(SeekFrom::End(0))?;
        file.sync_all()?;
        let (sender, entries) = mpsc::channel();
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || write_all(file, &entries))?;
        Ok(Self(Some(sender)))
    }

    /// Queues a record. Callers hold the book's lock, so that the order of the file is the order of the book.
    pub fn append(&self, record: &Record) -> Durable {
        let Some(sender) = &self.0 else { return Durable(None) };
        let (durable, receiver) = oneshot::channel();
        let mut line = serde_json::to_vec(record).expect("a record is JSON");
        line.push(b'\n');
        // When the writer is gone the receiver reports it: nobody is answered.
        let _ = sender.send(Entry { line, durable });
        Durable(Some(receiver))
    }
}

/// Returns how many bytes of the file are whole records.
fn read_records(file: &File, replay: &mut impl FnMut(&Record)) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let mut good_bytes = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(good_bytes);
        }
        match serde_json::from_slice(&line) {
            Ok(record) => replay(&record),
            Err(error) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the record at byte {good_bytes}: {error}"),
                ));
            }
        }
        good_bytes += read as u64;
    }
}

fn write_all(mut file: File, entries: &mpsc::Receiver<Entry>) {
    let mut lines = Vec::new();
    while let Ok(first) = entries.recv() {
        let batch: Vec<Entry> = std::iter::once(first).chain(entries.try_iter().take(LARGEST_BATCH - 1)).collect();
        lines.clear();
        for entry in &batch {
            lines.extend_from_slice(&entry.line);
        }
        if let Err(error) = file.write_all(&lines).and_then(|()| file.sync_data()) {
            tracing::error!(%error, "the ledger cannot be written, nothing is answered any more");
            return;
        }
        for entry in batch {
            // A caller that went away does not need to know.
            let _ = entry.durable.send(());
        }
    }
}
