//! What becomes of a test whose counterpart can not be had: by hand it is skipped, loudly; in CI it fails.

use std::io::Write as _;

/// Whether this runs in CI, where nothing is skipped: the environment says `CI=true`, or anything but `false`.
#[must_use]
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false")
}

/// Says that a test is skipped and why, past libtest, which keeps to itself what tests print that pass.
///
/// # Panics
/// In CI, with the same sentence.
pub fn skip(test: &str, missing: &str) {
    let said = format!("SKIPPED, {test}: {missing}");
    assert!(!in_ci(), "{said}");
    // Nobody who reads is no reason to fail.
    writeln!(std::io::stderr(), "{said}").ok();
}
