//! What the ledger's keeper waits for, beside messages.
//!
//! Each wait can be given up and begun anew, and nothing is lost by it.

use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
};

use super::network::{Networks, News};
use crate::source::cgroupfs::Walk;

/// Waits for the word to stop, or for whoever could say it to be gone.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _either_way = shutdown.wait_for(|stop| *stop).await;
}

/// Waits for news of networks, if anybody wants to know.
pub(super) async fn network_news(networks: &mut Option<Networks>) -> News {
    match networks {
        Some(networks) => networks.news().await,
        None => std::future::pending().await,
    }
}

/// Waits for the walk under way, if there is one.
pub(super) async fn walked(walking: &mut Option<JoinHandle<Walk>>) -> Result<Walk, JoinError> {
    match walking {
        Some(walk) => walk.await,
        None => std::future::pending().await,
    }
}
