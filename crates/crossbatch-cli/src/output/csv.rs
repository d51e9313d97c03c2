//! Embeddings as text: name, label, and a column a number.

use super::Table;

/// `name,label,e0,e1…`; an unknown label is empty. Numbers are the shortest that read back as the
/// same f32.
pub(super) fn file(table: &Table<'_>) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let columns = (0..table.dim).map(|column| format!("e{column}"));
    writer.write_record(["name".to_owned(), "label".to_owned()].into_iter().chain(columns))?;
    for (item, row) in table.items.iter().zip(table.rows.chunks(table.dim)) {
        writer.write_field(&item.name)?;
        writer.write_field(item.label.as_deref().unwrap_or(""))?;
        for value in row {
            writer.write_field(value.to_string())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(writer.into_inner()?)
}
