//! Work that goes on when its request is gone. A caller who resets the connection ends the request, and whatever is dropped with it; the
//! work that was started for the request goes on. So the work keeps what the request holds: a bound on requests is a bound on their
//! work as well.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Something that is given back when it is dropped.
pub type Held = Arc<dyn Send + Sync>;

tokio::task_local! {
    static HELD: Held;
}

/// Carries out a request that holds `held`; so does the work that it starts with [`Tasks::spawn`].
pub async fn holding<F: Future>(held: Held, request: F) -> F::Output {
    HELD.scope(held, request).await
}

/// All work of this server that goes on without its request.
pub struct Tasks {
    tracker: TaskTracker,
    main: Handle,
}

impl Tasks {
    /// None yet. The runtime on which this is called is the main one.
    pub fn on_this_runtime() -> Self {
        Self {
            tracker: TaskTracker::new(),
            main: Handle::current(),
        }
    }

    /// Starts work on the main runtime: a worker's runtime ends with its worker, and takes what runs there with it in the middle of a
    /// call. What the request holds is held until the work is done.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let held = HELD.try_with(Held::clone).ok();
        let work = async move {
            let _held = held;
            work.await
        };
        self.tracker.spawn_on(work, &self.main)
    }

    /// [`Tasks::finished`] comes to its end once no work is left.
    pub fn close(&self) {
        self.tracker.close();
    }

    /// Waits until all work has ended, that which was started meanwhile too.
    pub async fn finished(&self) {
        self.tracker.wait().await;
    }
}
