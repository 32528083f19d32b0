//! The one table of exit codes: what a script may rely on.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All was done, and the hardware says so.
    Ok,
    /// Some was not done, or an operation failed.
    Partial,
    /// Refused; nothing has moved.
    Refused,
    /// The agent can not be reached, or a device can not.
    Unreachable,
    /// All was done, but on hardware that can not say so.
    Unverified,
    /// Still running: this command no longer waits, the agent goes on.
    Pending,
    /// The command line makes no sense; nothing has moved.
    Usage,
    /// The rack file has errors.
    RackFile,
    /// The agent could not start or had to stop, or a defect of this program.
    Internal,
}

/// The table that `--help` shows.
pub const TABLE: &str = "\
Exit codes:
   0  ok          all was done, and the hardware says so
   1  partial     some was not done, or an operation failed (check: warnings only; doctor: not all is well;
                  audit verify: the chain does not hold)
   2  refused     the agent refused; nothing has moved
   3  unreachable the agent can not be reached; what it does is not known
   4  unverified  all was done, but on hardware that can not say so
   5  pending     still running: the command no longer waits, the agent goes on
  64  usage       the command line makes no sense; nothing has moved
  65  rack file   the rack file has errors
  70  internal    the agent could not start, or a defect of this program";

impl Exit {
    /// The code, as in [`TABLE`].
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Partial => 1,
            Exit::Refused => 2,
            Exit::Unreachable => 3,
            Exit::Unverified => 4,
            Exit::Pending => 5,
            Exit::Usage => 64,
            Exit::RackFile => 65,
            Exit::Internal => 70,
        }
    }

    /// One word for what several machines came to: the same for all is that; done with and without proof is
    /// [`Exit::Unverified`]; all else is [`Exit::Partial`].
    #[must_use]
    pub fn of_all(ends: impl IntoIterator<Item = Exit>) -> Exit {
        let mut worst: Option<Exit> = None;
        for end in ends {
            worst = Some(match worst {
                None => end,
                Some(so_far) if so_far == end => end,
                Some(Exit::Ok | Exit::Unverified) if matches!(end, Exit::Ok | Exit::Unverified) => {
                    Exit::Unverified
                }
                Some(_) => Exit::Partial,
            });
        }
        worst.unwrap_or(Exit::Ok)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_help_names_every_code_once() {
        for exit in [
            Exit::Ok,
            Exit::Partial,
            Exit::Refused,
            Exit::Unreachable,
            Exit::Unverified,
            Exit::Pending,
            Exit::Usage,
            Exit::RackFile,
            Exit::Internal,
        ] {
            let code = exit.code().to_string();
            let lines = TABLE.lines().filter(|line| line.split_whitespace().next() == Some(&code));
            assert_eq!(lines.count(), 1, "{exit:?}");
        }
    }

    #[test]
    fn different_ends_are_a_partial_success() {
        assert_eq!(Exit::of_all([Exit::Ok, Exit::Ok]), Exit::Ok);
        assert_eq!(Exit::of_all([Exit::Ok, Exit::Unverified, Exit::Ok]), Exit::Unverified);
        assert_eq!(Exit::of_all([Exit::Refused, Exit::Refused]), Exit::Refused);
        assert_eq!(Exit::of_all([Exit::Ok, Exit::Refused]), Exit::Partial);
        assert_eq!(Exit::of_all([Exit::Pending, Exit::Pending]), Exit::Pending);
        assert_eq!(Exit::of_all([]), Exit::Ok);
    }
}
