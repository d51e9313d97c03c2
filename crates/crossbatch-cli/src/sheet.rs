//! Contact sheets: rows of framed thumbnails on white, as a PNG.

use std::{io::Cursor, path::Path, sync::Mutex};

use anyhow::Context;
use crossbatch_train::{Observer, write_atomically};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use rayon::prelude::*;

use crate::printer::Printer;

/// Side of a thumbnail in pixels.
pub(crate) const SIDE: usize = 96;
const FRAME: usize = 4;
const TILE: usize = SIDE + 2 * FRAME;
const GAP: usize = 8;
const MARGIN: usize = 16;

/// A picture of more would neither open nor be looked at.
const MOST_ROWS: usize = 200;
const MOST_COLUMNS: usize = 50;

const PAPER: [u8; 3] = [255; 3];
const MISSING: [u8; 3] = [224; 3];

/// What a tile's frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The image that was searched for.
    Query,
    /// Of the query's class.
    Right,
    /// Of another class.
    Wrong,
    /// Nothing.
    Plain,
}

impl Frame {
    fn colour(self) -> [u8; 3] {
        match self {
            Self::Query => [0x2f, 0x5d, 0x8a],
            Self::Right => [0x2a, 0x9d, 0x3a],
            Self::Wrong => [0xd1, 0x32, 0x2e],
            Self::Plain => [0xc4, 0xc4, 0xc4],
        }
    }
}

/// A thumbnail `[SIDE, SIDE, 3]` in its frame; `None` where the image could not be read.
pub(crate) struct Tile {
    pub(crate) frame: Frame,
    pub(crate) pixels: Option<Vec<u8>>,
}

/// How many tiles, and where.
pub(crate) struct Layout {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Whether the first column stands apart.
    pub(crate) lead: bool,
}

impl Layout {
    /// Draws the tiles that `tile` gives for row and column, and writes the PNG. Rows and columns
    /// beyond what a picture can show are left out with a note.
    pub(crate) fn write(
        mut self,
        path: &Path,
        printer: &Printer,
        tile: &(dyn Fn(usize, usize) -> Option<Tile> + Sync),
    ) -> anyhow::Result<()> {
        let (rows, columns) = (self.rows, self.columns);
        self.rows = rows.min(MOST_ROWS);
        self.columns = columns.min(MOST_COLUMNS);
        if (self.rows, self.columns) != (rows, columns) {
            printer.note(&format!(
                "the sheet shows {} of {rows} rows and {} of {columns} columns",
                self.rows, self.columns
            ));
        }
        let pixels = self.draw(tile, &|done| printer.progress("drawing", done, self.rows));
        let mut bytes = Cursor::new(Vec::new());
        let (width, height) = (self.width() as u32, self.height() as u32);
        PngEncoder::new(&mut bytes)
            .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
            .with_context(|| format!("cannot draw {}", path.display()))?;
        write_atomically(path, bytes.get_ref())?;
        printer.note(&format!("sheet: {}", path.display()));
        Ok(())
    }

    fn width(&self) -> usize {
        self.left(self.columns.max(1) - 1) + TILE + MARGIN
    }

    fn height(&self) -> usize {
        2 * MARGIN + self.rows * (TILE + GAP) - if self.rows > 0 { GAP } else { 0 }
    }

    /// Where a column begins.
    fn left(&self, column: usize) -> usize {
        let apart = if self.lead && column > 0 { MARGIN } else { 0 };
        MARGIN + column * (TILE + GAP) + apart
    }

    /// Pixels `[height, width, 3]`.
    fn draw(
        &self,
        tile: &(dyn Fn(usize, usize) -> Option<Tile> + Sync),
        progress: &(dyn Fn(usize) + Sync),
    ) -> Vec<u8> {
        let stride = self.width() * 3;
        let mut pixels = vec![PAPER[0]; stride * self.height()];
        let drawn = Mutex::new(0);
        // Each row of tiles is a run of whole picture lines: the gap below it belongs to it.
        pixels[stride * MARGIN..]
            .par_chunks_mut(stride * (TILE + GAP))
            .take(self.rows)
            .enumerate()
            .for_each(|(row, lines)| {
                for column in 0..self.columns {
                    if let Some(tile) = tile(row, column) {
                        draw_tile(lines, stride, self.left(column), &tile);
                    }
                }
                // Reported under the lock, so that the count never falls.
                let mut drawn = drawn.lock().expect("no panic while the count is held");
                *drawn += 1;
                progress(*drawn);
            });
        pixels
    }
}

fn draw_tile(lines: &mut [u8], stride: usize, left: usize, tile: &Tile) {
    let colour = tile.frame.colour();
    for (y, line) in lines.chunks_mut(stride).take(TILE).enumerate() {
        let line = &mut line[left * 3..(left + TILE) * 3];
        line.as_chunks_mut::<3>().0.fill(colour);
        let Some(inner) = y.checked_sub(FRAME).filter(|&inner| inner < SIDE) else { continue };
        let line = &mut line[FRAME * 3..(FRAME + SIDE) * 3];
        match &tile.pixels {
            Some(pixels) => line.copy_from_slice(&pixels[inner * SIDE * 3..(inner + 1) * SIDE * 3]),
            None => line.as_chunks_mut::<3>().0.fill(MISSING),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_in_their_frames_and_nowhere_else() {
        let layout = Layout { rows: 2, columns: 3, lead: true };
        let tile = |row: usize, column: usize| {
            let frame = if column == 0 { Frame::Query } else { Frame::Right };
            (row == 0 || column < 2).then(|| Tile { frame, pixels: Some(vec![7; SIDE * SIDE * 3]) })
        };
        let pixels = layout.draw(&tile, &|_| {});
        let (width, height) = (layout.width(), layout.height());
        assert_eq!(
            (width, height),
            (16 + 104 + 8 + 16 + 104 + 8 + 104 + 16, 16 + 104 + 8 + 104 + 16)
        );
        let at = |x: usize, y: usize| {
            let start = (y * width + x) * 3;
            [pixels[start], pixels[start + 1], pixels[start + 2]]
        };
        assert_eq!(at(15, 16), PAPER);
        assert_eq!(at(16, 16), Frame::Query.colour());
        assert_eq!(at(19, 100), Frame::Query.colour());
        assert_eq!(at(20, 20), [7; 3]);
        assert_eq!(at(115, 115), [7; 3]);
        assert_eq!(at(116, 60), Frame::Query.colour());
        assert_eq!(at(120, 60), PAPER);
        assert_eq!(at(16 + 104 + 8 + 16, 16), Frame::Right.colour());
        // The second row lacks its third tile.
        assert_eq!(at(16 + 104 + 8 + 16 + 104 + 8 + 50, 16 + 104 + 8 + 50), PAPER);
        assert_eq!(at(width - 1, height - 1), PAPER);
    }
}
