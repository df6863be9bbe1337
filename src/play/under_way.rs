//! What a request holds while it is under way. A caller who resets the connection ends the request, and whatever is dropped with it;
//! the work that was started for the request goes on. So the work keeps what the request holds: a bound on requests is a bound on
//! their work as well.

use std::sync::Arc;

/// Something that is given back when it is dropped.
pub type Held = Arc<dyn Send + Sync>;

tokio::task_local! {
    static HELD: Held;
}

/// Carries out a request that holds `held`; so does the work that it starts with [`Context::spawn`](super::context::Context::spawn).
pub async fn holding<F: Future>(held: Held, request: F) -> F::Output {
    HELD.scope(held, request).await
}

/// What the request holds that is being carried out here, if it holds anything.
pub fn held() -> Option<Held> {
    HELD.try_with(Held::clone).ok()
}
