//! Entry point: parse, set up logging, look at the host, run, exit code.

#![forbid(unsafe_code)]

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use slicemeter::{
    app,
    args::{self, Action, Config},
    errors::chain,
    exit, logging, preflight,
};

fn main() -> ExitCode {
    let code = match args::parse(std::env::args_os()) {
        Ok((action, config)) => start(action, config),
        Err(refusal) => refusal.print(),
    };
    code.into()
}

fn start(action: Action, config: Config) -> exit::Code {
    if let Err(error) = logging::start(config.log) {
        // Cannot happen in a process that does this once, and no log can tell of it.
        let _nobody_to_tell = writeln!(io::stderr(), "slicemeter: {}", chain(&error));
        return exit::Code::Internal;
    }
    let mut report = preflight::examine(&config);
    let verdict = report.exit_code();
    // What is missing is told all at once; where nothing is, nobody need wait for Docker.
    if action == Action::Check || verdict != exit::Code::Success {
        report.findings.push(preflight::examine_docker(&config.docker.host));
    }
    match action {
        Action::Check => report.print(),
        Action::Run => {
            report.log();
            if verdict == exit::Code::Success { run(config) } else { verdict }
        }
    }
}

fn run(config: Config) -> exit::Code {
    match app::run(config) {
        Ok(()) => exit::Code::Success,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            error.exit_code()
        }
    }
}
