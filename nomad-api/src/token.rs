//! The ACL token: a value, or a file that may be rotated while we run.

use std::path::Path;

use tokio::io::AsyncReadExt as _;

use crate::config::{Secret, TokenSource};
use crate::error::Error;

/// The largest token file that is read: a workload identity is a JWT of about 1 KiB.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// The token as it is now. The file is read at each request: it is small, and so no rotation is missed.
///
/// # Errors
/// [`Error::File`] where the file can not be read, [`Error::Config`] where it is empty or no text.
pub(crate) async fn current(source: &TokenSource) -> Result<Option<Secret>, Error> {
    match source {
        TokenSource::None => Ok(None),
        TokenSource::Value(secret) => Ok(Some(secret.clone())),
        TokenSource::File(path) => read(path).await.map(Some),
    }
}

async fn read(path: &Path) -> Result<Secret, Error> {
    let unreadable =
        |source| Error::File { key: "nomad_token_file", path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut text = String::new();
    file.take(TOKEN_BYTES_MAX).read_to_string(&mut text).await.map_err(unreadable)?;
    let token = text.trim();
    if token.is_empty() || token.contains(|c: char| c.is_control() || !c.is_ascii()) {
        return Err(Error::Config {
            key: "nomad_token_file",
            found: path.display().to_string(),
            problem: "expected one line with an ACL token; write the token's secret id into it"
                .to_owned(),
        });
    }
    Ok(Secret::new(token))
}
