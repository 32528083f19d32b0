//! How the host launches us: its environment, the magic cookie, and the handshake line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

const COOKIE_KEY: &str = "NOMAD_AUTOSCALER_PLUGIN_MAGIC_COOKIE";
const COOKIE: &str = "e082fa04d587a6525d683666fa253d6afda00f20c122c54a80a3ed57fec99ff3";

/// go-plugin's own protocol, and the autoscaler's: the only version of each that exists. The rule
/// is the highest that both speak, and else our lowest; with one version both are this one.
const CORE_PROTOCOL: u32 = 1;
const PROTOCOL: u32 = 1;

/// What a go-plugin binary says to a person, to the letter.
pub(super) const NOT_FOR_PEOPLE: &str = "This binary is a plugin. These are not meant to be executed directly.\n\
     Please execute the program that consumes these plugins, which will\n\
     load any plugins automatically\n";

/// Whether a Nomad Autoscaler started this process.
#[must_use]
pub fn launched_by_a_host() -> bool {
    std::env::var_os(COOKIE_KEY).is_some_and(|value| value == COOKIE)
}

/// Why a launch can not be followed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum LaunchError {
    #[error(
        "PLUGIN_CLIENT_CERT is set: the host asks for AutoMTLS, which this plugin does not speak and \
         the Nomad Autoscaler never asks for; start the plugin from the Nomad Autoscaler, without that variable"
    )]
    AutoMtls,
    #[error(
        "the socket's path {path:?} can not stand in the handshake line: found a character that is \
         not UTF-8, a line break or '|'; set PLUGIN_UNIX_SOCKET_DIR or TMPDIR to another directory"
    )]
    SocketPath { path: PathBuf },
}

/// What the host's environment asks of this launch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Launch {
    /// Where the socket goes.
    pub(super) socket_dir: PathBuf,
    /// The group that may connect, by name or number.
    pub(super) socket_group: Option<OsString>,
    /// Whether the host asked if the broker can multiplex.
    pub(super) multiplex_asked: bool,
    /// The versions that the host speaks, where ours is not among them.
    pub(super) incompatible: Option<OsString>,
}

impl Launch {
    /// Reads the environment; an empty variable is as an absent one, as in Go.
    pub(super) fn read(var: impl Fn(&str) -> Option<OsString>) -> Result<Self, LaunchError> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        if var("PLUGIN_CLIENT_CERT").is_some() {
            return Err(LaunchError::AutoMtls);
        }
        let dir = var("PLUGIN_UNIX_SOCKET_DIR").or_else(|| var("TMPDIR"));
        Ok(Self {
            socket_dir: dir.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from),
            socket_group: var("PLUGIN_UNIX_SOCKET_GROUP"),
            multiplex_asked: var("PLUGIN_MULTIPLEX_GRPC").is_some(),
            incompatible: var("PLUGIN_PROTOCOL_VERSIONS").filter(|asked| !speaks_ours(asked)),
        })
    }

    /// The only line that stdout ever carries, with its newline.
    ///
    /// The certificate's field is empty but there; the seventh, only for who asks, says that our
    /// broker can not multiplex.
    pub(super) fn handshake(&self, socket: &Path) -> Result<String, LaunchError> {
        let text = socket.to_str().filter(|text| !text.contains(['|', '\n', '\r']));
        let Some(text) = text else {
            return Err(LaunchError::SocketPath { path: socket.to_owned() });
        };
        let multiplex = if self.multiplex_asked { "|false" } else { "" };
        Ok(format!("{CORE_PROTOCOL}|{PROTOCOL}|unix|{text}|grpc|{multiplex}\n"))
    }
}

fn speaks_ours(asked: &OsStr) -> bool {
    asked.to_string_lossy().split(',').any(|version| version.parse() == Ok(PROTOCOL))
}

/// The name under which the host knows us: the file name in its plugin directory, which may be a
/// link to this binary, is the driver's name, and `PluginInfo` must answer it.
pub(super) fn driver_name() -> String {
    file_name(std::env::args_os().next())
}

fn file_name(argv0: Option<OsString>) -> String {
    let path = argv0.map(PathBuf::from);
    let name = path.as_deref().and_then(Path::file_name).unwrap_or(OsStr::new("lamplighter"));
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(vars: &[(&str, &str)]) -> Result<Launch, LaunchError> {
        Launch::read(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn item_6_the_handshake_line_has_six_fields_and_a_seventh_only_for_who_asks() {
        let socket = Path::new("/tmp/plugin7");
        let plain = launch(&[]).expect("a launch").handshake(socket).expect("a line");
        assert_eq!(plain, "1|1|unix|/tmp/plugin7|grpc|\n");
        let asked = launch(&[("PLUGIN_MULTIPLEX_GRPC", "true")]).expect("a launch");
        assert_eq!(asked.handshake(socket).expect("a line"), "1|1|unix|/tmp/plugin7|grpc||false\n");
    }

    #[test]
    fn item_7_a_path_that_would_break_the_line_is_refused() {
        for path in ["/tmp/a|b/plugin7", "/tmp/a\nb/plugin7"] {
            let error = launch(&[]).expect("a launch").handshake(Path::new(path)).unwrap_err();
            assert!(error.to_string().contains("PLUGIN_UNIX_SOCKET_DIR"), "{error}");
        }
    }

    #[test]
    fn item_8_versions_without_ours_are_noticed_and_ours_is_offered_all_the_same() {
        let asked = |text| launch(&[("PLUGIN_PROTOCOL_VERSIONS", text)]).expect("a launch");
        assert_eq!(asked("1").incompatible, None);
        assert_eq!(asked("3,1,2").incompatible, None);
        assert_eq!(asked("3,x,1").incompatible, None);
        let other = asked("2,3");
        assert_eq!(other.incompatible, Some(OsString::from("2,3")));
        let line = other.handshake(Path::new("/p")).expect("a line");
        assert!(line.starts_with("1|1|"), "{line}");
    }

    #[test]
    fn item_9_the_socket_directory_is_the_hosts_then_tmpdir_then_tmp() {
        let dir = |vars| launch(vars).expect("a launch").socket_dir;
        assert_eq!(dir(&[]), Path::new("/tmp"));
        assert_eq!(dir(&[("TMPDIR", "/t")]), Path::new("/t"));
        assert_eq!(dir(&[("TMPDIR", "")]), Path::new("/tmp"));
        let both = [("TMPDIR", "/t"), ("PLUGIN_UNIX_SOCKET_DIR", "/p")];
        assert_eq!(dir(&both), Path::new("/p"));
    }

    #[test]
    fn item_10_auto_mtls_is_refused_with_its_variable_named() {
        let error = launch(&[("PLUGIN_CLIENT_CERT", "-----BEGIN")]).unwrap_err();
        assert!(error.to_string().contains("PLUGIN_CLIENT_CERT"), "{error}");
    }

    #[test]
    fn item_2_the_name_is_the_file_name_that_was_started() {
        let name = |argv0: &str| file_name(Some(OsString::from(argv0)));
        assert_eq!(name("/opt/plugins/lamplighter"), "lamplighter");
        assert_eq!(name("rack-target"), "rack-target");
        assert_eq!(file_name(None), "lamplighter");
    }
}
