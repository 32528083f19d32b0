//! Who is at the other end of the socket, by name.

/// Where user names stand.
const PASSWD: &str = "/etc/passwd";

/// The longest claimed name that is taken from root, in bytes: as long as Linux allows.
const CLAIMED_BYTES_MAX: usize = 32;

/// The name of the user at the other end. Root may say for whom it acts (`sudo` knows); nobody else is believed.
pub(crate) async fn user_name(uid: Option<u32>, claimed: &str) -> String {
    let Some(uid) = uid else { return "unknown".to_owned() };
    let odd = |c: char| c.is_control() || c.is_whitespace();
    let claim = claimed.len() <= CLAIMED_BYTES_MAX && !claimed.contains(odd);
    if uid == 0 && claim && !claimed.is_empty() {
        return claimed.to_owned();
    }
    let users = tokio::fs::read_to_string(PASSWD).await.unwrap_or_default();
    name_of(uid, &users).map_or_else(|| format!("uid {uid}"), str::to_owned)
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

    #[test]
    fn a_user_is_named_by_the_third_field() {
        let users = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000::/home/ada:/bin/sh\nbroken\n";
        assert_eq!(name_of(1000, users), Some("ada"));
        assert_eq!(name_of(1, users), None);
    }

    #[tokio::test]
    async fn only_root_may_say_for_whom_it_acts() {
        assert_eq!(user_name(Some(0), "ada").await, "ada");
        assert_eq!(user_name(Some(4_000_000_000), "ada").await, "uid 4000000000");
        assert_eq!(user_name(None, "ada").await, "unknown");
    }
}
