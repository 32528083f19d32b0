//! Who may reach the agent: where it listens on the network, by which files it proves and checks names, and which
//! name has which role.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use fleet::{PoolName, hostlist};

use super::finding::{Finding, Report};
use super::page::{self, PageConfig};
use super::section::{At, Section};
use crate::identity::is_name;
use crate::quota::{ORDERS_PER_MINUTE_DEFAULT, ORDERS_PER_MINUTE_MAX};
use crate::roles::{Access, GRANTS_MAX, Grant, Role, Scope};
use agent_api::credentials::FileError;

/// The files by which an agent on the network proves its name and checks those of others. All are PEM, and are read
/// again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The authority that signs the certificates of all who may call.
    pub ca_file: PathBuf,
    /// The agent's own certificate, with its intermediates if it has any.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// The authority's list of revoked certificates.
    pub crl_file: Option<PathBuf>,
}

/// An address for metrics, as a remedy shows it.
const METRICS_EXAMPLE: &str = "\"127.0.0.1:9464\"";

/// Where the agent listens on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Address and port.
    pub listen: SocketAddr,
    /// Its files.
    pub tls: TlsConfig,
}

/// What the file says of access, with the places that the rules need.
#[derive(Debug, Default)]
pub(crate) struct AccessDraft {
    listen: Option<At<SocketAddr>>,
    tls: Option<At<TlsConfig>>,
    files: BTreeMap<&'static str, Range<usize>>,
    grants: Vec<GrantDraft>,
    page: Option<At<SocketAddr>>,
}

#[derive(Debug)]
struct GrantDraft {
    name: String,
    grant: Grant,
    machines: Range<usize>,
    pools: Vec<At<PoolName>>,
}

const LISTEN_EXAMPLE: &str = "\"0.0.0.0:7420\"";

/// The `listen` of section `[agent]`.
pub(crate) fn read_listen(section: &mut Section<'_>) -> Option<At<SocketAddr>> {
    let At { value, span } = section.text("listen", LISTEN_EXAMPLE)?;
    match value.parse() {
        Ok(value) => Some(At { value, span }),
        Err(_not_an_address) => {
            section.tell(
                Finding::error("`listen` in [agent] is no address", span)
                    .found(format!("found {value:?}"))
                    .expected("an IP address of this host and a port; 0.0.0.0 is all of them")
                    .remedy(format!("write it like `listen = {LISTEN_EXAMPLE}`")),
            );
            None
        }
    }
}

/// The `metrics` of section `[agent]`: on this host alone, because nobody who asks is known there.
pub(crate) fn read_metrics(section: &mut Section<'_>) -> Option<SocketAddr> {
    let At { value, span } = section.text("metrics", METRICS_EXAMPLE)?;
    let remedy = format!("write it like `metrics = {METRICS_EXAMPLE}`");
    let finding = match value.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => return Some(address),
        Ok(_) => Finding::error("`metrics` in [agent] is open to the network", span)
            .found(format!(
                "found {value:?}, and whoever asks for metrics is not asked who they are"
            ))
            .expected("an address of this host alone, 127.0.0.1 or [::1]")
            .remedy(format!("{remedy}, and let a proxy with TLS stand before it")),
        Err(_not_an_address) => Finding::error("`metrics` in [agent] is no address", span)
            .found(format!("found {value:?}"))
            .expected("an address of this host alone and a port")
            .remedy(remedy),
    };
    section.tell(finding);
    None
}

impl AccessDraft {
    /// Reads `[tls]` and `[access.NAME]`.
    pub(crate) fn read(root: &mut Section<'_>, listen: Option<At<SocketAddr>>) -> Self {
        let mut draft = Self { listen, ..Self::default() };
        if let Some(section) = root.section("tls", "a section [tls]") {
            draft.read_tls(section);
        }
        draft.page = root.section("page", "a section [page]").and_then(page::read);
        for (name, section) in root.named("access") {
            draft.read_grant(name, section);
        }
        draft
    }

    fn read_tls(&mut self, mut section: Section<'_>) {
        let mut file = |key: &'static str, needed: bool| {
            let example = format!("\"/etc/lamplighter/tls/{}.pem\"", key.trim_end_matches("_file"));
            if needed && !section.has(key) {
                section.missing(key, &example);
            }
            let At { value, span } = section.path(key, &example)?;
            self.files.insert(key, span);
            Some(value)
        };
        let (ca, cert) = (file("ca_file", true), file("cert_file", true));
        let (key, crl_file) = (file("key_file", true), file("crl_file", false));
        let span = section.span();
        section.finish();
        if let (Some(ca_file), Some(cert_file), Some(key_file)) = (ca, cert, key) {
            self.tls =
                Some(At { value: TlsConfig { ca_file, cert_file, key_file, crl_file }, span });
        }
    }

    fn read_grant(&mut self, name: At<String>, mut section: Section<'_>) {
        if !is_name(name.value.strip_prefix('%').unwrap_or(&name.value)) {
            section.tell(
                Finding::error(format!("{:?} is nobody's name", name.value), name.span)
                    .found("not a name")
                    .expected("the name in a certificate, a local user, or %GROUP")
                    .remedy("names are of letters, digits, '.', '_' and '-'"),
            );
            return;
        }
        if !section.has("role") {
            section.missing("role", "\"operator\"");
        }
        let role = section.choice("role", Role::WORDS);
        let machines = section.text("machines", "\"node[1-4]\"");
        let pools = section.texts("pools", "[\"rack\"]");
        let orders = section.integer(
            "orders_per_minute",
            1..=u64::from(ORDERS_PER_MINUTE_MAX),
            &ORDERS_PER_MINUTE_DEFAULT.to_string(),
        );
        let token = page::read_token(&mut section, &name.value);
        let pools_named = pools.is_some();
        let pools = read_pools(&section, pools);
        let machines_span = machines.as_ref().map_or(0..0, |at| at.span.clone());
        let scope = if machines.is_some() || pools_named {
            let machines = machines.and_then(|list| read_machines(&section, &list));
            Scope::Of {
                machines: machines.unwrap_or_default(),
                pools: pools.iter().map(|pool| pool.value.clone()).collect(),
            }
        } else {
            Scope::All
        };
        section.finish();
        let orders = orders.and_then(|orders| u32::try_from(orders.value).ok());
        let orders_per_minute = orders.unwrap_or(ORDERS_PER_MINUTE_DEFAULT);
        if let Some(role) = role {
            let grant = Grant { role: role.value, scope, orders_per_minute, token };
            self.grants.push(GrantDraft {
                name: name.value,
                grant,
                machines: machines_span,
                pools,
            });
        }
    }

    /// The rules between these places and the rest of the file.
    pub(crate) fn check(&self, machines: &BTreeSet<&str>, pools: &BTreeSet<&str>, report: &Report) {
        self.check_listen(report);
        page::check_tokens(self.grants.iter().map(|draft| (&draft.name, &draft.grant)), report);
        if self.grants.len() > GRANTS_MAX {
            let found = format!("{} names", self.grants.len());
            report.tell(
                Finding::error("[access] has too many names", 0..0)
                    .found(found)
                    .expected(format!("at most {GRANTS_MAX}"))
                    .remedy("give a role to a group, as in [access.\"%lamps\"]"),
            );
        }
        for draft in &self.grants {
            let Scope::Of { machines: named, .. } = &draft.grant.scope else { continue };
            for machine in named.iter().filter(|name| !machines.contains(name.as_str())) {
                report.tell(
                    Finding::error(
                        format!("there is no machine {machine}"),
                        draft.machines.clone(),
                    )
                    .found(format!("{machine} is not declared"))
                    .remedy("correct the name, or declare the machine"),
                );
            }
            for pool in draft.pools.iter().filter(|pool| !pools.contains(pool.value.as_str())) {
                report.tell(
                    Finding::error(format!("there is no pool {}", pool.value), pool.span.clone())
                        .found("not declared")
                        .remedy(format!("declare it with a section [pools.{}]", pool.value)),
                );
            }
        }
    }

    fn check_listen(&self, report: &Report) {
        match (&self.listen, &self.tls) {
            (Some(listen), None) if self.files.is_empty() => report.tell(
                Finding::error("`listen` without [tls]", listen.span.clone())
                    .found("the network is mutual TLS only; there is no listener without it")
                    .expected("a section [tls] with ca_file, cert_file and key_file")
                    .remedy(
                        "`power-agent certs init DIR` makes an authority, `certs agent` the files",
                    ),
            ),
            (None, Some(tls)) if !self.page_is_open() => report.tell(
                Finding::error("[tls] without `listen` in [agent]", tls.span.clone())
                    .found("nothing listens on the network, so nothing reads these files")
                    .remedy(format!(
                        "add `listen = {LISTEN_EXAMPLE}` to [agent] or such an address to [page], or leave [tls] out"
                    )),
            ),
            _ => {}
        }
        if let Some(page) =
            self.page.as_ref().filter(|_| self.page_is_open() && self.files.is_empty())
        {
            report.tell(page::without_tls(page));
        }
    }

    /// Whether the page is for others than this host.
    fn page_is_open(&self) -> bool {
        self.page.as_ref().is_some_and(|page| !page.value.ip().is_loopback())
    }

    /// The files of `[tls]`, where they are told.
    pub(crate) fn tls(&self) -> Option<&TlsConfig> {
        self.tls.as_ref().map(|tls| &tls.value)
    }

    /// A file of `[tls]` that can not be used, at its place.
    pub(crate) fn unusable(&self, error: &FileError) -> Finding {
        let span = self.files.get(error.part.key()).cloned().unwrap_or(0..0);
        Finding::error(format!("`{}` in [tls] can not be used", error.part.key()), span)
            .found(error.to_string())
            .expected(error.part.expected())
            .remedy("look with `openssl x509 -noout -text -in FILE`, or make it with `power-agent certs`")
    }

    pub(crate) fn into_parts(self) -> (Option<Network>, Option<PageConfig>, Access) {
        let tls = self.tls.as_ref().filter(|_| self.page_is_open()).map(|tls| tls.value.clone());
        let page = self.page.map(|page| PageConfig { listen: page.value, tls });
        let network = self.listen.zip(self.tls);
        let network = network.map(|(listen, tls)| Network { listen: listen.value, tls: tls.value });
        let grants = self.grants.into_iter();
        (network, page, grants.map(|draft| (draft.name, draft.grant)).collect())
    }
}

fn read_machines(section: &Section<'_>, list: &At<String>) -> Option<BTreeSet<fleet::MachineName>> {
    match hostlist::expand(&list.value) {
        Ok(names) => Some(names.into_iter().collect()),
        Err(error) => {
            section.tell(
                Finding::error(
                    format!("`machines` in {} is no host list", section.name()),
                    list.span.clone(),
                )
                .found(error.to_string())
                .remedy("write it like `machines = \"node[1-4]\"`"),
            );
            None
        }
    }
}

fn read_pools(section: &Section<'_>, list: Option<At<Vec<At<String>>>>) -> Vec<At<PoolName>> {
    let mut pools = Vec::new();
    for At { value, span } in list.map(|list| list.value).unwrap_or_default() {
        match value.parse() {
            Ok(value) => pools.push(At { value, span }),
            Err(error) => section.bad_name(&error, span),
        }
    }
    pools
}
