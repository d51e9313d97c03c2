//! The pages of a column, unpacked.

use std::{fs::File, io::Read, sync::Arc};

use ::parquet::{
    basic::Compression,
    column::page::{Page, PageMetadata, PageReader},
    errors::{ParquetError, Result},
    file::{metadata::ColumnChunkMetaData, serialized_reader::SerializedPageReader},
};
use ruzstd::decoding::StreamingDecoder;

/// The pages of one column in one group of rows.
///
/// Unlike the reader within, it unpacks Zstandard without C code, and it does not give out more than the file's own list
/// of columns says there is: that list has been checked against the size of the file.
pub(super) struct Pages {
    inner: SerializedPageReader<File>,
    zstd: bool,
    values: usize,
    /// Bytes that Zstandard may still unpack to.
    bytes: usize,
}

impl Pages {
    pub(super) fn open(file: &Arc<File>, chunk: &ColumnChunkMetaData, rows: usize) -> Result<Self> {
        let offset = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        if offset < 0 || chunk.compressed_size() < 0 {
            return Err(damaged("a place before the beginning of the file"));
        }
        let size = |claimed: i64| usize::try_from(claimed).map_err(|_| damaged("a negative size"));
        let zstd = matches!(chunk.compression(), Compression::ZSTD(_));
        let (values, bytes) = (size(chunk.num_values())?, size(chunk.uncompressed_size())?);
        let inner = if zstd {
            // Its pages come as they are stored.
            let stored = chunk.clone().into_builder();
            let stored = stored.set_compression(Compression::UNCOMPRESSED).build()?;
            SerializedPageReader::new(Arc::clone(file), &stored, rows, None)?
        } else {
            SerializedPageReader::new(Arc::clone(file), chunk, rows, None)?
        };
        Ok(Self { inner, zstd, values, bytes })
    }

    /// The bytes of a page, of which the first `plain` are never packed.
    fn unpack(&mut self, packed: &[u8], plain: usize) -> Result<Vec<u8>> {
        let (plain, packed) = packed
            .split_at_checked(plain)
            .ok_or_else(|| damaged("a page shorter than its levels"))?;
        let mut bytes = plain.to_vec();
        if !packed.is_empty() {
            let wrong = |error: &dyn std::fmt::Display| damaged(&format!("Zstandard: {error}"));
            let unpacked = StreamingDecoder::new(packed).map_err(|error| wrong(&error))?;
            let most = self.bytes as u64 + 1;
            unpacked.take(most).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
        }
        self.bytes = self
            .bytes
            .checked_sub(bytes.len())
            .ok_or_else(|| damaged("pages that unpack to more than the column's size"))?;
        Ok(bytes)
    }
}

fn damaged(found: &str) -> ParquetError {
    ParquetError::General(found.to_owned())
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(mut page) = self.inner.get_next_page()? else { return Ok(None) };
        if self.zstd {
            match &mut page {
                Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => {
                    *buf = self.unpack(buf, 0)?.into();
                }
                Page::DataPageV2 {
                    buf,
                    def_levels_byte_len,
                    rep_levels_byte_len,
                    is_compressed,
                    ..
                } if *is_compressed => {
                    let levels = *def_levels_byte_len as usize + *rep_levels_byte_len as usize;
                    *buf = self.unpack(buf, levels)?.into();
                }
                Page::DataPageV2 { .. } => {}
            }
        }
        if !matches!(page, Page::DictionaryPage { .. }) {
            self.values = self
                .values
                .checked_sub(page.num_values() as usize)
                .ok_or_else(|| damaged("pages with more values than the column has"))?;
        }
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
