//! From nothing, or from an earlier call's part, to a file that has its name.

use crate::{Error, Fetched, Wanted, Watch, check, part::Part, transfer::transfer};

/// Fetches a file that was not there a moment ago.
pub(crate) fn download(
    wanted: &Wanted,
    expected: String,
    watch: &mut dyn Watch,
) -> Result<Fetched, Error> {
    let mut part = Part::open(wanted.target)?;
    // Whoever held the lock may have finished.
    if wanted.target.exists() {
        part.remove_if_empty()?;
        return check(wanted.target, expected);
    }
    part.check_place()?;
    if part.version.is_none() && wanted.sha256.is_none() {
        // Nothing would notice if the server's file had changed.
        part.clear()?;
    }
    let mut resumed = transfer(wanted, &mut part, watch)?;
    let found = loop {
        let found = part.sha256()?;
        if found.starts_with(&expected) {
            break found;
        }
        if !resumed {
            part.remove()?;
            return Err(Error::Mismatch { url: wanted.url.to_owned(), found, expected });
        }
        // The first bytes may be those of another file.
        part.clear()?;
        resumed = transfer(wanted, &mut part, watch)?;
    };
    if wanted.sha256.is_none() && !watch.confirm(&found)? {
        part.remove()?;
        return Err(Error::NotConfirmed { url: wanted.url.to_owned(), found });
    }
    // A program that knows nothing of the lock may have put a file there: it is not replaced.
    if wanted.target.exists() {
        let fetched = check(wanted.target, expected)?;
        part.remove()?;
        return Ok(fetched);
    }
    part.finish(wanted.target)?;
    Ok(Fetched { sha256: found, was_there: false })
}
