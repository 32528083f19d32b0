//! A thin client of Nomad's HTTP API.
