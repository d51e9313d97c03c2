//! Files that break off, change and appear: what is asked for, what is kept, and what is told.

mod server;

use std::{net::TcpListener, path::Path};

use crossbatch_download::{Error, Fetched, Wanted, Watch, fetch};

use server::{Answer, LENGTH, Listener, SHA256, Server, Site, ask, content};

#[test]
fn what_broke_off_is_continued_and_what_is_there_is_not_fetched_again() {
    let server = Server::new(&[Answer::Break(100_000), Answer::Break(50_000)]);
    for kept in [100_000, 150_000] {
        let error = server.fetch(Some(SHA256)).unwrap_err();
        assert!(matches!(error, Error::Broken { kept: found, .. } if found == kept), "{error}");
        assert!(error.to_string().contains("net.pth.part"), "{error}");
        assert!(!server.target().exists());
    }
    let mut listener = Listener::default();
    let fetched = server.fetch_watched(Some(&SHA256.to_uppercase()), &mut listener).unwrap();
    assert_eq!((&fetched.sha256[..], fetched.was_there), (SHA256, false));
    server.has_nothing_but_the_file(7);
    let tag = "\"first\"";
    let expected = [ask("", ""), ask("bytes=100000-", tag), ask("bytes=150000-", tag)];
    assert_eq!(server.asked(), expected);
    assert_eq!(listener.resumed, [150_000]);
    let (first, last) = (listener.progress[0], listener.progress.last().unwrap());
    assert!(first.0 > 150_000 && listener.progress.is_sorted(), "{:?}", listener.progress);
    assert_eq!((first.1, *last), (Some(200_000), (200_000, Some(200_000))));

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
    let mut listener = Listener::default();
    server.fetch_watched(Some(SHA256), &mut listener).unwrap();
    server.has_nothing_but_the_file(7);
    assert_eq!(server.asked()[1].0, "bytes=100000-");
    assert!(listener.resumed.is_empty() && listener.progress[0].0 < 100_000);
}

/// A range that ends early is not the whole file, whether or not a checksum would tell.
#[test]
fn short_ranges_are_added_up() {
    for (sha256, announces) in [(None, true), (Some(SHA256), true), (None, false)] {
        let short = [Answer::Break(100_000), Answer::Short(30_000), Answer::Short(70_000)];
        let server = Server::new(&short);
        server.fetch(sha256).unwrap_err();
        server.change(|site| site.announces = announces);
        let mut listener = Listener::default();
        let fetched = server.fetch_watched(sha256, &mut listener).unwrap();
        assert_eq!(fetched.sha256, SHA256);
        server.has_nothing_but_the_file(7);
        let mut expected = vec!["", "bytes=100000-", "bytes=130000-"];
        if !announces {
            // Only a refusal tells that there is no more.
            expected.push("bytes=200000-");
        }
        assert_eq!(server.ranges(), expected);
        assert_eq!(listener.resumed, [100_000]);
        let total = announces.then_some(200_000);
        assert!(listener.progress.iter().all(|told| told.1 == total), "{:?}", listener.progress);
    }

    // One that is shorter than it says broke off.
    let server = Server::new(&[Answer::Break(100_000), Answer::Break(10_000)]);
    server.fetch(None).unwrap_err();
    server.change(|site| site.announces = false);
    let error = server.fetch(None).unwrap_err();
    assert!(matches!(error, Error::Broken { kept: 110_000, .. }), "{error}");
}

#[test]
fn another_range_than_asked_for_starts_again_once() {
    let others = [
        "bytes 0-199999/200000",
        "bytes 100001-199999/200000",
        "bytes 100000-99999/200000",
        "bytes 100000-199999/150000",
        "bytes 100000-18446744073709551615/*",
        "items 100000-199999/200000",
        "bytes */200000",
    ];
    for range in others {
        let server = Server::new(&[Answer::Break(100_000), Answer::Range(range)]);
        server.fetch(None).unwrap_err();
        let mut listener = Listener::default();
        server.fetch_watched(None, &mut listener).unwrap();
        server.has_nothing_but_the_file(7);
        assert_eq!(server.ranges(), ["", "bytes=100000-", ""], "{range}");
        assert!(listener.resumed.is_empty(), "{range}");
    }

    // A server that never sends the whole.
    let whole = Answer::Range("bytes 0-199999/200000");
    for (next, status) in [(whole, 206), (Answer::Status(416), 416)] {
        let server = Server::new(&[Answer::Break(100_000), next, next]);
        server.fetch(None).unwrap_err();
        let error = server.fetch(None).unwrap_err();
        assert!(matches!(error, Error::Status { status: found, .. } if found == status), "{error}");
        assert_eq!(server.asked().len(), 3);
        assert!(server.names().is_empty());
    }

    // A range that nobody asked for.
    let server = Server::new(&[whole]);
    let error = server.fetch(None).unwrap_err();
    assert!(matches!(error, Error::Status { status: 206, .. }), "{error}");
    assert_eq!(server.asked().len(), 1);
}

/// A program that knows nothing of the part puts a file there, while bytes come or while the user thinks.
#[test]
fn a_target_that_appears_meanwhile_is_checked_and_not_replaced() {
    struct Appears<'a>(&'a Path, Vec<u8>, bool);
    impl Watch for Appears<'_> {
        fn progress(&mut self, _: u64, _: Option<u64>) {
            if !self.2 {
                fs_err::write(self.0, &self.1).unwrap();
            }
        }
        fn confirm(&mut self, _: &str) -> std::io::Result<bool> {
            fs_err::write(self.0, &self.1).unwrap();
            Ok(true)
        }
    }
    for (sha256, factor) in [(Some(SHA256), 7), (None, 11)] {
        let server = Server::new(&[]);
        let mut appears = Appears(&server.target(), content(factor), sha256.is_none());
        assert!(server.fetch_watched(sha256, &mut appears).unwrap().was_there);
        server.has_nothing_but_the_file(factor);
    }

    let server = Server::new(&[]);
    let mut appears = Appears(&server.target(), content(11), false);
    let error = server.fetch_watched(Some(SHA256), &mut appears).unwrap_err();
    assert!(matches!(error, Error::OtherFile { .. }), "{error}");
    assert_eq!(fs_err::read(server.target()).unwrap(), content(11));
    // Once that is moved away, what was fetched is still there.
    fs_err::remove_file(server.target()).unwrap();
    let mut listener = Listener::default();
    server.fetch_watched(Some(SHA256), &mut listener).unwrap();
    server.has_nothing_but_the_file(7);
    assert!(listener.progress.is_empty());
}

/// Between the first look and the lock: this target is found only once a folder beside it is made.
#[test]
fn after_the_lock_the_target_is_looked_for_again() {
    for kept in [0, 100] {
        let server = Server::new(&[]);
        server.leave_part(&vec![1; kept]);
        fs_err::write(server.target(), content(11)).unwrap();
        let target = server.folder.path().join("weights/new/../net.pth");
        let wanted = Wanted { url: &server.url, target: &target, sha256: None, bytes: None };
        assert!(fetch(&wanted, &mut Listener::default()).unwrap().was_there);
        assert_eq!(fs_err::read(server.target()).unwrap(), content(11));
        assert!(server.asked().is_empty());
        let part = server.target().with_extension("pth.part");
        assert_eq!(fs_err::metadata(part).map_or(0, |part| part.len()), kept as u64);
    }
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

    // Where there is no tag, its date does.
    let (first, second) = ("Wed, 21 Oct 2015 07:28:00 GMT", "Thu, 22 Oct 2015 07:28:00 GMT");
    for (then, factor) in [(first, 7), (second, 11)] {
        let server = Server::new(&[Answer::Break(100_000)]);
        server.change(|site| (site.version_name, site.version) = ("Last-Modified", Some(first)));
        server.fetch(None).unwrap_err();
        server.change(|site| (site.content, site.version) = (content(factor), Some(then)));
        let mut listener = Listener::default();
        server.fetch_watched(None, &mut listener).unwrap();
        server.has_nothing_but_the_file(factor);
        assert_eq!(server.asked()[1], ask("bytes=100000-", first));
        assert_eq!(listener.resumed.is_empty(), then == second);
    }

    // Neither: the checksum tells.
    let server = Server::new(&[Answer::Break(100_000)]);
    server.change(|site| (site.content, site.version) = (content(11), None));
    server.fetch(Some(SHA256)).unwrap_err();
    server.change(|site| site.content = content(7));
    server.fetch(Some(SHA256)).unwrap();
    server.has_nothing_but_the_file(7);
    assert_eq!(server.ranges(), ["", "bytes=100000-", ""]);

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
        server.leave_part(&[content(7), vec![1; extra]].concat());
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
    let error = fetch(&wanted, &mut Listener { refuses: true, ..Listener::default() }).unwrap_err();
    assert!(matches!(&error, Error::NotConfirmed { found, .. } if found == SHA256), "{error}");
    assert!(server.names().is_empty());
    let fetched = fetch(&wanted, &mut Listener::default()).unwrap();
    assert_eq!(fetched, Fetched { sha256: SHA256.to_owned(), was_there: false });
    // What is there is believed, and its checksum told.
    assert!(
        fetch(&wanted, &mut Listener { refuses: true, ..Listener::default() }).unwrap().was_there
    );
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
    let error = fetch(&wanted, &mut Listener::default()).unwrap_err();
    assert!(matches!(error, Error::Broken { kept: 0, .. }), "{error}");
    assert!(!error.to_string().contains("kept"), "{error}");
    assert!(server.names().is_empty());

    let held = fs_err::File::create(target.with_extension("pth.part")).unwrap();
    held.file().lock().unwrap();
    let error = server.fetch(Some(SHA256)).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    drop(held);
    server.fetch(Some(SHA256)).unwrap();
    assert!(Path::new(&target).exists());
}
