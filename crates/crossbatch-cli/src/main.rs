//! The program `crossbatch`.

mod answers;
mod args;
mod census;
mod commands;
mod embedding;
mod images;
mod output;
mod printer;
mod sheet;
mod table;
mod target;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, printer::Printer};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let printer = Printer::new(&args.common);
    match commands::run(args, &printer) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            printer.error(&error);
            ExitCode::from(2)
        }
    }
}

/// Whoever read our output has read enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
