//! The way from async tasks to the spool, which blocks on its disk.

use tokio::task::spawn_blocking;

/// The one function that moves blocking work off the async threads. None if the work panicked or the runtime ends.
pub async fn off_the_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    spawn_blocking(work).await.ok()
}
