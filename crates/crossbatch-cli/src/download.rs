//! `crossbatch weights fetch`: a file from the network, checked before it has its name.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use crossbatch_models::Published;
use crossbatch_train::Observer;
use fs_err as fs;
use sha2::{Digest, Sha256};

use crate::{args::WeightsFetchArgs, printer::Printer};

pub(crate) fn fetch(args: &WeightsFetchArgs, printer: &Printer) -> anyhow::Result<()> {
    let file = Published::find(&args.name).map_err(anyhow::Error::msg)?;
    let url = args.url.as_deref().unwrap_or(file.url);
    let expected = args.sha256.as_deref().or(file.sha256).map(str::to_lowercase);
    match &expected {
        None if !args.accept_unknown => bail!(
            "no checksum of `{}` is stated by its publisher; give the one you trust (--sha256 HEX), or take the file as it comes (--accept-unknown)",
            file.name
        ),
        Some(digits)
            if digits.len() < 8 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) =>
        {
            bail!("cannot use `--sha256 {digits}`: expected 8 to 64 hexadecimal digits")
        }
        _ => {}
    }
    fs::create_dir_all(&args.output)?;
    let target = args.output.join(file.file_name());
    if target.exists() {
        let found = sha256(&target)?;
        check(&found, expected.as_deref()).with_context(|| {
            format!("{} is there already and is another file; move it away", target.display())
        })?;
        printer.note(&format!("{} is there already, SHA-256 {found}", target.display()));
        return Ok(());
    }
    let part = with_end(&target, ".part");
    download(url, &part, printer)?;
    let found = sha256(&part)?;
    if let Err(error) = check(&found, expected.as_deref()) {
        fs::remove_file(&part)?;
        return Err(error.context(format!("what came from {url} was thrown away")));
    }
    fs::rename(&part, &target)?;
    printer.result(&format!("{}\n", target.display()))?;
    let known = if expected.is_some() { "checked" } else { "not checked: none was stated" };
    printer.note(&format!("SHA-256 {found} ({known}); licence: {}", file.licence));
    printer.note(&format!("use it with crossbatch train --weights {}", target.display()));
    Ok(())
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn check(found: &str, expected: Option<&str>) -> anyhow::Result<()> {
    match expected {
        Some(expected) if !found.starts_with(expected) => {
            bail!("its SHA-256 is {found}, expected {expected}…")
        }
        _ => Ok(()),
    }
}

/// The file's SHA-256 in hexadecimal.
fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Appends what is missing of `url` to `part`; a server that cannot continue sends all of it again.
fn download(url: &str, part: &Path, printer: &Printer) -> anyhow::Result<()> {
    let done = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let failed = || format!("cannot fetch {url}; what came so far is kept in {}", part.display());
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.get(url);
    let request =
        if done > 0 { request.header("Range", format!("bytes={done}-")) } else { request };
    let mut response = request.call().with_context(failed)?;
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let start = match status {
        206 if header("content-range")
            .is_some_and(|range| range.starts_with(&format!("bytes {done}-"))) =>
        {
            done
        }
        // Nothing is missing, or the part is no part of this file; the checksum tells.
        416 if done > 0 => return Ok(()),
        200 => 0,
        _ => bail!(
            "{url} answers with status {status}; what came so far is kept in {}",
            part.display()
        ),
    };
    let length: Option<u64> = header("content-length").and_then(|text| text.parse().ok());
    let total = length.map(|length| start + length);
    if start > 0 {
        printer.note(&format!("continuing after {start} bytes"));
    }
    let mut file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .append(start > 0)
        .truncate(start == 0)
        .open(part)?;
    let mut reader = response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut written = start;
    loop {
        let count = reader.read(&mut buffer).with_context(failed)?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count])?;
        written += count as u64;
        if let Some(total) = total {
            printer.progress("downloading", written as usize, total as usize);
        }
    }
    file.sync_all()?;
    if total.is_some_and(|total| written < total) {
        bail!("{}: it broke off after {written} bytes; run the command again to go on", failed());
    }
    Ok(())
}
