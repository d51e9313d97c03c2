//! Bytes from an HTTP server to the end of the part.

use std::{io::Read, ops::Range, time::Duration};

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
    let result = complete(wanted, part, watch);
    if result.is_err() {
        part.remove_if_empty()?;
    }
    result
}

/// Asks until all is there: a server may send less than it is asked for.
fn complete(wanted: &Wanted, part: &mut Part, watch: &mut dyn Watch) -> Result<bool, Error> {
    let mut resumed = false;
    loop {
        let mut answer = request(wanted, part)?;
        let asked = part.length > 0;
        let range = header(&answer, "content-range").and_then(content_range);
        // Where this answer's bytes end in the file, and where the file ends.
        let (end, total) = match (answer.status().as_u16(), range) {
            // The server knows no ranges, or its file has changed.
            (200, _) => {
                part.clear()?;
                part.set_version(version(&answer))?;
                resumed = false;
                let length = header(&answer, "content-length").and_then(|text| text.parse().ok());
                (length, length)
            }
            (206, Some(ContentRange { sent: Some(sent), total }))
                if asked && sent.start == part.length =>
            {
                if !resumed {
                    watch.resumed(part.length);
                }
                resumed = true;
                (Some(sent.end), total)
            }
            (416, Some(ContentRange { sent: None, total: Some(total) }))
                if asked && total == part.length =>
            {
                resumed = true;
                break;
            }
            // These bytes are another file's, or it sends other ones than it is asked for. Without a range it has no excuse:
            // this happens once.
            (206 | 416, _) if asked => {
                part.clear()?;
                resumed = false;
                continue;
            }
            (status, _) => return Err(Error::Status { url: wanted.url.to_owned(), status }),
        };
        if let Some(total) = total {
            check_size(wanted, part, total)?;
        }
        receive(wanted, part, &mut answer, (end, total), watch)?;
        // Of a file without a stated length, this was the whole or a range, and its last byte is told by 416.
        if end == total {
            break;
        }
    }
    check_size(wanted, part, part.length)?;
    Ok(resumed)
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

/// Appends an answer's bytes up to its `end`, if that is known.
fn receive(
    wanted: &Wanted,
    part: &mut Part,
    answer: &mut Response<Body>,
    (end, total): (Option<u64>, Option<u64>),
    watch: &mut dyn Watch,
) -> Result<(), Error> {
    let most = end.map_or(u64::MAX, |end| end - part.length);
    let mut reader = answer.body_mut().as_reader().take(most);
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
    if end.is_some_and(|end| part.length < end) {
        return Err(broken(wanted, part, "it broke off".to_owned()));
    }
    Ok(())
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

/// A `Content-Range`: the bytes that are sent, if any, and the file's length, if that is known.
struct ContentRange {
    sent: Option<Range<u64>>,
    total: Option<u64>,
}

/// Reads `bytes 5-9/20`, `bytes 5-9/*` and `bytes */20`. None if it is something else or cannot be.
fn content_range(text: &str) -> Option<ContentRange> {
    let (sent, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    if sent == "*" {
        return Some(ContentRange { sent: None, total });
    }
    let (first, last) = sent.split_once('-')?;
    let (first, end) = (first.parse().ok()?, last.parse::<u64>().ok()?.checked_add(1)?);
    let possible = first < end && total.is_none_or(|total| end <= total);
    possible.then_some(ContentRange { sent: Some(first..end), total })
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
