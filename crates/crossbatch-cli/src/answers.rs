//! What a search found, as a table, JSON or CSV.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{
    args::Format,
    table::{self, Align},
};

/// Version of the JSON.
const FORMAT_VERSION: u32 = 1;

/// All answers of a search. Each is made when its turn comes: together they take many times the memory of the numbers
/// that they are made of.
pub(crate) struct Answers<'a> {
    /// What a neighbour is called in a table.
    pub(crate) what: &'static str,
    pub(crate) count: usize,
    /// Makes the answer to a query.
    pub(crate) answer: Box<dyn Fn(usize) -> Answer<'a> + 'a>,
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

impl<'a> Answers<'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Answer<'a>> {
        (0..self.count).map(&self.answer)
    }

    /// Writes one answer after the other.
    pub(crate) fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Table => self
                .iter()
                .try_for_each(|answer| out.write_all(table(&answer, self.what).as_bytes())),
            Format::Json => {
                serde_json::to_writer_pretty(&mut *out, self)?;
                out.write_all(b"\n")
            }
            Format::Csv => self.csv(out).map_err(|error| match error.into_kind() {
                // As it is, so that a closed pipe is known for one.
                csv::ErrorKind::Io(error) => error,
                other => io::Error::other(format!("{other:?}")),
            }),
        }
    }

    /// A line a neighbour; unknown labels are empty.
    fn csv(&self, out: &mut dyn Write) -> csv::Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(["query", "query_label", "rank", "similarity", "name", "label"])?;
        for query in self.iter() {
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
        Ok(writer.flush()?)
    }
}

impl Serialize for Answers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Answers", 2)?;
        object.serialize_field("format_version", &FORMAT_VERSION)?;
        object.serialize_field("queries", &Queries(self))?;
        object.end()
    }
}

/// The list in the JSON.
struct Queries<'a, 'b>(&'b Answers<'a>);

impl Serialize for Queries<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
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

    fn answers(count: usize) -> Answers<'static> {
        let neighbour = |name: &'static str, label, similarity| Neighbour {
            name: name.into(),
            label,
            similarity,
            index: 0,
        };
        let answer = move |_| Answer {
            name: "apple/1.png".into(),
            label: Some("apple"),
            neighbours: vec![
                neighbour("apple/2.png", Some("apple"), 0.981_2),
                neighbour("pear, green.png", Some("pear"), -0.5),
                neighbour("x.png", None, 0.1),
            ],
        };
        Answers { what: "image", count, answer: Box::new(answer) }
    }

    fn text(answers: &Answers<'_>, format: Format) -> String {
        let mut out = Vec::new();
        answers.write(format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_format_says_the_same() {
        let answers = answers(1);
        assert_eq!(
            text(&answers, Format::Table),
            "\n apple/1.png · apple\n\n \
             rank   similarity       image             label\n    \
             1       0.9812   ✓   apple/2.png       apple\n    \
             2      -0.5000   ✗   pear, green.png   pear\n    \
             3       0.1000       x.png\n"
        );
        assert_eq!(
            text(&answers, Format::Csv),
            "query,query_label,rank,similarity,name,label\n\
             apple/1.png,apple,1,0.9812,apple/2.png,apple\n\
             apple/1.png,apple,2,-0.5,\"pear, green.png\",pear\n\
             apple/1.png,apple,3,0.1,x.png,\n"
        );
        let json: serde_json::Value = serde_json::from_str(&text(&answers, Format::Json)).unwrap();
        assert_eq!(json["queries"][0]["neighbours"][1]["similarity"], -0.5);
        assert_eq!(json["queries"][0]["neighbours"][2].get("label"), None);
    }

    #[test]
    fn json_is_indented() {
        let found = text(&answers(2), Format::Json);
        let start = "{\n  \"format_version\": 1,\n  \"queries\": [\n    {\n      \"name\": \"apple/1.png\",\n";
        assert!(found.starts_with(start), "{found}");
        assert!(
            found.contains("    },\n    {\n      \"name\"") && found.ends_with("    }\n  ]\n}\n")
        );
        assert_eq!(
            text(&answers(0), Format::Json),
            "{\n  \"format_version\": 1,\n  \"queries\": []\n}\n"
        );
    }

    /// Remembers its largest piece, and takes so many bytes.
    struct Pipe {
        left: usize,
        largest: usize,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.largest = self.largest.max(bytes.len());
            self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn answers_are_written_in_pieces_until_the_pipe_is_closed() {
        for format in [Format::Table, Format::Json, Format::Csv] {
            let mut pipe = Pipe { left: 10 << 20, largest: 0 };
            answers(5000).write(format, &mut pipe).unwrap();
            assert!(pipe.left < 10 << 20 && pipe.largest <= 1 << 14, "{}", pipe.largest);
            let mut pipe = Pipe { left: 100_000, largest: 0 };
            let error = answers(5000).write(format, &mut pipe).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{format:?}");
        }
    }

    #[test]
    fn no_neighbour_is_said() {
        let answer = Answer { name: "a.png".into(), label: None, neighbours: Vec::new() };
        assert!(table(&answer, "image").contains("no other image"));
    }
}
