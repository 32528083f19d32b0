//! The stories: whole paths on the real Nomad and the real Nomad Autoscaler, asserted on the rack's edge
//! log, on Nomad's API and on the jobs' own output, never on our logs. One is told on the stand-in too.
#![expect(clippy::panic, clippy::print_stderr, reason = "stories tell what is wrong, and figures")]

mod as_jobs;
mod bad_input;
mod closet;
mod demand_returns;
mod does_not_boot;
mod examples;
mod first_contact;
mod from_dark;
mod killed;
mod late_starts;
mod measured;
mod over_the_network;
mod people;
mod people_and_placements;
mod pools;
mod restored;
mod several;
mod shelf;
mod under_work;
mod utilisation;

use testkit::skip::skip;

/// Runs a story on the real hosts. By hand without them it says loudly that it was skipped; in CI nothing is.
fn story(name: &str, story: impl Future<Output = anyhow::Result<()>>) {
    if let Err(missing) = testkit::hosts::available() {
        return skip(&format!("story {name}"), &missing);
    }
    told(name, story);
}

/// Runs a story, on whatever hosts it is.
fn told(name: &str, story: impl Future<Output = anyhow::Result<()>>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.expect("a runtime starts").block_on(story);
    if let Err(error) = result {
        panic!("story {name}: {error:#}");
    }
}
