//! Reading what a script answered: a list of texts whose first names the kind of answer, or that name alone. A reply that is not what
//! its script promises means that somebody else wrote the value, and is reported by its key.

use std::str::FromStr;

use super::LiveError;

/// The rest of a reply, taken from the front.
pub(super) struct Reply<'a> {
    key: &'a str,
    values: std::vec::IntoIter<Vec<u8>>,
}

impl<'a> Reply<'a> {
    pub(super) fn new(key: &'a str, values: Vec<Vec<u8>>) -> Self {
        Self {
            key,
            values: values.into_iter(),
        }
    }

    /// Whether it is an answer of this kind. The kind stays the next value.
    pub(super) fn is_tagged(&self, kind: &str) -> bool {
        self.values.as_slice().first().is_some_and(|value| value == kind.as_bytes())
    }

    /// The next value as it is.
    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, LiveError> {
        self.values.next().ok_or_else(|| self.unreadable())
    }

    /// The next value as text.
    pub(super) fn text(&mut self) -> Result<String, LiveError> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes).map_err(|_| self.unreadable())
    }

    /// The next value as text, `None` after the last.
    pub(super) fn next_text(&mut self) -> Result<Option<String>, LiveError> {
        if self.values.len() == 0 { Ok(None) } else { self.text().map(Some) }
    }

    /// The next value as a number or whatever else a text can be.
    pub(super) fn parsed<T: FromStr>(&mut self) -> Result<T, LiveError> {
        let text = self.text()?;
        text.parse().map_err(|_| self.unreadable())
    }

    /// The next value as `0` or `1`.
    pub(super) fn flag(&mut self) -> Result<bool, LiveError> {
        match self.text()?.as_str() {
            "0" => Ok(false),
            "1" => Ok(true),
            _ => Err(self.unreadable()),
        }
    }

    /// Reports the value that this reply is about.
    pub(super) fn unreadable(&self) -> LiveError {
        super::unreadable(self.key)
    }
}
