//! A file of JSON lines, read one at a time.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use highwater_sql::decode::VALUE_BYTES_MAX;

use super::Error;

/// Longest line: the longest record value with every character escaped, and its key.
const LINE_BYTES_MAX: u64 = 2 * VALUE_BYTES_MAX as u64;

/// The lines of a file that are not blank, with their numbers.
pub struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: usize,
}

impl Lines {
    /// Opens the file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| Error::Unreadable { path: path.to_owned(), message: error.to_string() })?;
        Ok(Self { path: path.to_owned(), reader: BufReader::new(file), number: 0 })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next line and its number, from 1; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(usize, String)>, Error> {
        loop {
            let mut text = String::new();
            self.number += 1;
            let wrong = |message: String| Error::Wrong { path: self.path.clone(), line: self.number, message };
            let read = (&mut self.reader).take(LINE_BYTES_MAX).read_line(&mut text).map_err(|error| wrong(error.to_string()))?;
            if read as u64 == LINE_BYTES_MAX {
                return Err(wrong(format!("is longer than {LINE_BYTES_MAX} bytes")));
            }
            if read == 0 {
                return Ok(None);
            }
            if !text.trim().is_empty() {
                return Ok(Some((self.number, text.trim().to_owned())));
            }
        }
    }
}
