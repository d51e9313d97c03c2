//! What a search found, as a table, JSON or CSV.

use std::borrow::Cow;

use serde::Serialize;

use crate::{
    args::Format,
    table::{self, Align},
};

/// All answers of a search, as its JSON.
#[derive(Serialize)]
pub(crate) struct Answers<'a> {
    pub(crate) format_version: u32,
    /// What a neighbour is called in a table.
    #[serde(skip)]
    pub(crate) what: &'static str,
    pub(crate) queries: Vec<Answer<'a>>,
}

/// One query with its neighbours, nearest first.
#[derive(Serialize)]
pub(crate) struct Answer<'a> {
    pub(crate) name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<&'a str>,
    pub(crate) neighbours: Vec<Neighbour<'a>>,
}

#[derive(Serialize)]
pub(crate) struct Neighbour<'a> {
    pub(crate) name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<&'a str>,
    pub(crate) similarity: f32,
    /// Index into the gallery.
    #[serde(skip)]
    pub(crate) index: usize,
}

impl Answer<'_> {
    /// Whether a neighbour is of the query's class, where both classes are known.
    pub(crate) fn is_right(&self, neighbour: &Neighbour<'_>) -> Option<bool> {
        Some(self.label? == neighbour.label?)
    }
}

impl Answers<'_> {
    pub(crate) fn text(&self, format: Format) -> anyhow::Result<String> {
        match format {
            Format::Table => {
                Ok(self.queries.iter().map(|answer| table(answer, self.what)).collect())
            }
            Format::Json => Ok(serde_json::to_string_pretty(self)? + "\n"),
            Format::Csv => self.csv(),
        }
    }

    /// A line a neighbour; unknown labels are empty.
    fn csv(&self) -> anyhow::Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["query", "query_label", "rank", "similarity", "name", "label"])?;
        for query in &self.queries {
            for (place, neighbour) in query.neighbours.iter().enumerate() {
                writer.write_record([
                    &query.name,
                    query.label.unwrap_or(""),
                    &(place + 1).to_string(),
                    &neighbour.similarity.to_string(),
                    &neighbour.name,
                    neighbour.label.unwrap_or(""),
                ])?;
            }
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }
}

fn table(answer: &Answer<'_>, what: &str) -> String {
    let label = answer.label.map(|label| format!(" · {label}")).unwrap_or_default();
    let title = format!("\n {}{label}\n\n", answer.name);
    if answer.neighbours.is_empty() {
        return title + &format!(" no other {what} in the gallery\n");
    }
    let header = ["rank", "similarity", "", what, "label"].map(str::to_owned);
    let rows = answer.neighbours.iter().enumerate().map(|(place, neighbour)| {
        let mark = match answer.is_right(neighbour) {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "",
        };
        [
            (place + 1).to_string(),
            format!("{:.4}", neighbour.similarity),
            mark.to_owned(),
            neighbour.name.to_string(),
            neighbour.label.unwrap_or("").to_owned(),
        ]
    });
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).map(Vec::from).collect();
    let align = [Align::Right, Align::Right, Align::Left, Align::Left, Align::Left];
    title + &table::columns(&rows, &align)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers<'static> {
        let neighbour = |name: &'static str, label, similarity| Neighbour {
            name: name.into(),
            label,
            similarity,
            index: 0,
        };
        let neighbours = vec![
            neighbour("apple/2.png", Some("apple"), 0.981_2),
            neighbour("pear, green.png", Some("pear"), -0.5),
            neighbour("x.png", None, 0.1),
        ];
        let query = Answer { name: "apple/1.png".into(), label: Some("apple"), neighbours };
        Answers { format_version: 1, what: "image", queries: vec![query] }
    }

    #[test]
    fn every_format_says_the_same() {
        let answers = answers();
        assert_eq!(
            answers.text(Format::Table).unwrap(),
            "\n apple/1.png · apple\n\n \
             rank   similarity       image             label\n    \
             1       0.9812   ✓   apple/2.png       apple\n    \
             2      -0.5000   ✗   pear, green.png   pear\n    \
             3       0.1000       x.png\n"
        );
        assert_eq!(
            answers.text(Format::Csv).unwrap(),
            "query,query_label,rank,similarity,name,label\n\
             apple/1.png,apple,1,0.9812,apple/2.png,apple\n\
             apple/1.png,apple,2,-0.5,\"pear, green.png\",pear\n\
             apple/1.png,apple,3,0.1,x.png,\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&answers.text(Format::Json).unwrap()).unwrap();
        assert_eq!(json["queries"][0]["neighbours"][1]["similarity"], -0.5);
        assert_eq!(json["queries"][0]["neighbours"][2].get("label"), None);
    }

    #[test]
    fn no_neighbour_is_said() {
        let answer = Answer { name: "a.png".into(), label: None, neighbours: Vec::new() };
        assert!(table(&answer, "image").contains("no other image"));
    }
}
