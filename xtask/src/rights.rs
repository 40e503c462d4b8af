//! Root's rights: whether we have them, and how a command gets them.
//!
//! Only what is tested or run gets them; cargo never does, so that a working copy
//! doesn't fill with root's files. (The real-kernel tests, which do get them, build
//! their workload by a rustc of their own; it stays in the target directory.)

use std::{
    env,
    ffi::OsString,
    io::IsTerminal as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::command;

/// How this process can run something as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// It is root.
    Root,
    /// By this `sudo`.
    Sudo(PathBuf),
    /// Not at all.
    None,
}

impl Rights {
    /// What can be had here. `sudo` counts if it asks for no password, or if there is
    /// a terminal on which it can ask.
    ///
    /// # Errors
    /// /proc isn't mounted.
    pub(crate) fn detect() -> Result<Self> {
        // The owner of /proc/self is the effective user.
        let user = Path::new("/proc/self").metadata().context("can't read /proc/self")?.uid();
        if user == 0 {
            return Ok(Self::Root);
        }
        let Some(sudo) = command::find("sudo") else { return Ok(Self::None) };
        let asks_nothing = command::succeeds(Command::new(&sudo).args(["-n", "true"]));
        let may_ask = std::io::stdin().is_terminal();
        Ok(if asks_nothing || may_ask { Self::Sudo(sudo) } else { Self::None })
    }

    /// A command that runs `program` as root; `None` where that can't be.
    /// `keep` names the environment variables that must reach it (sudo drops them).
    pub(crate) fn command(&self, program: &Path, keep: &[&str]) -> Option<Command> {
        match self {
            Self::Root => Some(Command::new(program)),
            Self::Sudo(sudo) => {
                let mut command = Command::new(sudo);
                let kept: Vec<_> =
                    keep.iter().copied().filter(|name| env::var_os(name).is_some()).collect();
                if !kept.is_empty() {
                    command.arg(format!("--preserve-env={}", kept.join(",")));
                }
                command.arg("--").arg(program);
                Some(command)
            }
            Self::None => None,
        }
    }

    /// Arguments for cargo, before its subcommand, that make it run what it has built
    /// as root, with our environment and PATH (sudo would replace it by its own, on
    /// which rustup's programs are not).
    pub(crate) fn cargo_runner(&self) -> Vec<OsString> {
        let Self::Sudo(sudo) = self else { return Vec::new() };
        let path = env::var("PATH").unwrap_or_default();
        let runner = [&*sudo.to_string_lossy(), "-E", "env", &format!("PATH={path}")]
            .map(toml_string)
            .join(", ");
        vec!["--config".into(), format!("target.'cfg(unix)'.runner = [{runner}]").into()]
    }
}

fn toml_string(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_needs_no_helper() {
        let command = Rights::Root.command(Path::new("/bin/true"), &["PATH"]).unwrap();
        assert_eq!(command.get_program(), "/bin/true");
        assert!(Rights::Root.cargo_runner().is_empty());
        assert!(Rights::None.command(Path::new("/bin/true"), &[]).is_none());
    }

    #[test]
    fn sudo_keeps_what_is_asked_for_and_set() {
        let sudo = Rights::Sudo("/usr/bin/sudo".into());
        let command = sudo.command(Path::new("/x/slicemeter"), &["PATH", "NOT_SET_ANYWHERE"]);
        let line = command::show(&command.unwrap());
        assert_eq!(line, "/usr/bin/sudo --preserve-env=PATH -- /x/slicemeter");
        let runner = sudo.cargo_runner();
        assert_eq!(runner[0], "--config");
        let config = runner[1].to_str().unwrap();
        assert!(config.contains(r#"= ["/usr/bin/sudo", "-E", "env", "PATH="#), "{config}");
    }

    #[test]
    fn strings_survive_toml() {
        assert_eq!(toml_string(r#"a "b" \c"#), r#""a \"b\" \\c""#);
    }
}
