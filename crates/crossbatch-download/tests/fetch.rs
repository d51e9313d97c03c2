//! A server on this machine that breaks off, forgets ranges and changes its file.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use crossbatch_download::{Error, Fetched, Wanted, Watch, fetch};

/// SHA-256 of `content(7)`, by Python's `hashlib`.
const SHA256: &str = "ff41b7e9cc397e9de1484b9ba8bd73b47c1bdfbc363d738bde401789cca5ef56";
const LENGTH: usize = 200_000;

fn content(factor: u32) -> Vec<u8> {
    (0..LENGTH as u32).map(|i| (i * factor % 251) as u8).collect()
}

/// What the server does next.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    /// The file, from the byte asked for.
    Whole,
    /// The same, but it stops after so many bytes of the body.
    Break(usize),
    /// Another status and no file.
    Status(u16),
    /// The way to the file.
    Redirect,
}

struct Site {
    content: Vec<u8>,
    version: Option<&'static str>,
    knows_ranges: bool,
    announces: bool,
    next: Vec<Answer>,
    /// `Range` and `If-Range` of every request for the file.
    asked: Vec<(String, String)>,
}

struct Server {
    url: String,
    site: Arc<Mutex<Site>>,
    folder: tempfile::TempDir,
}

impl Server {
    fn new(next: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file.pth", listener.local_addr().unwrap());
        let site = Arc::new(Mutex::new(Site {
            content: content(7),
            version: Some("\"first\""),
            knows_ranges: true,
            announces: true,
            next: next.to_vec(),
            asked: Vec::new(),
        }));
        let shared = Arc::clone(&site);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> =
                    lines.map(|line| line.unwrap()).take_while(|line| !line.is_empty()).collect();
                // The client may have heard enough before the end.
                let _ = stream.write_all(&shared.lock().unwrap().answer(&head));
            }
        });
        Self { url, site, folder: tempfile::tempdir().unwrap() }
    }

    fn change(&self, change: impl FnOnce(&mut Site)) {
        change(&mut self.site.lock().unwrap());
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("weights/net.pth")
    }

    fn fetch(&self, sha256: Option<&str>) -> Result<Fetched, Error> {
        let bytes = Some(LENGTH as u64 - 10..=LENGTH as u64 + 10);
        let wanted = Wanted { url: &self.url, target: &self.target(), sha256, bytes };
        fetch(&wanted, &mut Says(true))
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.site.lock().unwrap().asked.clone()
    }

    /// The names in the target's folder, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.target().parent().unwrap()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[track_caller]
    fn has_nothing_but_the_file(&self, factor: u32) {
        assert_eq!(self.names(), ["net.pth"]);
        assert_eq!(fs_err::read(self.target()).unwrap(), content(factor));
    }
}

impl Site {
    fn answer(&mut self, head: &[String]) -> Vec<u8> {
        let header = |wanted: &str| {
            let value = head.iter().filter_map(|line| line.split_once(": "));
            let mut value = value.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            value.next().map_or_else(String::new, |(_, value)| value.to_owned())
        };
        let next = if self.next.is_empty() { Answer::Whole } else { self.next.remove(0) };
        if next == Answer::Redirect {
            return b"HTTP/1.1 302 Found\r\nLocation: /moved\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
        }
        let (range, if_range) = (header("range"), header("if-range"));
        self.asked.push((range.clone(), if_range.clone()));
        if let Answer::Status(status) = next {
            return format!(
                "HTTP/1.1 {status} No\r\nContent-Length: 9\r\nConnection: close\r\n\r\nno file.\n"
            )
            .into();
        }
        let same = if_range.is_empty() || Some(&if_range[..]) == self.version;
        let start = range.strip_prefix("bytes=").filter(|_| self.knows_ranges && same);
        let start: usize = start.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
        let size = self.content.len();
        if start >= size {
            return format!("HTTP/1.1 416 No\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into();
        }
        let body = &self.content[start..];
        let mut out = if start > 0 {
            format!("HTTP/1.1 206 Part\r\nContent-Range: bytes {start}-{}/{size}\r\n", size - 1)
        } else {
            "HTTP/1.1 200 OK\r\n".to_owned()
        };
        if self.announces {
            out += &format!("Content-Length: {}\r\n", body.len());
        }
        if let Some(version) = self.version {
            out += &format!("ETag: {version}\r\n");
        }
        out += "Connection: close\r\n\r\n";
        let sent = if let Answer::Break(bytes) = next { bytes } else { body.len() };
        [out.as_bytes(), &body[..sent]].concat()
    }
}

/// Confirms, or not.
struct Says(bool);

impl Watch for Says {
    fn progress(&mut self, done: u64, total: Option<u64>) {
        assert!(total.is_none_or(|total| done <= total));
    }

    fn confirm(&mut self, sha256: &str) -> std::io::Result<bool> {
        assert_eq!(sha256.len(), 64);
        Ok(self.0)
    }
}

fn ask(range: &str, if_range: &str) -> (String, String) {
    (range.to_owned(), if_range.to_owned())
}

#[test]
fn what_broke_off_is_continued_and_what_is_there_is_not_fetched_again() {
    let server = Server::new(&[Answer::Break(100_000), Answer::Break(50_000)]);
    for kept in [100_000, 150_000] {
        let error = server.fetch(Some(SHA256)).unwrap_err();
        assert!(matches!(error, Error::Broken { kept: found, .. } if found == kept), "{error}");
        assert!(error.to_string().contains("net.pth.part"), "{error}");
        assert!(!server.target().exists());
    }
    let fetched = server.fetch(Some(&SHA256.to_uppercase())).unwrap();
    assert_eq!((&fetched.sha256[..], fetched.was_there), (SHA256, false));
    server.has_nothing_but_the_file(7);
    let tag = "\"first\"";
    let expected = [ask("", ""), ask("bytes=100000-", tag), ask("bytes=150000-", tag)];
    assert_eq!(server.asked(), expected);

    assert!(server.fetch(Some(&SHA256[..8])).unwrap().was_there);
    let error = server.fetch(Some("00000000")).unwrap_err().to_string();
    assert!(error.contains("another file") && error.contains(SHA256), "{error}");
    assert_eq!(server.asked().len(), 3);
    server.has_nothing_but_the_file(7);
}

#[test]
fn a_server_without_ranges_sends_it_all_again() {
    let server = Server::new(&[Answer::Break(100_000)]);
    server.change(|site| site.knows_ranges = false);
    server.fetch(Some(SHA256)).unwrap_err();
    server.fetch(Some(SHA256)).unwrap();
    server.has_nothing_but_the_file(7);
    assert_eq!(server.asked()[1].0, "bytes=100000-");
}

#[test]
fn a_file_that_changed_in_between_is_fetched_from_the_start() {
    let new = |site: &mut Site| {
        site.content = content(11);
        site.version = Some("\"second\"");
    };
    // Its tag tells, with and without a checksum.
    let server = Server::new(&[Answer::Break(100_000)]);
    server.fetch(None).unwrap_err();
    server.change(new);
    server.fetch(None).unwrap();
    server.has_nothing_but_the_file(11);
    assert_eq!(server.asked()[1], ask("bytes=100000-", "\"first\""));

    // No tag: the checksum tells.
    let server = Server::new(&[Answer::Break(100_000)]);
    server.change(|site| (site.content, site.version) = (content(11), None));
    server.fetch(Some(SHA256)).unwrap_err();
    server.change(|site| site.content = content(7));
    server.fetch(Some(SHA256)).unwrap();
    server.has_nothing_but_the_file(7);
    let ranges: Vec<String> = server.asked().into_iter().map(|(range, _)| range).collect();
    assert_eq!(ranges, ["", "bytes=100000-", ""]);

    // Nothing would tell: no byte is kept. A weak tag promises nothing about bytes.
    for version in [None, Some("W/\"first\"")] {
        let server = Server::new(&[Answer::Break(100_000)]);
        server.change(|site| site.version = version);
        server.fetch(None).unwrap_err();
        server.fetch(None).unwrap();
        server.has_nothing_but_the_file(7);
        assert_eq!(server.asked(), [ask("", ""), ask("", "")]);
    }
}

#[test]
fn a_part_that_is_whole_or_too_long_is_known() {
    for (extra, requests) in [(0, 1), (50, 2)] {
        let server = Server::new(&[]);
        fs_err::create_dir_all(server.target().parent().unwrap()).unwrap();
        let part = [content(7), vec![1; extra]].concat();
        fs_err::write(server.target().with_extension("pth.part"), part).unwrap();
        server.fetch(Some(SHA256)).unwrap();
        server.has_nothing_but_the_file(7);
        assert_eq!(server.asked().len(), requests);
    }
}

#[test]
fn a_wrong_file_leaves_nothing() {
    let server = Server::new(&[]);
    let error = server.fetch(Some("12345678")).unwrap_err().to_string();
    assert!(error.contains("thrown away") && error.contains(SHA256), "{error}");
    assert!(server.names().is_empty());

    for announces in [true, false] {
        for length in [2 * LENGTH, LENGTH / 2] {
            let server = Server::new(&[]);
            server.change(|site| {
                site.content.resize(length, 0);
                site.announces = announces;
            });
            let error = server.fetch(None).unwrap_err();
            assert!(matches!(error, Error::Size { .. }), "{error}");
            assert!(server.names().is_empty(), "{:?}", server.names());
        }
    }

    for digits in ["xyzxyzxyz", "1234567", &SHA256.repeat(2)] {
        let error = server.fetch(Some(digits)).unwrap_err();
        assert!(matches!(error, Error::Checksum { .. }), "{error}");
    }
}

#[test]
fn an_unknown_checksum_is_confirmed_or_the_file_goes() {
    let server = Server::new(&[]);
    let wanted = Wanted { url: &server.url, target: &server.target(), sha256: None, bytes: None };
    let error = fetch(&wanted, &mut Says(false)).unwrap_err();
    assert!(matches!(&error, Error::NotConfirmed { found, .. } if found == SHA256), "{error}");
    assert!(server.names().is_empty());
    let fetched = fetch(&wanted, &mut Says(true)).unwrap();
    assert_eq!(fetched, Fetched { sha256: SHA256.to_owned(), was_there: false });
    // What is there is believed, and its checksum told.
    assert!(fetch(&wanted, &mut Says(false)).unwrap().was_there);
}

#[test]
fn redirections_keep_the_range_and_other_answers_keep_the_part() {
    use Answer::{Break, Redirect, Status};
    let server = Server::new(&[Redirect, Break(100_000), Status(503), Status(404), Redirect]);
    server.fetch(Some(SHA256)).unwrap_err();
    for expected in [503, 404] {
        let error = server.fetch(Some(SHA256)).unwrap_err();
        assert!(matches!(error, Error::Status { status, .. } if status == expected), "{error}");
    }
    assert_eq!(server.names(), ["net.pth.part", "net.pth.part.version"]);
    server.fetch(Some(SHA256)).unwrap();
    server.has_nothing_but_the_file(7);
    let last = server.asked().pop().unwrap();
    assert_eq!(last, ask("bytes=100000-", "\"first\""));

    let gone = Server::new(&[Status(404)]);
    gone.fetch(None).unwrap_err();
    assert!(gone.names().is_empty());
}

#[test]
fn nobody_listens_or_somebody_else_writes() {
    let server = Server::new(&[]);
    let target = server.target();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/file.pth");
    let wanted = Wanted { url: &url, target: &target, sha256: Some(SHA256), bytes: None };
    let error = fetch(&wanted, &mut Says(true)).unwrap_err();
    assert!(matches!(error, Error::Broken { kept: 0, .. }), "{error}");
    assert!(server.names().is_empty());

    let held = fs_err::File::create(target.with_extension("pth.part")).unwrap();
    held.file().lock().unwrap();
    let error = server.fetch(Some(SHA256)).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    drop(held);
    server.fetch(Some(SHA256)).unwrap();
    assert!(Path::new(&target).exists());
}
