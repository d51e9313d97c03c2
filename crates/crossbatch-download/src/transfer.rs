//! Bytes from an HTTP server to the end of the part.

use std::{io::Read, time::Duration};

use ureq::{Body, http::Response};

use crate::{Error, Wanted, Watch, part::Part};

/// How long a server may take to answer; the file itself may take as long as it likes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Appends what is missing. Says whether bytes of an earlier call are still in the part.
pub(crate) fn transfer(
    wanted: &Wanted,
    part: &mut Part,
    watch: &mut dyn Watch,
) -> Result<bool, Error> {
    let result = request(wanted, part).and_then(|answer| receive(wanted, part, answer, watch));
    if result.is_err() {
        part.remove_if_empty()?;
    }
    result
}

/// The answer to a request for what is missing.
fn request(wanted: &Wanted, part: &Part) -> Result<Response<Body>, Error> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE));
    let mut request = ureq::Agent::from(config.build()).get(wanted.url);
    if part.length > 0 {
        request = request.header("Range", format!("bytes={}-", part.length));
        if let Some(version) = &part.version {
            request = request.header("If-Range", version);
        }
    }
    request.call().map_err(|error| broken(wanted, part, error.to_string()))
}

fn receive(
    wanted: &Wanted,
    part: &mut Part,
    mut answer: Response<Body>,
    watch: &mut dyn Watch,
) -> Result<bool, Error> {
    let resumed = match answer.status().as_u16() {
        206 if header(&answer, "content-range")
            .is_some_and(|range| range.starts_with(&format!("bytes {}-", part.length))) =>
        {
            watch.resumed(part.length);
            true
        }
        // All of it is there, or more than all: then these bytes are another file's.
        416 if part.length > 0 => {
            let whole = format!("bytes */{}", part.length);
            if header(&answer, "content-range").is_some_and(|range| range == whole) {
                return Ok(true);
            }
            part.clear()?;
            let answer = request(wanted, part)?;
            return receive(wanted, part, answer, watch);
        }
        // The server knows no ranges, or its file has changed.
        200 => {
            part.clear()?;
            part.set_version(version(&answer))?;
            false
        }
        status => return Err(Error::Status { url: wanted.url.to_owned(), status }),
    };
    let rest: Option<u64> = header(&answer, "content-length").and_then(|text| text.parse().ok());
    let total = rest.map(|rest| part.length + rest);
    if let Some(total) = total {
        check_size(wanted, part, total)?;
    }
    let mut reader = answer.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => part.append(&buffer[..count])?,
            Err(error) => return Err(broken(wanted, part, error.to_string())),
        }
        // A server that announces no length may send for ever.
        if let Some(expected) = &wanted.bytes
            && part.length > *expected.end()
        {
            check_size(wanted, part, part.length)?;
        }
        watch.progress(part.length, total);
    }
    if total.is_some_and(|total| part.length < total) {
        return Err(broken(wanted, part, "it broke off".to_owned()));
    }
    check_size(wanted, part, part.length)?;
    Ok(resumed)
}

/// Refuses a size that cannot be the file's, and what came of it.
fn check_size(wanted: &Wanted, part: &mut Part, found: u64) -> Result<(), Error> {
    match &wanted.bytes {
        Some(expected) if !expected.contains(&found) => {
            part.clear()?;
            let (least, most) = (*expected.start(), *expected.end());
            Err(Error::Size { url: wanted.url.to_owned(), found, least, most })
        }
        _ => Ok(()),
    }
}

fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

/// What the server can recognise its file by: a strong entity tag, else its date.
fn version(answer: &Response<Body>) -> Option<String> {
    let strong = header(answer, "etag").filter(|tag| !tag.starts_with("W/"));
    strong.or_else(|| header(answer, "last-modified")).map(str::to_owned)
}

fn broken(wanted: &Wanted, part: &Part, reason: String) -> Error {
    let (url, kept) = (wanted.url.to_owned(), part.length);
    Error::Broken { url, reason, part: part.path().to_owned(), kept }
}
