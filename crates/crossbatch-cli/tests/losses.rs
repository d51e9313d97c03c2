//! `crossbatch losses`

use crate::support::{crossbatch_in, records};

#[test]
fn all_are_listed_and_each_has_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let rows = records(&crossbatch_in(folder.path(), &["losses", "--format", "csv"]).ok());
    let table = crossbatch_in(folder.path(), &["losses"]).ok();
    assert!(rows.len() > 4);
    for row in &rows[1..] {
        let [name, alias, summary] = &row[..] else { panic!("{row:?}") };
        assert!(!summary.is_empty(), "{name}");
        let line = table.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        assert!(line.contains(summary), "{line}");
        let page = crossbatch_in(folder.path(), &["losses", name]).ok();
        assert!(page.contains(summary) && page.contains("# Equation"), "{name}:\n{page}");
        if !alias.is_empty() {
            assert_eq!(crossbatch_in(folder.path(), &["losses", alias]).ok(), page);
        }
    }
    let json = crossbatch_in(folder.path(), &["losses", "contrastive", "--format", "json"]).json();
    assert_eq!(json["losses"][0]["defaults"]["margin"], 0.5);
}

#[test]
fn an_unknown_one_is_refused_with_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |name: &str| crossbatch_in(folder.path(), &["losses", name]);
    losses("multi-similarty").fails_with(&["`multi-similarty`", "did you mean `multi-similarity`"]);
    losses("nothing-like-it").fails_with(&["`nothing-like-it`", "crossbatch losses"]);
}
