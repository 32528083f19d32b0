//! Who is at the other end of the Unix socket, as the kernel and the host's own files say.

/// Where user names stand.
const PASSWD: &str = "/etc/passwd";

/// Where groups and their members stand.
const GROUP: &str = "/etc/group";

/// The longest name that root may claim, in bytes: as long as Linux allows.
const CLAIMED_BYTES_MAX: usize = 32;

/// The local user at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its number, from the kernel.
    pub(crate) uid: u32,
    /// Its name; `uid 1234` where the host has none.
    pub(crate) name: String,
    /// The groups that it is in, by name.
    pub(crate) groups: Vec<String>,
    /// Whether it is in the group of the agent's socket.
    pub(crate) shares_socket: bool,
}

impl Account {
    /// Looks up who the kernel has named; `socket` is the group of the agent's socket.
    pub(crate) async fn look_up(uid: u32, gid: u32, socket: u32) -> Self {
        let users = tokio::fs::read_to_string(PASSWD).await.unwrap_or_default();
        let groups = tokio::fs::read_to_string(GROUP).await.unwrap_or_default();
        Self::of((uid, gid), socket, &users, &groups)
    }

    fn of((uid, gid): (u32, u32), socket: u32, users: &str, groups: &str) -> Self {
        let name = name_of(uid, users).map_or_else(|| format!("uid {uid}"), str::to_owned);
        let mut shares_socket = gid == socket;
        let mut own = Vec::new();
        for line in groups.lines() {
            let mut fields = line.split(':');
            let (Some(group), _, Some(number), members) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let Ok(number) = number.parse::<u32>() else { continue };
            let member = members.is_some_and(|members| members.split(',').any(|m| m == name));
            if number == gid || member {
                own.push(group.to_owned());
                shares_socket |= number == socket;
            }
        }
        Self { uid, name, groups: own, shares_socket }
    }

    /// The person's name in orders. Root may say for whom it acts (`sudo` knows); nobody else is believed.
    pub(crate) fn person(&self, claimed: &str) -> String {
        let odd = |c: char| c.is_control() || c.is_whitespace();
        let claim = claimed.len() <= CLAIMED_BYTES_MAX && !claimed.contains(odd);
        if self.uid == 0 && claim && !claimed.is_empty() {
            return claimed.to_owned();
        }
        self.name.clone()
    }
}

fn name_of(uid: u32, users: &str) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000::/home/ada:/bin/sh\nbroken\n";
    const GROUPS: &str =
        "root:x:0:\nada:x:1000:\nlamps:x:40:bob,ada\nothers:x:41:adam\nbroken:x\nodd:x:y:ada\n";

    #[test]
    fn a_user_is_named_by_the_third_field() {
        assert_eq!(name_of(1000, USERS), Some("ada"));
        assert_eq!(name_of(1, USERS), None);
    }

    #[test]
    fn groups_are_those_of_the_kernel_and_those_that_name_the_user() {
        let ada = Account::of((1000, 1000), 40, USERS, GROUPS);
        assert_eq!((ada.name.as_str(), ada.groups), ("ada", vec!["ada".into(), "lamps".into()]));
        assert!(ada.shares_socket, "by membership");
        assert!(Account::of((1000, 40), 40, USERS, "").shares_socket, "by its own group");
        assert!(!Account::of((1000, 1000), 41, USERS, GROUPS).shares_socket, "adam is not ada");
        assert_eq!(Account::of((7, 7), 40, USERS, GROUPS).name, "uid 7");
    }

    #[test]
    fn only_root_may_say_for_whom_it_acts() {
        let root = Account::of((0, 0), 0, USERS, GROUPS);
        assert_eq!(root.person("ada"), "ada");
        assert_eq!(root.person(""), "root");
        assert_eq!(root.person("ada lovelace"), "root");
        assert_eq!(Account::of((1000, 1000), 0, USERS, GROUPS).person("root"), "ada");
    }
}
