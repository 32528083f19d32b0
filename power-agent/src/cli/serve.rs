//! `serve`: the daemon itself.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Error;
use tracing_subscriber::EnvFilter;

use super::check;
use super::{Exit, Failure, Screen};
use crate::wiring;

/// Serves the rack of `file` until SIGTERM or Ctrl-C.
pub(crate) async fn serve(file: &Path, screen: &mut Screen) -> Result<Exit, Failure> {
    let Some(config) = check::load(file, screen)? else { return Ok(Exit::RackFile) };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        // Else a log that can not be written, to a full disk or a reader that is gone, ends tasks by a panic.
        .log_internal_errors(false)
        .init();
    wiring::serve(config, file).await.map_err(|error| Failure::Serve(Error::new(error)))?;
    Ok(Exit::Ok)
}
