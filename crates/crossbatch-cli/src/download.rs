//! `crossbatch weights fetch`: published weights, checked before they have their name.

use std::{
    io::{self, IsTerminal, Write},
    ops::RangeInclusive,
};

use anyhow::bail;
use crossbatch_download::{Error, Wanted, Watch, fetch as fetch_file};
use crossbatch_models::Published;
use crossbatch_train::Observer;

use crate::{args::WeightsFetchArgs, printer::Printer};

pub(crate) fn fetch(args: &WeightsFetchArgs, printer: &Printer) -> anyhow::Result<()> {
    let file = Published::find(&args.name).map_err(anyhow::Error::msg)?;
    let url = args.url.as_deref().unwrap_or(file.url);
    let sha256 = args.sha256.as_deref().or(file.sha256);
    let target = args.output.join(file.file_name());
    // What is there is checked without a question.
    let asks = sha256.is_none() && !args.accept_unknown && !target.exists();
    if asks && !io::stdin().is_terminal() {
        bail!(
            "no checksum of `{}` is stated by its publisher; give the one you trust (--sha256 HEX), or take the file as it comes (--accept-unknown)",
            file.name
        );
    }
    let wanted = Wanted { url, target: &target, sha256, bytes: file.mib.map(bytes_of) };
    let mut watch = Terminal { printer, accept_unknown: args.accept_unknown };
    let fetched = fetch_file(&wanted, &mut watch).map_err(|error| match error {
        Error::Unavailable { url } => anyhow::anyhow!(
            "this program was built without the feature `download`; fetch {url} with another program and give the file to `crossbatch train --weights`, or build with `cargo build --release --features download`"
        ),
        other => other.into(),
    })?;
    printer.result(&format!("{}\n", target.display()))?;
    let how = match sha256 {
        Some(digits) if digits.len() == 64 => "as expected".to_owned(),
        Some(digits) => format!("its first {} digits are as expected", digits.len()),
        None => "compared with nothing: none is stated".to_owned(),
    };
    let there = if fetched.was_there { "it was there already; " } else { "" };
    printer.note(&format!("{there}SHA-256 {} ({how}); licence: {}", fetched.sha256, file.licence));
    printer.note(&format!("use it with crossbatch train --weights {}", target.display()));
    Ok(())
}

/// MiB are stated to three decimals.
fn bytes_of(mib: f64) -> RangeInclusive<u64> {
    let bytes = |mib: f64| (mib * f64::from(1 << 20)) as u64;
    bytes(mib - 0.001)..=bytes(mib + 0.001)
}

struct Terminal<'a> {
    printer: &'a Printer,
    accept_unknown: bool,
}

impl Watch for Terminal<'_> {
    fn progress(&mut self, done: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.printer.progress("downloading", done as usize, total as usize);
        }
    }

    fn resumed(&mut self, kept: u64) {
        self.printer.note(&format!("continuing after {kept} bytes"));
    }

    fn confirm(&mut self, sha256: &str) -> io::Result<bool> {
        if self.accept_unknown {
            return Ok(true);
        }
        let mut out = io::stderr().lock();
        write!(
            out,
            "SHA-256 {sha256}; its publisher states none to compare it with. Keep the file? [y/N] "
        )?;
        out.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stated_sizes_hold_the_files_own() {
        // torchvision states 44.661 MiB for resnet18-f37072fd.pth, a file of 46,830,571 bytes.
        assert!(bytes_of(44.661).contains(&46_830_571));
        assert!(!bytes_of(44.661).contains(&46_833_000));
    }
}
