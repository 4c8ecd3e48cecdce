//! The tallystick program: one binary for the services, the operator and the developer.
//!
//! Promises: standard output carries only what a command is for (the ready line, its table or its JSON); logs, hints
//! and errors go to standard error; the exit code is 0 (done), 1 (refused or failed) or 2 (used or configured
//! wrongly). Must not know: any rule about credits, SQL, or how a signature is made.

mod cli;
mod client;
mod clock;
mod command;
mod error;
mod output;
mod process;
mod settings;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

/// A call makes some two hundred small allocations, freed on whichever thread ends it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.command.wants_json();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::failure::report(&error, json);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), error::Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(error::Error::io("start the runtime"))?;
    {
        // The connection to a collector belongs to the runtime.
        let _entered = runtime.enter();
        telemetry::start(&cli.log, cli.command.traces(), cli.command.default_log_filter())?;
    }
    let outcome = runtime.block_on(cli.command.run());
    // A task that hangs in a blocking call must not keep the process alive beyond its work.
    runtime.shutdown_background();
    outcome
}
