//! Reading gzip from the middle.
//!
//! A gzip stream has no index: what a byte means hangs on all before it. So one pass over the file keeps
//! a copy of the decoder's state (43 KiB) every few MiB; a reader starts at the nearest copy before
//! what it wants. Streams of several members, as parallel compressors write them, are one stream.

use std::io::{self, Read};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use super::handle::Handle;

/// Decompressed bytes from one saved state to the next.
const STRIDE: u64 = 4 << 20;
const INPUT: usize = 64 << 10;

/// A stream whose states were kept.
pub(super) struct Gzip {
    handle: Handle,
    saved: Vec<State>,
}

/// Where a decoder stands.
#[derive(Clone)]
struct State {
    /// Compressed bytes taken.
    taken: u64,
    /// Decompressed bytes given.
    given: u64,
    /// None between members.
    decoder: Option<Box<InflateState>>,
}

impl State {
    fn start() -> Self {
        Self { taken: 0, given: 0, decoder: None }
    }
}

impl Gzip {
    /// Reads the whole stream once, giving it to `visit`, and checks its checksums.
    pub(super) fn index<T>(
        handle: Handle,
        visit: impl FnOnce(&mut Stream) -> io::Result<T>,
    ) -> io::Result<(Self, T)> {
        let mut stream = Stream::new(handle.clone(), State::start());
        stream.saved = Some(Vec::new());
        stream.checksum = Some(crc32fast::Hasher::new());
        let value = visit(&mut stream)?;
        // What visit did not want is still to be checked.
        io::copy(&mut stream, &mut io::sink())?;
        let saved = stream.saved.take().unwrap_or_default();
        Ok((Self { handle, saved }, value))
    }

    /// The decompressed bytes from `offset` on.
    pub(super) fn at(&self, offset: u64) -> io::Result<Stream> {
        let after = self.saved.partition_point(|state| state.given <= offset);
        let state = after.checked_sub(1).map_or_else(State::start, |at| self.saved[at].clone());
        let skipped = offset - state.given;
        let mut stream = Stream::new(self.handle.at(state.taken), state);
        if io::copy(&mut stream.by_ref().take(skipped), &mut io::sink())? < skipped {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(stream)
    }
}

/// Decompressed bytes, in order.
pub(super) struct Stream {
    handle: Handle,
    state: State,
    input: Vec<u8>,
    used: usize,
    /// Bytes of this member, for its trailer.
    member: u32,
    checksum: Option<crc32fast::Hasher>,
    saved: Option<Vec<State>>,
}

impl Stream {
    fn new(handle: Handle, state: State) -> Self {
        Self { handle, state, input: Vec::new(), used: 0, member: 0, checksum: None, saved: None }
    }

    /// Compressed bytes that wait; none at the end of the file.
    fn fill(&mut self) -> io::Result<&[u8]> {
        if self.used == self.input.len() {
            self.input.resize(INPUT, 0);
            let count = self.handle.read(&mut self.input)?;
            self.input.truncate(count);
            self.used = 0;
        }
        Ok(&self.input[self.used..])
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
        self.state.taken += count as u64;
    }

    fn byte(&mut self) -> io::Result<u8> {
        let byte = *self.fill()?.first().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.consume(1);
        Ok(byte)
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// The head of a member (RFC 1952, section 2.3). False at the end of the file; bytes after the
    /// last member that are no member are padding.
    fn head(&mut self) -> io::Result<bool> {
        let first = self.state.taken == 0;
        if self.fill()?.is_empty() && !first {
            return Ok(false);
        }
        let magic = self.byte()?;
        if magic != 0x1F && !first {
            return Ok(false);
        }
        let [second, method, flags] = self.bytes()?;
        if [magic, second, method] != [0x1F, 0x8B, 8] || flags & 0xE0 != 0 {
            return Err(invalid("it is not a gzip stream"));
        }
        self.bytes::<6>()?;
        if flags & 4 != 0 {
            for _ in 0..u16::from_le_bytes(self.bytes()?) {
                self.byte()?;
            }
        }
        for text in [8, 16] {
            while flags & text != 0 && self.byte()? != 0 {}
        }
        if flags & 2 != 0 {
            self.bytes::<2>()?;
        }
        self.state.decoder = Some(InflateState::new_boxed(DataFormat::Raw));
        self.member = 0;
        Ok(true)
    }

    /// The end of a member: its checksum and length.
    fn tail(&mut self) -> io::Result<()> {
        self.state.decoder = None;
        let checksum = u32::from_le_bytes(self.bytes()?);
        let length = u32::from_le_bytes(self.bytes()?);
        if let Some(hasher) = &mut self.checksum {
            let found = std::mem::take(hasher).finalize();
            if (found, self.member) != (checksum, length) {
                return Err(invalid("the checksum of its gzip stream is wrong"));
            }
        }
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if output.is_empty() {
            return Ok(0);
        }
        loop {
            if self.state.decoder.is_none() && !self.head()? {
                return Ok(0);
            }
            self.fill()?;
            let input = &self.input[self.used..];
            let at_end = input.is_empty();
            let Some(decoder) = &mut self.state.decoder else { continue };
            let result = inflate(decoder, input, output, MZFlush::None);
            self.consume(result.bytes_consumed);
            let written = result.bytes_written;
            self.state.given += written as u64;
            self.member = self.member.wrapping_add(written as u32);
            if let Some(hasher) = &mut self.checksum {
                hasher.update(&output[..written]);
            }
            match result.status {
                Ok(MZStatus::StreamEnd) => self.tail()?,
                Ok(_) => {}
                // No progress for want of input.
                Err(MZError::Buf) if written == 0 && !at_end => {}
                Err(MZError::Buf) if written > 0 => {}
                Err(MZError::Buf) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(_) => return Err(invalid("its gzip stream is damaged")),
            }
            if let Some(saved) = &mut self.saved {
                let last = saved.last().map_or(0, |state| state.given);
                if self.state.given >= last + STRIDE {
                    saved.push(self.state.clone());
                }
            }
            if written > 0 {
                return Ok(written);
            }
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
