//! What came of one comparison: it was made and came out right or wrong, or something was missing for it. A proof is a list of them.

use serde::Serialize;

/// One comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    /// What was compared, in words.
    pub detail: String,
}

/// One comparison that could not be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Unchecked {
    /// The name that the check would have.
    pub name: &'static str,
    /// What is missing.
    pub why: &'static str,
}

/// A comparison that was made, or that could not be.
pub(super) enum Finding {
    Checked(Check),
    Unchecked(Unchecked),
}

impl Finding {
    /// A comparison, in the words for its outcome.
    pub(super) fn compared(name: &'static str, ok: bool, right: impl FnOnce() -> String, wrong: impl FnOnce() -> String) -> Self {
        let detail = if ok { right() } else { wrong() };
        Self::Checked(Check { name, ok, detail })
    }

    /// What is missing for a comparison.
    pub(super) fn missing(name: &'static str, why: &'static str) -> Self {
        Self::Unchecked(Unchecked { name, why })
    }
}
