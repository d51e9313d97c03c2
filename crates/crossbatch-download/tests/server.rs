//! A server on this machine that breaks off, forgets ranges and changes its file, and what its client is told.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use crossbatch_download::{Error, Fetched, Wanted, Watch, fetch};

/// SHA-256 of `content(7)`, by Python's `hashlib`.
pub(crate) const SHA256: &str = "ff41b7e9cc397e9de1484b9ba8bd73b47c1bdfbc363d738bde401789cca5ef56";
pub(crate) const LENGTH: usize = 200_000;

pub(crate) fn content(factor: u32) -> Vec<u8> {
    (0..LENGTH as u32).map(|i| (i * factor % 251) as u8).collect()
}

/// What the server does next.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Answer {
    /// The file, from the byte asked for.
    Whole,
    /// The same, but it stops after so many bytes of the body.
    Break(usize),
    /// A range that ends early: so many bytes from the one asked for.
    Short(usize),
    /// The whole file as if it were this range.
    Range(&'static str),
    /// Another status and no file.
    Status(u16),
    /// The way to the file.
    Redirect,
}

pub(crate) struct Site {
    pub(crate) content: Vec<u8>,
    pub(crate) version: Option<&'static str>,
    /// The header that has the version.
    pub(crate) version_name: &'static str,
    pub(crate) knows_ranges: bool,
    /// States how long things are.
    pub(crate) announces: bool,
    next: Vec<Answer>,
    /// `Range` and `If-Range` of every request for the file.
    asked: Vec<(String, String)>,
}

pub(crate) struct Server {
    pub(crate) url: String,
    site: Arc<Mutex<Site>>,
    pub(crate) folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn new(next: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file.pth", listener.local_addr().unwrap());
        let site = Arc::new(Mutex::new(Site {
            content: content(7),
            version: Some("\"first\""),
            version_name: "ETag",
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

    pub(crate) fn change(&self, change: impl FnOnce(&mut Site)) {
        change(&mut self.site.lock().unwrap());
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.folder.path().join("weights/net.pth")
    }

    pub(crate) fn fetch(&self, sha256: Option<&str>) -> Result<Fetched, Error> {
        self.fetch_watched(sha256, &mut Listener::default())
    }

    pub(crate) fn fetch_watched(
        &self,
        sha256: Option<&str>,
        watch: &mut dyn Watch,
    ) -> Result<Fetched, Error> {
        let bytes = Some(LENGTH as u64 - 10..=LENGTH as u64 + 10);
        let wanted = Wanted { url: &self.url, target: &self.target(), sha256, bytes };
        fetch(&wanted, watch)
    }

    /// Puts bytes where an earlier call would have left them.
    pub(crate) fn leave_part(&self, part: &[u8]) {
        fs_err::create_dir_all(self.target().parent().unwrap()).unwrap();
        fs_err::write(self.target().with_extension("pth.part"), part).unwrap();
    }

    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.site.lock().unwrap().asked.clone()
    }

    /// The ranges asked for.
    pub(crate) fn ranges(&self) -> Vec<String> {
        self.asked().into_iter().map(|(range, _)| range).collect()
    }

    /// The names in the target's folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.target().parent().unwrap()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[track_caller]
    pub(crate) fn has_nothing_but_the_file(&self, factor: u32) {
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
        if let Answer::Range(range) = next {
            let head = format!(
                "HTTP/1.1 206 Part\r\nContent-Range: {range}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
            );
            return [head.as_bytes(), &self.content].concat();
        }
        let end = if let Answer::Short(bytes) = next { start + bytes } else { size };
        let body = &self.content[start..end];
        let mut out = if start > 0 {
            let total = if self.announces { size.to_string() } else { "*".to_owned() };
            format!("HTTP/1.1 206 Part\r\nContent-Range: bytes {start}-{}/{total}\r\n", end - 1)
        } else {
            "HTTP/1.1 200 OK\r\n".to_owned()
        };
        if self.announces {
            out += &format!("Content-Length: {}\r\n", body.len());
        }
        if let Some(version) = self.version {
            out += &format!("{}: {version}\r\n", self.version_name);
        }
        out += "Connection: close\r\n\r\n";
        let sent = if let Answer::Break(bytes) = next { bytes } else { body.len() };
        [out.as_bytes(), &body[..sent]].concat()
    }
}

/// Remembers what it is told. Confirms, unless it refuses.
#[derive(Default)]
pub(crate) struct Listener {
    pub(crate) refuses: bool,
    pub(crate) resumed: Vec<u64>,
    pub(crate) progress: Vec<(u64, Option<u64>)>,
}

impl Watch for Listener {
    fn progress(&mut self, done: u64, total: Option<u64>) {
        assert!(total.is_none_or(|total| done <= total));
        self.progress.push((done, total));
    }

    fn resumed(&mut self, kept: u64) {
        self.resumed.push(kept);
    }

    fn confirm(&mut self, sha256: &str) -> std::io::Result<bool> {
        assert_eq!(sha256.len(), 64);
        Ok(!self.refuses)
    }
}

pub(crate) fn ask(range: &str, if_range: &str) -> (String, String) {
    (range.to_owned(), if_range.to_owned())
}
