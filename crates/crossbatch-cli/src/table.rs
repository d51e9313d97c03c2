//! Tables of metrics on stdout.

use crossbatch_train::Metrics;

/// Rows of metrics in per cent, aligned, with a name each.
pub(crate) fn metrics(rows: &[(&str, &Metrics)]) -> String {
    let Some((_, first)) = rows.first() else { return String::new() };
    let mut header = vec![String::new()];
    header.extend(first.recall_at.iter().map(|(k, _)| format!("R@{k}")));
    header.extend(["MAP@R".to_owned(), "R-Prec".to_owned()]);
    let mut table = vec![header];
    for (name, metrics) in rows {
        let mut row = vec![(*name).to_owned()];
        let values = metrics.recall_at.iter().map(|(_, value)| *value);
        let values = values.chain([metrics.map_at_r, metrics.r_precision]);
        row.extend(values.map(|value| format!("{:.2}", value * 100.0)));
        table.push(row);
    }
    aligned(&table)
}

/// Where a cell stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Columns padded to their widest cell; the first to the left, the others to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    columns(rows, &[Align::Left])
}

/// Columns padded to their widest cell, aligned as `align` says; those beyond it to the right.
pub(crate) fn columns(rows: &[Vec<String>], align: &[Align]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(if column == 0 { " " } else { "   " });
            let pad = " ".repeat(widths[column] - cell.chars().count());
            match align.get(column) {
                Some(Align::Left) => line.extend([cell.as_str(), &pad]),
                _ => line.extend([&pad, cell.as_str()]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_align_on_the_right() {
        let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
        let text = aligned(&[row(&["", "R@1"]), row(&["raw", "7.50"]), row(&["trained", "81.00"])]);
        assert_eq!(text, "             R@1\n raw        7.50\n trained   81.00\n");
    }
}
