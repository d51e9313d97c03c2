//! What the system says of this process's memory, where it says it (Linux).

/// Counts at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Pages that were missing and needed no reading of a file, so far.
    faults: u64,
    /// Bytes that are in memory.
    resident: u64,
}

/// What happened between two moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) faults: u64,
    pub(crate) resident: i64,
}

impl Pages {
    pub(crate) fn now() -> Option<Self> {
        let read = |name: &str| fs_err::read_to_string(format!("/proc/self/{name}")).ok();
        Self::parse(&read("stat")?, &read("status")?)
    }

    /// From the texts of `/proc/self/stat` and `/proc/self/status` (proc(5)).
    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name of the program comes before, in brackets, and may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let faults = fields.split_whitespace().nth(7)?.parse().ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Self { faults, resident: kib * 1024 })
    }

    pub(crate) fn since(self, before: Self) -> Change {
        Change {
            faults: self.faults.saturating_sub(before.faults),
            resident: self.resident.cast_signed() - before.resident.cast_signed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read() {
        let stat = "7 (a) b)) S 1 2 3 4 5 4194304 123 0 0 0 9 9";
        let status = "Name:\tx\nVmRSS:\t    40 kB\nThreads:\t2\n";
        let pages = Pages::parse(stat, status).unwrap();
        assert_eq!(pages, Pages { faults: 123, resident: 40 * 1024 });
        let change = pages.since(Pages { faults: 100, resident: 41 * 1024 });
        assert_eq!((change.faults, change.resident), (23, -1024));
        assert_eq!(Pages::parse("", status), None);
    }
}
