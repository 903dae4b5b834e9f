//! Divides what is sent among exports of a size that collectors take: what belongs together stays so, and nothing is
//! left out.

/// Bytes of spans or log records in one export at most: a collector takes 4 MiB of gRPC if it is not told otherwise, and
/// the services' resources need some room.
pub const BYTES: usize = 2 << 20;

/// What comes with its bytes, in its order, as much together as an export may be long; one that is longer is alone.
pub fn split<T>(all: impl Iterator<Item = (usize, T)>) -> impl Iterator<Item = Vec<T>> {
    let mut all = all.peekable();
    std::iter::from_fn(move || {
        let (mut bytes, first) = all.next()?;
        let mut together = vec![first];
        while let Some((more, one)) = all.next_if(|(more, _)| bytes + more <= BYTES) {
            bytes += more;
            together.push(one);
        }
        Some(together)
    })
}
