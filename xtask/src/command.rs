//! Running other programs: found, shown, and judged by their exit status.
//!
//! It owns no policy: which program, with which rights, is its callers' business.

use std::{
    env,
    ffi::OsStr,
    io::{Read as _, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Where Debian keeps administrators' programs; not on an ordinary user's PATH.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The cargo that runs this xtask, to be run at the working copy's root.
///
/// Its path comes from `CARGO`, which cargo sets: by now `cargo` on PATH may be
/// another one (Debian's, installed for the eBPF build).
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root());
    // A relative one was meant from where the user stands.
    if env::var_os("CARGO_TARGET_DIR").is_some()
        && let Ok(target_dir) = workspace::target_dir()
    {
        command.env("CARGO_TARGET_DIR", target_dir);
    }
    command
}

/// The executable called `name` on PATH or among the administrators' programs.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SBIN.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

/// Prints the command and runs it with our own input and outputs.
///
/// # Errors
/// It can't be started, or its exit status isn't success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = show(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("can't run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs the command quietly; its standard output without the blanks around it.
///
/// # Errors
/// As [`run`]; what it wrote to standard error is part of the message.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let line = show(command);
    let output = command.output().with_context(|| format!("can't run `{line}`"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed: {}\n{}", output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether the command could be run and succeeded; what it prints is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Runs the command; its standard output goes on to `sink` as it comes (whole lines
/// or not: a test's name stands there while the test runs), and each line, once
/// complete, to `on_line` too. True if it succeeded.
///
/// # Errors
/// It can't be started, or its output can't be read or passed on.
pub(crate) fn stream(
    command: &mut Command,
    mut sink: impl Write,
    mut on_line: impl FnMut(&str),
) -> Result<bool> {
    let line = show(command);
    writeln!(sink, "$ {line}").context("can't write")?;
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("can't run `{line}`"))?;
    let mut output = child.stdout.take().context("the child's output is piped")?;
    let mut rest = Vec::new();
    let mut chunk = [0; 8 * 1024];
    loop {
        let length = output.read(&mut chunk).with_context(|| format!("output of `{line}`"))?;
        if length == 0 {
            break;
        }
        sink.write_all(&chunk[..length]).and_then(|()| sink.flush()).context("can't write")?;
        rest.extend_from_slice(&chunk[..length]);
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let complete: Vec<u8> = rest.drain(..=end).collect();
            on_line(String::from_utf8_lossy(&complete).trim_end());
        }
    }
    if !rest.is_empty() {
        on_line(&String::from_utf8_lossy(&rest));
    }
    let status = child.wait().with_context(|| format!("waiting for `{line}`"))?;
    Ok(status.success())
}

/// The command as one would type it, without its environment.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(quote).collect::<Vec<_>>().join(" ")
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_would_take_it() {
        let mut command = Command::new("echo");
        command.args(["a b", "it's", "plain=1", ""]);
        assert_eq!(show(&command), r"echo 'a b' 'it'\''s' plain=1 ''");
    }

    #[test]
    fn streamed_lines_are_whole_and_the_status_is_told() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "printf 'one\\ntw'; printf 'o\\nlast'; exit 3"]);
        let mut sink = Vec::new();
        let on_line = |line: &str| lines.push(line.to_owned());
        let succeeded = stream(&mut command, &mut sink, on_line).unwrap();
        assert!(!succeeded);
        assert!(sink.ends_with(b"one\ntwo\nlast"), "passed on as it was");
        assert_eq!(lines, ["one", "two", "last"]);
    }

    #[test]
    fn a_failure_names_the_command_and_its_complaint() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo broken >&2; exit 1"]);
        let message = format!("{:#}", capture(&mut command).unwrap_err());
        assert!(message.contains("broken") && message.contains("exit 1"), "{message}");
    }

    #[test]
    fn programs_are_found_only_where_they_are() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }
}
