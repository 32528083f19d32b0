//! The same machine in a cell of namespaces, where it is to be a Nomad client: Nomad under an emulated processor takes minutes to
//! start. Card, network, ssh, init and shutdown are those of the emulated one; its end of the network is gone while it is off.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Card, Closet};
use crate::cluster::NomadMachine;
use crate::process::on_path;
use crate::programs::program;

/// Run by the card. Nomad wants a user `nobody` whom it may give files to: in a user namespace of one user that is he. The
/// sshd changes to the user who logs in but where it is he already and not root, and in such a namespace that fails: so it has a
/// namespace below, in which the one user has another number; there is none below a mere chroot.
const CELL: &str = r#"
ip link add cell type veth peer name eth0 address MAC
ip link set cell master board up
unshare --mount --pid --fork --kill-child sh -ec '
mkdir -p ROOT; mount -t tmpfs none ROOT; cd ROOT
BUSYBOX cpio -i < INITRD
rm -r modules; mkdir modules
for node in null zero random urandom; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mkdir -p .HOME; mount --bind HOME .HOME
for own in NOMAD UNSHARE; do touch bin/${own##*/}; mount --bind $own bin/${own##*/}; done
for applet in df sleep; do ln -s busybox bin/$applet; done
printf "%s\n" root:x:1:1:root:/root:/bin/sh nobody:x:0:0::/:/bin/sh > etc/passwd
sed -i "s,:/usr,:/bin/unshare --user --map-user=1 --map-group=1 /usr," etc/inittab
echo "::respawn:/bin/NOMADS_NAME CLIENT" >> etc/inittab
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
mount -t proc proc proc
mkdir old; BUSYBOX pivot_root . old
/bin/busybox umount -l /old
address=ADDRESS exec /bin/init
'
ended=$?
ip link delete cell
exit $ended
"#;

impl Closet {
    /// The command of a rack's machine as [`Closet::command`] has it, for a cell that is this Nomad client. `home` is the
    /// folder in which the client's files are.
    ///
    /// # Errors
    /// Where the virtual rack is not built, or the script can not be written.
    pub fn cell(&self, card: &Card<'_>, client: &NomadMachine, home: &Path) -> Result<Vec<String>> {
        let (nomad, arguments) = client.argv().split_first().context("a client has an argv")?;
        let name = Path::new(nomad).file_name().and_then(|name| name.to_str());
        let name = name.context("a program has a name")?;
        let unshare = on_path("unshare").context("unshare is not on the PATH")?;
        let parts = self.kernel.with_file_name("busybox");
        let words = [
            ("MAC", card.mac.to_owned()),
            ("ROOT", self.folder.join("root").display().to_string()),
            ("BUSYBOX", parts.display().to_string()),
            ("INITRD", self.folder.join("initrd").display().to_string()),
            ("HOME", home.display().to_string()),
            ("NOMADS_NAME", name.to_owned()),
            ("NOMAD", nomad.clone()),
            ("UNSHARE", unshare.display().to_string()),
            ("CLIENT", arguments.join(" ")),
            ("ADDRESS", card.address.to_owned()),
        ];
        let script = words.iter().fold(CELL.to_owned(), |text, (from, to)| text.replace(from, to));
        let file = self.folder.join(format!("{}.sh", client.name()));
        std::fs::write(&file, script)?;
        let rack = program("virtual-rack")?.display().to_string();
        let mut argv = super::standing_by(&rack, card);
        argv.extend(["--".to_owned(), "sh".to_owned(), file.display().to_string()]);
        Ok(argv)
    }
}
