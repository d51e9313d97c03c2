//! The program `crossbatch`.

mod answers;
mod args;
mod bench;
mod census;
mod commands;
mod download;
mod embedding;
mod images;
mod memory;
mod output;
mod printer;
mod sheet;
mod table;
mod target;

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use crossbatch_math::counting::Counting;
#[cfg(feature = "mimalloc")]
use mimalloc::MiMalloc as Allocator;
#[cfg(not(feature = "mimalloc"))]
use std::alloc::System as Allocator;

use crate::{args::Args, printer::Printer};

/// Counts for `crossbatch bench` only.
#[global_allocator]
static ALLOCATOR: Counting<Allocator> = Counting::new(Allocator);

/// Freed memory stays with the program for a minute, where mimalloc would give it back after a second: a training step's
/// buffers are as large as the last one's, which would get new pages each time. `MIMALLOC_PURGE_DELAY` says otherwise.
#[cfg(feature = "mimalloc")]
fn keep_memory() {
    /// `mi_option_purge_delay` of `mimalloc.h`, in milliseconds; the binding has no name for it.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: a number is stored, by the only thread there is.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 60_000);
    }
}

#[cfg(not(feature = "mimalloc"))]
fn keep_memory() {}

fn main() -> ExitCode {
    keep_memory();
    let args = Args::parse();
    let printer = Arc::new(Printer::new(&args.common));
    printer::show_warnings(Arc::clone(&printer));
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
