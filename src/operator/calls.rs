//! The latest calls as they arrived, so that tests can compare bytes. The key is never kept.

use std::collections::VecDeque;

use serde::Serialize;

use super::message::CallbackAction;
use super::request::Encoding;

/// One call.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordedCall {
    pub at: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub agent_id: Option<String>,
    pub action: Option<CallbackAction>,
    pub platform_tx_id: Option<String>,
    pub encoding: Option<Encoding>,
    /// The exact text of `message`, in whichever encoding it came.
    pub message: Option<String>,
    pub message_sha256: Option<String>,
    /// Whether the body's signature is right, where one is asked for.
    pub signature_valid: Option<bool>,
    /// The fault that happened to it.
    pub fault: Option<super::faults::FaultKind>,
    /// What was answered; nothing where the connection was dropped.
    pub answer: Option<String>,
}

/// The latest calls, oldest first.
pub(super) struct Calls {
    kept: usize,
    latest: VecDeque<RecordedCall>,
}

impl Calls {
    pub fn new(kept: usize) -> Self {
        Self {
            kept,
            latest: VecDeque::new(),
        }
    }

    pub fn push(&mut self, call: RecordedCall) {
        self.latest.push_back(call);
        while self.latest.len() > self.kept {
            self.latest.pop_front();
        }
    }

    pub fn matching(&self, action: Option<CallbackAction>, platform_tx_id: Option<&str>) -> Vec<RecordedCall> {
        let matches = |call: &&RecordedCall| {
            (action.is_none() || call.action == action) && (platform_tx_id.is_none() || call.platform_tx_id.as_deref() == platform_tx_id)
        };
        self.latest.iter().filter(matches).cloned().collect()
    }
}
