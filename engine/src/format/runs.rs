//! Which blobs of a pack are fetched by one request.

/// Longest piece of a pack that is fetched at once.
const RUN_BYTES: u64 = 8 << 20;
/// Bytes between two wanted blobs that are cheaper to fetch than a second request.
const GAP_BYTES: u64 = 128 << 10;

/// Where in the store a blob lies: number or order of its pack, and its bytes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub pack: u32,
    pub offset: u32,
    pub length: u32,
}

impl Extent {
    /// First byte after it.
    pub(crate) fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }
}

/// Cuts a list in the order of packs and offsets into pieces to fetch at once.
pub(crate) fn runs<T>(blobs: &[T], extent: impl Fn(&T) -> Extent) -> Vec<&[T]> {
    let mut runs = Vec::new();
    let mut start = 0;
    for at in 1..=blobs.len() {
        let together = match (blobs.get(start), blobs.get(at - 1), blobs.get(at)) {
            (Some(first), Some(last), Some(next)) => {
                let (first, last, next) = (extent(first), extent(last), extent(next));
                next.pack == first.pack
                    && u64::from(next.offset) <= last.end() + GAP_BYTES
                    && next.end().saturating_sub(first.offset.into()) <= RUN_BYTES
            }
            _ => false,
        };
        if !together {
            runs.extend(blobs.get(start..at).filter(|run| !run.is_empty()));
            start = at;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_fetched_together_and_nothing_is_left_out() {
        const MIB: u32 = 1 << 20;
        let at = |pack, offset, length| Extent { pack, offset, length };
        let blobs = [
            at(0, 0, 10),
            at(0, 10, 20),
            // A small gap, then a large one.
            at(0, 1000, 10),
            at(0, MIB, 10),
            // Another pack; then more than one run takes.
            at(1, MIB + 10, 10),
            at(2, 0, 5 * MIB),
            at(2, 5 * MIB, 2 * MIB),
            at(2, 7 * MIB, 2 * MIB),
            // Longer than a run by itself.
            at(3, 0, 20 * MIB),
        ];
        let cut: Vec<_> = runs(&blobs, |blob| *blob).into_iter().map(<[_]>::len).collect();
        assert_eq!(cut, [3, 1, 1, 2, 1, 1]);
        assert_eq!(runs(&blobs, |blob| *blob).concat(), blobs);
        assert!(runs(&[], |blob: &Extent| *blob).is_empty());
    }
}
